"""Tests of reading the scene table: columns as arrays, labels as targets, what is wrong named."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from raymmfl.archive.scenes import multi_hot, read_scenes, strings
from raymmfl.archive.tables import write_table
from raymmfl.errors import ArchiveError

LABELS = ("water", "trees", "crops")


def columns(**changes: Any) -> dict[str, Any]:
    plain = {
        "scene_id": ["x", "y", "z"],
        "split": ["train", "test", "train"],
        "labels": [["crops", "water"], [], ["trees"]],
        "region": ["b", "a", "b"],
        "place": ["b1", "a1", "b2"],
        "date": ["2017-07-01", "", "2018-01-01"],
        "biome": ["7", "10", "7"],
        "lon": [1.0, 2.0, 3.0],
        "lat": [50.0, 51.0, 52.0],
        "row_S1": [0, -1, 1],
        "row_mask": [0, 1, 2],
    }
    return {**plain, **changes}


def test_a_table_of_three_scenes(tmp_path: Path) -> None:
    write_table(tmp_path / "scenes.parquet", columns())
    table = read_scenes(tmp_path / "scenes.parquet", LABELS, ["S1"], ["biome"], ["mask"])
    found = table.catalogue
    assert (found.path, found.labels, found.sensors) == (tmp_path, LABELS, ("S1",))
    assert list(found.scene_ids) == ["x", "y", "z"]
    assert found.splits.tolist() == ["train", "test", "train"]
    assert found.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert {name: values.tolist() for name, values in found.attributes.items()} == {
        "region": ["b", "a", "b"],
        "season": ["summer", "", "winter"],
        "place": ["b1", "a1", "b2"],
        "biome": ["7", "10", "7"],
    }
    assert found.present("S1").tolist() == [True, False, True]
    assert table.dates.tolist() == ["2017-07-01", "", "2018-01-01"]
    assert (table.lons.tolist(), table.lats.tolist()) == ([1, 2, 3], [50, 51, 52])
    assert {name: rows.tolist() for name, rows in table.numbers.items()} == {
        "S1": [0, -1, 1],
        "mask": [0, 1, 2],
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": [["crops"], ["ice"], []]}, "the label 'ice', not among"),
        ({"lon": ["east"] * 3}, "a misshapen column"),
        ({"labels": ["crops"] * 3}, "a misshapen column"),
        ({"row_S1": None}, r"no column \['row_S1'\]"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    kept = {name: each for name, each in columns(**changes).items() if each is not None}
    write_table(tmp_path / "scenes.parquet", kept)
    with pytest.raises(ArchiveError, match=f"scenes.parquet: .*{says}"):
        read_scenes(tmp_path / "scenes.parquet", LABELS, ["S1"])


def test_a_file_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "scenes.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArchiveError, match="not a readable scene table"):
        read_scenes(tmp_path / "scenes.parquet", LABELS, ["S1"])


def test_columns_in_pieces_and_without_values() -> None:
    text = pa.chunked_array([["b", None], [], ["a", "b"]], pa.string())
    assert strings(text).tolist() == ["b", "", "a", "b"]
    assert strings(pa.chunked_array([], pa.string())).tolist() == []
    lists = pa.chunked_array([[["trees"]], [[], ["water", "trees"]]])
    assert multi_hot(lists, LABELS, "here").tolist() == [[0, 1, 0], [0, 0, 0], [1, 1, 0]]
    empty = pa.chunked_array([[[], []]])  # no label at all, so no type of text
    assert multi_hot(empty, LABELS, "here").tolist() == [[0, 0, 0], [0, 0, 0]]
