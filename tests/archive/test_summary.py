"""Tests of the page about an archive: its numbers, counted by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from raymmfl.archive.readers.source import Scene
from raymmfl.archive.store import Archive, Column
from raymmfl.archive.summary import info, labelled_share

LONG = "Land principally occupied by agriculture, with significant areas of natural vegetation"
LABELS = ("water", LONG, "trees")
SENSORS = {
    "S1": (Column("10m", ("VV", "VH"), 4, "float32", 10.0),),
    "S2": (Column("10m", ("B02",), 4, "uint16", 10.0), Column("20m", ("B05",), 2, "uint16", 20.0)),
}
UNITS = {"S1": "dB", "S2": "reflectance x 10000"}


def scene(number: int, split: str, labels: tuple[str, ...], **changes: Any) -> Scene:
    random = np.random.default_rng(number)
    images = {
        name: tuple(
            random.integers(1, 9, (len(c.bands), c.size, c.size)).astype(c.dtype) for c in columns
        )
        for name, columns in SENSORS.items()
    }
    facts: dict[str, Any] = {
        "scene_id": f"scene{number}", "split": split, "labels": labels, "region": "Austria",
        "place": f"place{number % 2}", "date": "2017-07-01", "lon": 10.0, "lat": 50.0,
        "epsg": 32633, "transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), "images": images,
        "mask": None, "sources": {}, "attributes": {"biome": "4"},
    }  # fmt: skip
    return Scene(**{**facts, **changes})


@pytest.fixture(scope="module")
def archive(handmade: Callable[..., Archive]) -> Archive:
    """Five scenes; one without S1, two with half a mask."""
    half = np.full((4, 4), 255, np.uint8)
    half[:2] = 1
    scenes = [
        scene(0, "train", ("water", "trees"), mask=half),
        scene(1, "train", ("water",), region="Åland", date="2018-01-31"),
        scene(2, "train", (LONG,), date=""),
        scene(3, "val", ("water",), mask=half),
        scene(4, "test", ("trees",), attributes={"biome": "13"}),
    ]
    scenes[2] = Scene(**{**vars(scenes[2]), "images": {"S2": scenes[2].images["S2"]}})
    return handmade(scenes, SENSORS, LABELS, UNITS)


def rows(text: str, title: str) -> dict[str, list[str]]:
    """A table of the page: name -> cells."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == [title, "train"])
    found = {}
    for line in lines[start + 1 :]:
        cells = line.rsplit(maxsplit=5)
        found[cells[0]] = cells[1:]
        if cells[0] == "all scenes":
            return found
    raise AssertionError("a table without its last row")


def test_the_page_counts_what_is_there(archive: Archive) -> None:
    text = info(archive.path)
    labels = rows(text, "label")
    assert labels["water"] == ["2", "1", "0", "3", "60.0%"]
    assert labels["trees"] == ["1", "0", "1", "2", "40.0%"]
    assert labels["all scenes"] == ["3", "1", "1", "5", "100.0%"]
    assert rows(text, "region")["Åland"] == ["1", "0", "0", "1", "20.0%"]
    assert rows(text, "season") == {
        "unknown": ["1", "0", "0", "1", "20.0%"],
        "summer": ["1", "1", "1", "3", "60.0%"],
        "winter": ["1", "0", "0", "1", "20.0%"],
        "all scenes": ["3", "1", "1", "5", "100.0%"],
    }
    assert rows(text, "biome")["13"] == ["0", "0", "1", "1", "20.0%"]
    for part in (
        "5 scenes of 2 places", "SYNTHETIC", "4 scenes with S1 + S2", "1 scenes with S2",
        "S1  4 scenes, dB", "2x2 pixels of 20 m, uint16", "1.20 labels per scene",
        "pixel labels  2 scenes, 4x4 pixels of 10 m; 50.0% of the pixels have a class (of all)",
        "skipped: nothing was bad", "S1.arrow",
    ):  # fmt: skip
        assert part in text, part


def test_long_names_keep_the_columns_in_line(archive: Archive) -> None:
    text = info(archive.path)
    lines = text.splitlines()
    table = [line for line in lines if line.startswith(("water", "Land princ", "trees", "label "))]
    assert len({len(line) for line in table}) == 1
    assert max(map(len, table)) <= 100


def test_classes_that_are_missing_are_named(handmade: Callable[..., Archive]) -> None:
    scenes = [
        scene(0, "train", ("water",)),
        scene(1, "val", ("trees",)),
        scene(2, "test", ("water", "trees")),
    ]
    lines = info(handmade(scenes, SENSORS, (*LABELS, "snow"), UNITS).path).splitlines()
    start = lines.index("warning: no train scene has the class 'trees'")
    assert " ".join(line.strip() for line in lines[start - 2 : start]) == (
        f"warning: no scene at all has the class {LONG!r}; 'snow'"
    )
    assert lines[start + 1 :] == ["warning: no val scene has the class 'water'"]


def test_many_values_are_cut_short(handmade: Callable[..., Archive]) -> None:
    scenes = [scene(n, "train", ("water",), region=f"tile{n:03d}") for n in range(45)]
    archive = handmade(scenes, SENSORS, LABELS, UNITS)
    text = info(archive.path)
    assert len(rows(text, "region")) == 42  # forty, what was left out, and all
    assert "and 5 more with fewer scenes" in text
    assert "no pixel labels" in text


def test_some_masks_stand_for_all(archive: Archive) -> None:
    assert labelled_share(archive) == (0.5, 2)
    assert labelled_share(archive, most=1) == (0.5, 1)
