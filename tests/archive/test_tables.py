from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from raymmfl.archive.tables import read_table, write_table
from raymmfl.errors import ArchiveError


def test_round_trip_and_replacement(tmp_path: Path) -> None:
    path = tmp_path / "ledger.parquet"
    tables: list[dict[str, list[Any]]] = [
        {"a": [1]},
        {"round": [1, 2], "purpose": ["weights", "moments"], "x": [0.5, 2.0]},
    ]
    for columns in tables:
        write_table(path, columns)
        assert read_table(path) == columns
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.parquet"]


def test_a_failed_write_keeps_the_old_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.parquet"
    write_table(path, {"a": [1]})

    def full(table: object, file: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="disk full"):
        write_table(path, {"a": [2]})
    assert read_table(path) == {"a": [1]}
    assert [file.name for file in tmp_path.iterdir()] == ["ledger.parquet"]


def test_bad_columns(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="unequal lengths"):
        write_table(tmp_path / "t", {"a": [1], "b": [1, 2]})
    with pytest.raises(ArchiveError, match="mixes types"):
        write_table(tmp_path / "t", {"a": [1, "x"]})
    with pytest.raises(ArchiveError, match="make its folder"):
        write_table(tmp_path / "no" / "t", {"a": [1]})
    (tmp_path / "cut").write_bytes(b"PAR1")
    for name in ("cut", "missing"):
        with pytest.raises(ArchiveError, match=name):
            read_table(tmp_path / name)
