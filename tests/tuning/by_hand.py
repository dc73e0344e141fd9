"""A study without Ray: sampler and halving driven by hand, scores by formula."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna

from raymmfl import history
from raymmfl.errors import RunError
from raymmfl.tuning import record
from raymmfl.tuning.search import Halving, Search
from raymmfl.tuning.study import Study
from raymmfl.tuning.tally import Tally, named

SCORE = "val/global/all/f1_macro"


class Killed(Exception):
    """As if the process had gone."""


def space(trial: optuna.Trial) -> None:
    """Three numbers, one of them only with MIM."""
    algorithm = trial.suggest_categorical("algorithm", ["mf", "mf+mim"])
    trial.suggest_float("train.lr", 1e-4, 1e-1, log=True)
    if algorithm == "mf+mim":
        trial.suggest_float("mim.weight", 0.01, 1.0, log=True)


def make_study(**changes: Any) -> Study:
    """A small study; keywords change it."""
    given: dict[str, Any] = {
        "name": "small",
        "base": "base.yaml",
        "space": space,
        "objectives": {SCORE: "max"},
        "trials": 9,
        "startup": 3,
    }
    return Study(**(given | changes))


def make_facts(**changes: Any) -> dict[str, Any]:
    """The content of a small study's ``study.json``; keywords change it."""
    given: dict[str, Any] = {
        "name": "small", "objectives": {SCORE: "max"}, "trials": 9, "stopping": None, "seed": 0,
        "startup": 3, "space": {}, "points": POINTS, "archive": "0" * 64, "synthetic": True,
        "base": {"rounds": 6, "seed": 0, "task": "scenes"}, "versions": {"optuna": "?"},
    }  # fmt: skip
    return given | changes


POINTS: list[dict[str, Any]] = [
    {"algorithm": "mf+mim", "train.lr": 0.001, "mim.weight": 0.1},
    {"algorithm": "mf"},
]


def line(number: int, score: float, mb: float = 1.0) -> dict[str, Any]:
    """A history line with one score."""
    return {
        "round": number,
        "metrics": {SCORE: score, "train/loss": 1.0},
        "bytes": {"up": {"weights": mb * 500_000}, "down": {"weights": mb * 500_000}},
        "flops": 1000,
    }


def score_of(settings: Mapping[str, Any], number: int) -> float:
    """Grows with the rounds; best at a rate of 0.01 with a little MIM."""
    rate, weight = float(settings["train.lr"]), float(settings.get("mim.weight", 0.5))
    return number / 10 + min(rate, 1e-4 / rate) - abs(weight - 0.2) / 10


def drive(
    study: Study,
    folder: Path,
    rounds: int = 6,
    dies: Callable[[int, int, str], bool] = lambda *_: False,
    broken: Sequence[int] = (),
) -> None:
    """Play a study's trials one at a time, as Ray Tune would call sampler and halving.

    Args:
        study: the study.
        folder: its folder; a study in it is continued.
        rounds: of each trial.
        dies: (trial, round, moment) -> whether the process is killed there.
        broken: trials without a finite score in round 3.
    """
    if not record.is_study(folder):
        record.write_facts(folder, make_facts(objectives=dict(study.objectives)))
    recorded = record.read(folder)
    search = Search(study, POINTS, folder, lambda trial: None)
    search.replay(recorded)
    halving = None
    if study.stopping is not None:
        halving = Halving(study.stopping, study.objectives[study.headline], rounds)
        halving.replay(recorded)
    ended = sum(trial.status != "running" for trial in recorded.trials)
    for index in range(study.trials - ended):
        name = f"tune-{index}"
        config = search.suggest(name)
        handle = SimpleNamespace(trial_id=name)
        if halving is not None:
            halving.on_trial_add(None, handle)
        number = config["trial"]
        path = folder / config["folder"] / "history.jsonl"
        path.parent.mkdir(exist_ok=True)
        done = history.read(path)
        tally = Tally(study.objectives)
        result: dict[str, Any] = {}
        for step in range(1, rounds + 1):
            if step > len(done):
                score = score_of(json.loads(config["settings"]), step)
                score = float("nan") if number in broken and step == 3 else score
                made = line(step, score, number + 1.0)
                history.append(path, made)
                if dies(number, step, "before the report"):
                    raise Killed
            else:
                made = done[step - 1]
            try:
                values = named(tally.add(made))
            except RunError as error:
                result = {"round": step, "rounds": rounds, "decided": True, "failed": str(error)}
                break
            result = {"round": step, "rounds": rounds, "decided": step < len(done), **values}
            decision = "CONTINUE"
            if halving is not None:
                decision = halving.on_trial_result(None, handle, result)
            if dies(number, step, "after the report"):
                raise Killed
            if decision == "STOP":
                break
            search.on_trial_result(name, result)
        search.on_trial_complete(name, result)
        if dies(number, result["round"], "after the end"):
            raise Killed
