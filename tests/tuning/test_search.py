"""Tests of the search: what Optuna is told, what is stopped, and that a replay continues it."""

import json
from pathlib import Path

import optuna
import pytest

from raymmfl.errors import CheckpointError
from raymmfl.tuning import record
from raymmfl.tuning.record import Trial
from raymmfl.tuning.search import Halving, Search
from raymmfl.tuning.study import Stopping
from tests.tuning.by_hand import POINTS, SCORE, Killed, drive, make_facts, make_study, space

HALVED = {"stopping": Stopping(first=2, keep=2)}
MULTI = {"objectives": {SCORE: "max", "mb": "min"}, "stopping": None}


def test_the_base_and_the_baselines_come_first_and_conditions_hold(tmp_path: Path) -> None:
    drive(make_study(stopping=None), tmp_path)
    trials = record.read(tmp_path).trials
    assert [trial.origin for trial in trials] == ["base", "baseline", *["search"] * 7]
    assert trials[0].params == POINTS[0]
    assert trials[1].params["algorithm"] == "mf"
    for trial in trials:
        assert ("mim.weight" in trial.params) == (trial.params["algorithm"] == "mf+mim")
        assert trial.settings == trial.params
        assert trial.distributions.keys() == trial.params.keys()
        assert (trial.status, trial.round) == ("finished", 6)


def test_poor_trials_are_stopped_and_optuna_knows_them_as_pruned(tmp_path: Path) -> None:
    study = make_study(**HALVED)
    drive(study, tmp_path)
    recorded = record.read(tmp_path)
    pruned = [trial for trial in recorded.trials if trial.status == "pruned"]
    assert {trial.round for trial in pruned} <= {2, 4}
    assert pruned
    assert recorded.trials[0].status == "finished", "nobody was there to lose against"
    search = Search(study, POINTS, tmp_path, lambda trial: None)
    search.replay(recorded)
    for trial, known in zip(recorded.trials, search._ot_study.trials, strict=True):
        stopped = trial.status == "pruned"
        state = optuna.trial.TrialState.PRUNED if stopped else optuna.trial.TrialState.COMPLETE
        assert (known.state, known.params) == (state, trial.params)
        assert sorted(known.intermediate_values) == list(range(1, trial.round + 1))
        assert known.value == trial.values[0]


def test_a_rung_lets_the_better_half_past(tmp_path: Path) -> None:
    """Scores after round 2 in order of arrival: 5, 3, 4, 6; cut at the median of those before."""
    halving = Halving(Stopping(first=2, keep=2), "max", 6)

    class Handle:
        def __init__(self, name: str) -> None:
            self.trial_id = name

    def after(name: str, number: int, score: float, decided: bool = False) -> str:
        handle = Handle(name)
        if number == 2:
            halving.on_trial_add(None, handle)
        result = {"round": number, "decided": decided, "value0": score}
        return halving.on_trial_result(None, handle, result)

    assert after("a", 2, 5.0) == "CONTINUE"  # the first
    assert after("b", 2, 3.0) == "STOP"  # below 5
    assert after("c", 2, 4.0) == "CONTINUE"  # the median of 5, 3 is 4
    assert after("d", 2, 1.0, decided=True) == "CONTINUE"  # decided in an earlier process
    assert after("a", 4, 0.0) == "CONTINUE"
    assert after("c", 4, -1.0) == "STOP"
    assert after("a", 6, -9.0) == "CONTINUE"  # the last round has been paid for


@pytest.mark.parametrize(
    "changes", [HALVED, MULTI, {"stopping": None}], ids=["ASHA", "NSGA", "TPE"]
)
@pytest.mark.parametrize("moment", ["before the report", "after the report", "after the end"])
def test_killed_anywhere_and_replayed_the_study_is_the_same(
    changes: dict[str, object], moment: str, tmp_path: Path
) -> None:
    study = make_study(**changes)
    whole = tmp_path / "whole"
    whole.mkdir()
    drive(study, whole)
    wanted = (whole / "trials.jsonl").read_bytes()
    for number, step in [(0, 1), (2, 2), (4, 2), (5, 6), (8, 3)]:
        folder = tmp_path / f"{number}-{step}"
        folder.mkdir()

        def dies(trial: int, last: int, when: str, at: tuple[int, int] = (number, step)) -> bool:
            return trial == at[0] and last >= at[1] and when == moment

        try:
            drive(study, folder, dies=dies)
        except Killed:
            assert (folder / "trials.jsonl").read_bytes() != wanted or moment == "after the end"
            drive(study, folder)
        assert (folder / "trials.jsonl").read_bytes() == wanted


def test_a_longer_study_begins_like_the_shorter(tmp_path: Path) -> None:
    drive(make_study(trials=4, **HALVED), tmp_path)
    before = (tmp_path / "trials.jsonl").read_bytes()
    drive(make_study(trials=9, **HALVED), tmp_path)
    (tmp_path / "other").mkdir()
    drive(make_study(trials=9, **HALVED), tmp_path / "other")
    after = (tmp_path / "trials.jsonl").read_bytes()
    assert after.startswith(before)
    assert after == (tmp_path / "other" / "trials.jsonl").read_bytes()


def few(trial: optuna.Trial) -> None:
    """Nine settings in all."""
    algorithm = trial.suggest_categorical("algorithm", ["mf", "mf+mim"])
    trial.suggest_categorical("train.lr", [0.001, 0.01, 0.1])
    if algorithm == "mf+mim":
        trial.suggest_categorical("mim.weight", [0.1, 0.2])


