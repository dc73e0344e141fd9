"""Tests of the record on disk."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from raymmfl import history
from raymmfl.errors import CheckpointError
from raymmfl.tuning import record
from raymmfl.tuning.record import Recorded, Trial
from tests.tuning.by_hand import line, make_facts


def trial(number: int, *values: float, status: str = "finished") -> Trial:
    return Trial(number, "search", {}, {}, {}, status, 3, list(values))  # type: ignore[arg-type]


def study(folder: Path, objectives: dict[str, str], *trials: Trial) -> Recorded:
    return Recorded(folder, {"objectives": objectives}, list(trials), [])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    first = Trial(0, "base", {"train.lr": 0.1}, {"train.lr": 0.1, "rounds": 3}, {"train.lr": {}})
    second = Trial(1, "search", {}, {}, {})
    record.begun(tmp_path, first)
    record.begun(tmp_path, second)
    first.status, first.round, first.values = "pruned", 2, [0.25]
    record.ended(tmp_path, first)
    found = record.read(tmp_path)
    assert found.trials == [first, second]
    assert found.events == [("begun", 0), ("begun", 1), ("ended", 0)]
    assert found.path(second) == tmp_path / "trial_0001"
    assert record.is_study(tmp_path)


def test_a_line_that_a_crash_cut_off_is_passed_over(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    record.begun(tmp_path, trial(0))
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"event": "ended", "trial": 0, "st')
    assert record.read(tmp_path).trials[0].status == "running"


BEGUN: dict[str, Any] = {
    "event": "begun", "trial": 0, "origin": "base", "params": {}, "settings": {},
    "distributions": {},
}  # fmt: skip
ENDED: dict[str, Any] = {
    "event": "ended", "trial": 0, "status": "finished", "round": 3, "values": [0.5], "reason": "",
}  # fmt: skip


WRONG: list[dict[str, Any]] = [
    {"trial": -1}, {"trial": 1}, {"status": "wonderful"}, {"status": "running"},
    {"round": "two"}, {"round": -4}, {"values": []}, {"values": ["a"]},
    {"values": [None]}, {"values": [1, 2]}, {"status": "failed", "reason": 5},
]  # fmt: skip


@pytest.mark.parametrize(
    "lines",
    [
        [{"event": "begun"}],
        [{"trial": 0}],
        [BEGUN | {"trial": 4}],
        [BEGUN | {"trial": 0.0}],
        [BEGUN | {"settings": None}],
        [BEGUN | {"event": "foo"}],
        [ENDED],
        *([BEGUN, ENDED | change] for change in WRONG),
        [BEGUN, ENDED, ENDED],
    ],
)
def test_lines_that_are_none_of_ours(lines: list[dict[str, Any]], tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    for each in lines:
        history.append(tmp_path / "trials.jsonl", each)
    with pytest.raises(CheckpointError, match="not as it was written"):
        record.read(tmp_path)


def test_a_record_that_is_gone_while_its_trials_are_not(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    assert record.read(tmp_path).trials == []
    (tmp_path / "trial_0001").mkdir()
    with pytest.raises(CheckpointError, match="does not know of trial_0001"):
        record.read(tmp_path)
    record.begun(tmp_path, trial(0))
    (tmp_path / "trial_0000 (copy)").mkdir()
    with pytest.raises(CheckpointError, match="does not know of trial_0001"):
        record.read(tmp_path)
    record.begun(tmp_path, trial(1))
    assert len(record.read(tmp_path).trials) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("", None, "no such file"),
        ("config.yaml", None, "no such file"),
        ("config.yaml", "", "other settings"),
        ("config.yaml", "rounds: 7", "other settings"),
        ("config.yaml", "rounds: [", "YAML"),
        ("history.jsonl", None, "no round 2"),
        ("history.jsonl", '{"round": 1}\n', "no round 2"),
        ("history.jsonl", '{"rund": 1}\n', "round"),
    ],
)
def test_what_a_record_rests_on(
    name: str, content: str | None, words: str, tmp_path: Path
) -> None:
    record.write_facts(tmp_path, make_facts())
    done = Trial(0, "base", {}, {"train.lr": 0.5, "rounds": 6}, {}, "pruned", 2, [0.5])
    record.begun(tmp_path, done)
    record.ended(tmp_path, done)
    folder = tmp_path / done.name
    folder.mkdir()
    (folder / "config.yaml").write_text("rounds: 6\ntrain: {lr: 0.5}\n")
    for number in (1, 2, 3):  # the last is from after the end, as when a machine lost power
        history.append(folder / "history.jsonl", line(number, 0.5))
    found = record.read(tmp_path)
    record.check_folders(found)
    if content is not None:
        (folder / name).write_text(content)
    elif name:
        (folder / name).unlink()
    else:
        shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match=words) as caught:
        record.check_folders(found)
    assert "trial_0000 is not as it was when trial 0 ended" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 9}', "{}", '{"format": 1, "name": "x"}'])
def test_facts_that_cannot_be_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"study\.json cannot be read"):
        record.read(tmp_path)
    with pytest.raises(CheckpointError, match="is no study"):
        record.read(tmp_path / "elsewhere")


def test_only_finished_trials_are_ranked(tmp_path: Path) -> None:
    trials = [
        trial(0, 0.5),
        trial(1, 0.9, status="pruned"),
        trial(2, 0.7),
        trial(3, 0.7),
        trial(4, status="failed"),
    ]
    most = study(tmp_path, {"val/x": "max"}, *trials)
    assert [each.number for each in most.ranked()] == [2, 3, 0]
    assert [each.number for each in most.best()] == [2]
    least = study(tmp_path, {"val/x": "min"}, *trials)
    assert [each.number for each in least.ranked()] == [0, 2, 3]
    assert study(tmp_path, {"val/x": "min"}).best() == []


def test_the_front(tmp_path: Path) -> None:
    """More of x, less of y: 1 is beaten by 0, 4 by 2; 3 is as good as 2."""
    found = study(
        tmp_path,
        {"val/x": "max", "mb": "min"},
        trial(0, 0.9, 10),
        trial(1, 0.8, 10),
        trial(2, 0.7, 5),
        trial(3, 0.7, 5),
        trial(4, 0.6, 6),
        trial(5, 1.0, 1, status="pruned"),
    )
    assert [each.number for each in found.best()] == [0, 2, 3]
    assert [each.number for each in found.front(among=(0,))] == [0]


def test_the_history_of_a_trial_ends_where_its_record_does(tmp_path: Path) -> None:
    found = study(tmp_path, {"val/x": "max"}, trial(0, 1.0))
    found.path(found.trials[0]).mkdir()
    for number in range(1, 6):
        history.append(tmp_path / "trial_0000" / "history.jsonl", {"round": number})
    assert [line["round"] for line in found.lines(found.trials[0])] == [1, 2, 3]
