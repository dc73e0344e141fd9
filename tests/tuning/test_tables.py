"""Tests of what a study says of itself on the terminal."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymmfl import history
from raymmfl.tuning import tables
from raymmfl.tuning.record import Recorded, Trial
from tests.tuning.by_hand import SCORE, line


def trial(number: int, status: str, value: float | None = None, **settings: Any) -> Trial:
    values = [] if value is None else [value]
    reason = "no update was accepted" if status == "failed" else ""
    return Trial(number, "search", settings, settings, {}, status, 3, values, reason)  # type: ignore[arg-type]


TRIALS = [
    trial(0, "finished", 0.5),
    trial(1, "pruned", 0.9, **{"mim.weight": 0.123456}),
    trial(2, "finished", 0.75, algorithm="mf"),
    trial(3, "failed", algorithm="mf+fw"),
    trial(4, "running"),
]
STUDY = Recorded(
    Path("study"),
    {
        "name": "s", "objectives": {SCORE: "max"}, "trials": 12, "synthetic": True,
        "base": {"rounds": 3, "seed": 7}, "stopping": {"first": 3, "keep": 3},
    },
    TRIALS,
    [],
)  # fmt: skip


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "trial  1 ( 2 of 12) stopped after round 3  global/all/f1_macro 0.9"),
        (2, "trial  2 ( 3 of 12) finished  global/all/f1_macro 0.75  (best: 0.75, trial 2)"),
        (3, "trial  3 ( 4 of 12) failed after round 3: no update was accepted"),
        (4, "trial  4 ( 5 of 12) begins  (base)"),
    ],
)
def test_a_line_per_trial(number: int, said: str) -> None:
    assert tables.trial_line(STUDY, TRIALS[number], TRIALS) == said


def test_a_trial_that_was_interrupted_continues(tmp_path: Path) -> None:
    study = replace(STUDY, folder=tmp_path)
    path = study.path(TRIALS[4]) / "history.jsonl"
    path.parent.mkdir()
    history.append(path, line(2, 0.5))
    said = tables.trial_line(study, TRIALS[4], TRIALS)
    assert said == "trial  4 ( 5 of 12) continues after round 2  (base)"


def test_what_will_happen() -> None:
    facts = STUDY.facts | {"points": [{}, {"algorithm": "mf"}, {"algorithm": "mf+fw"}]}
    told = tables.heading(replace(STUDY, facts=facts | {"space": {}}), 4, 2, 1).splitlines()
    assert "12 trials of 3 rounds with 4 clients, one in 3 is let past round 3 (ASHA)" in told[0]
    assert told[1] == "first the base's setting and 2 baselines, then 9 that TPE suggests"
    two = replace(STUDY, facts=facts | {"space": {}, "trials": 2})
    said = "first the base's setting and 1 baseline, then 0 that TPE suggests"
    assert said in tables.heading(two, 4, 2, 1)
    searched = facts | {"space": {"rounds": {}}}
    assert "12 trials with 4 clients" in tables.heading(replace(STUDY, facts=searched), 4, 2, 1)


def test_a_stopped_trial_is_not_the_best_however_good() -> None:
    told = tables.ending(STUDY).splitlines()
    assert told[0] == (
        "5 trials: 2 finished, 1 stopped early, 1 failed, 1 not finished; 15 of 15 rounds were run"
    )
    assert told[2].startswith("  trial   2  global/all/f1_macro 0.75  algorithm=mf")
    assert told[-1] == "(synthetic data, validation split, one seed: 7)"


def test_why_trials_failed() -> None:
    assert tables.reasons(STUDY) == (
        "  trial   3  after round   3  no update was accepted  [algorithm=mf+fw]"
    )


def test_a_long_trial_is_heard_of() -> None:
    said = tables.round_line(STUDY, TRIALS[4], 7, 30)
    assert said == "trial  4 ( 5 of 12) has run 7 of 30 rounds"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00:00"), (61, "0:01:01"), (36610, "10:10:10")]
)
def test_durations(seconds: float, said: str) -> None:
    assert tables.clock(seconds) == said


def test_settings_in_a_line() -> None:
    assert tables.in_words(TRIALS[1].settings) == "mim.weight=0.1235"
    assert tables.in_words({}) == "(base)"