@pytest.mark.parametrize(
    "changes", [HALVED, MULTI, {"stopping": None}], ids=["ASHA", "NSGA", "TPE"]
)
def test_what_was_tried_is_not_run_again(changes: dict[str, object], tmp_path: Path) -> None:
    """Equal settings give equal bits; only where nothing new is left are they run again."""
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    drive(make_study(space=few, trials=8, **changes), whole, broken=[1])
    trials = record.read(whole).trials
    assert len({json.dumps(trial.settings, sort_keys=True) for trial in trials}) == 8
    assert [trial.origin for trial in trials] == ["base", "baseline", *["search"] * 6]
    for more in (3, 5, 8):  # a replay skips what was skipped
        drive(make_study(space=few, trials=more, **changes), part, broken=[1])
    assert (part / "trials.jsonl").read_bytes() == (whole / "trials.jsonl").read_bytes()
    drive(make_study(space=few, trials=12, **changes), part, broken=[1])
    assert len(record.read(part).trials) == 12


def test_after_a_random_setting_the_sampler_goes_on(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    study = make_study(space=few)
    search = Search(study, POINTS, tmp_path, lambda trial: None)
    for number in range(9):
        search.suggest(str(number))
        search.on_trial_complete(str(number), {"round": 6, "rounds": 6, "value0": 0.5})
        assert isinstance(search._ot_study.sampler, optuna.samplers.TPESampler)
    asked = search._ot_study.trials
    assert len(asked) > 9, "something was suggested again"
    assert {each.state for each in asked} == {
        optuna.trial.TrialState.COMPLETE,
        optuna.trial.TrialState.FAIL,
    }
    assert sum(each.state.name == "COMPLETE" for each in asked) == 9


def wider(trial: optuna.Trial) -> None:
    space(trial)
    trial.suggest_int("train.epochs", 1, 5)


@pytest.mark.parametrize("change", [{"space": wider}, {"seed": 5}])
def test_a_sampler_that_suggests_something_else_is_noticed(
    change: dict[str, object], tmp_path: Path
) -> None:
    drive(make_study(trials=5, **HALVED), tmp_path)
    with pytest.raises(CheckpointError, match="the space has changed, or Optuna has") as caught:
        drive(make_study(**change, **HALVED), tmp_path)
    assert "another --out" in str(caught.value)


def test_a_failed_trial_is_told_and_recorded_as_such(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    told: list[str] = []
    search = Search(make_study(), POINTS, tmp_path, lambda trial: told.append(trial.status))
    for name, result, error in (
        ("a", {"round": 2, "rounds": 6, "failed": "not finite"}, False),
        ("b", None, True),
    ):
        search.suggest(name)
        search.on_trial_complete(name, result, error)
    first, second = record.read(tmp_path).trials
    assert (first.status, first.round, first.reason) == ("failed", 2, "not finite")
    assert (second.status, second.reason) == ("failed", "its process died again and again")
    assert {each.state for each in search._ot_study.trials} == {optuna.trial.TrialState.FAIL}
    assert told == ["running", "failed"] * 2


@pytest.mark.parametrize("changes", [HALVED, MULTI], ids=["ASHA", "NSGA"])
def test_a_study_goes_on_after_a_trial_without_a_finite_score(
    changes: dict[str, object], tmp_path: Path
) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    drive(make_study(**changes), whole, broken=[0, 2])
    drive(make_study(**changes | {"trials": 4}), part, broken=[0, 2])
    assert record.read(part).trials[0].reason == f"{SCORE} is not finite after round 3"
    drive(make_study(**changes), part, broken=[0, 2])
    assert (part / "trials.jsonl").read_bytes() == (whole / "trials.jsonl").read_bytes()


def test_a_trial_ends_once_however_often_it_is_said_to(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())

    def full(trial: Trial) -> None:
        if trial.status != "running":
            raise OSError("no space left on device")

    search = Search(make_study(), POINTS, tmp_path, full)
    search.suggest("a")
    result = {"round": 6, "rounds": 6, "value0": 0.5}
    with pytest.raises(OSError, match="no space"):
        search.on_trial_complete("a", result)
    search.on_trial_complete("a", error=True)  # Ray Tune's way to recover
    (trial,) = record.read(tmp_path).trials
    assert (trial.status, trial.values) == ("finished", [0.5])
    record.ended(tmp_path, trial)
    with pytest.raises(CheckpointError, match="trial 0 ends twice"):
        record.read(tmp_path)


def test_a_trial_whose_process_died_has_the_rounds_it_reported(tmp_path: Path) -> None:
    record.write_facts(tmp_path, make_facts())
    search = Search(make_study(), POINTS, tmp_path, lambda trial: None)
    search.suggest("a")
    for step in (1, 2):
        search.on_trial_result("a", {"round": step, "rounds": 6, "value0": 0.5})
    search.on_trial_complete("a", None, error=True)
    (trial,) = record.read(tmp_path).trials
    assert (trial.status, trial.round) == ("failed", 2)


def test_settings_survive_the_record(tmp_path: Path) -> None:
    def lists(trial: optuna.Trial) -> dict[str, object]:
        trial.suggest_int("train.epochs", 1, 3)
        return {"clients.sensors": ("S1", "S2")}

    record.write_facts(tmp_path, make_facts())
    study = make_study(space=lists)
    search = Search(study, [{}], tmp_path, lambda trial: None)
    config = search.suggest("a")
    assert json.loads(config["settings"])["clients.sensors"] == ["S1", "S2"]
    Search(study, [{}], tmp_path, lambda trial: None).replay(record.read(tmp_path))
