"""Tests of the scenes without pixels: seasons by hand, and an archive's catalogue."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymmfl.archive.catalogue import Catalogue, season, seasons
from raymmfl.archive.store import Archive
from raymmfl.config import ClientsConfig
from raymmfl.errors import ArchiveError


def parts(**changes: Any) -> dict[str, Any]:
    """What a catalogue of three scenes is made of."""
    words = np.array(["a", "b", "a"])
    plain = {
        "path": Path("three"),
        "labels": ("water", "trees"),
        "sensors": ("S1",),
        "scene_ids": ["x", "y", "z"],
        "splits": np.array(["train", "test", "train"]),
        "targets": np.array([[1, 0], [1, 1], [0, 0]], np.uint8),
        "attributes": {"region": words, "season": words, "place": words},
        "presence": {"S1": np.array([True, False, True])},
    }
    return {**plain, **changes}


def test_three_scenes_by_hand() -> None:
    three = Catalogue(**parts())
    assert len(three) == 3
    assert three.rows("train").tolist() == [0, 2]
    assert three.rows("train").dtype == np.int64
    assert three.rows("val").tolist() == []
    assert three.regions.tolist() == ["a", "b", "a"]
    assert three.present("S1").tolist() == [True, False, True]
    with pytest.raises(ArchiveError, match=r"three: no sensor S2; .*\['S1'\]"):
        three.present("S2")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"splits": np.array(["train"])}, "see splits"),
        ({"targets": np.zeros((3, 5), np.uint8)}, "see targets"),
        ({"presence": {"S1": np.array([True])}}, "see S1"),
        ({"attributes": {"region": np.array(["a", "b", "c"])}}, "see season, place"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ArchiveError, match=f"three: the catalogue needs .*{says}"):
        Catalogue(**parts(**changes))


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("2017-12-01", "winter"),
        ("2018-02-28", "winter"),
        ("2018-03-01", "spring"),
        ("2017-06-13", "summer"),
        ("2017-08-31", "summer"),
        ("2017-11-30", "autumn"),
        ("", ""),
    ],
)
def test_seasons_by_month(date: str, expected: str) -> None:
    assert season(date) == expected


def test_seasons_of_many_dates() -> None:
    dates = np.array(["2017-07-01", "", "2018-01-01", "2017-07-01"])
    assert seasons(dates).tolist() == ["summer", "", "winter", "summer"]
    assert seasons(dates[:0]).tolist() == []


def test_the_configuration_knows_the_same_seasons() -> None:
    for month in range(1, 13):
        ClientsConfig(seasons=(season(f"2018-{month:02d}-15"),))


def test_an_archives_catalogue_is_what_the_archive_says(tiny_archive: Archive) -> None:
    found = tiny_archive.catalogue
    assert found.path == tiny_archive.path
    assert (found.labels, found.sensors) == (tiny_archive.labels, ("S1", "S2"))
    assert list(found.scene_ids) == list(tiny_archive.scene_ids)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(found.rows(split), tiny_archive.rows(split))
    np.testing.assert_array_equal(found.regions, tiny_archive.regions)
    np.testing.assert_array_equal(found.attributes["place"], tiny_archive.places)
    expected = [season(date) for date in tiny_archive.dates]
    assert found.attributes["season"].tolist() == expected
    assert all(expected)
