"""Tests of the diary: what is appended is read back, and torn tails cost only themselves."""

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl import history
from raymmfl.errors import RunError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LINES = st.lists(st.dictionaries(st.text(), VALUES, max_size=4), max_size=4)


@settings(max_examples=60, deadline=None)
@given(LINES)
def test_what_is_appended_is_read_back(lines: list[dict[str, Any]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        for line in lines:
            history.append(path, line)
        assert history.read(path) == lines


def test_numbers_json_lacks_become_null(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    line = {
        "round": np.int64(1),
        "metrics": {"a": math.nan, "b": -math.inf, "c": np.float32(0.5)},
        "array": np.array([1.0, math.nan]),
        "where": tmp_path,
    }
    history.append(path, line)
    assert history.read(path) == [
        {
            "round": 1,
            "metrics": {"a": None, "b": None, "c": 0.5},
            "array": [1.0, None],
            "where": str(tmp_path),
        }
    ]
    assert "NaN" not in path.read_text()


def test_a_tail_torn_at_any_byte_costs_only_its_own_line(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    lines = [{"round": number, "name": "Wälder\n"} for number in (1, 2, 3)]
    for line in lines:
        history.append(path, line)
    whole = path.read_bytes()
    ends = [place + 1 for place, sign in enumerate(whole) if sign == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert history.read(path) == lines[:kept]
        history.append(path, {"round": 9})
        assert history.read(path) == [*lines[:kept], {"round": 9}]


def test_blocks_that_never_reached_the_disk_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"round": 1}\n' + b"\0" * 30 + b"\n")
    assert history.read(path) == [{"round": 1}]


def test_a_damaged_line_between_whole_ones_is_named(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"round": 1}\n{"rou\n{"round": 3}\n')
    with pytest.raises(RunError, match=r"history\.jsonl: line 2"):
        history.read(path)


def test_an_absent_diary_is_empty_and_stays_absent(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    history.truncate(path, 3)
    assert not path.exists()


@given(st.integers(0, 6), st.binary(max_size=20).filter(lambda tail: b"\n" not in tail))
def test_truncate_removes_later_rounds_and_the_torn_tail(last: int, tail: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        for number in range(1, 5):
            history.append(path, {"round": number})
        with path.open("ab") as file:
            file.write(tail)
        history.truncate(path, last)
        assert [line["round"] for line in history.read(path)] == list(range(1, min(last, 4) + 1))
        assert [entry.name for entry in Path(folder).iterdir()] == ["history.jsonl"]


def test_write_json_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    history.write_json(path, {"a": list(range(1000))})
    history.write_json(path, {"map": math.nan, "name": "é"})
    assert json.loads(path.read_text("utf-8")) == {"map": None, "name": "é"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_write_json_keeps_the_old_file_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    history.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        history.write_json(path, {"a": {1, 2}})
    assert json.loads(path.read_text()) == {"a": 1}
