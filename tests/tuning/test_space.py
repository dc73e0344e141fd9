"""Tests of a study's space before anything starts."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest

from raymmfl.config import Config
from raymmfl.errors import ConfigError
from raymmfl.tuning.space import check_space
from raymmfl.tuning.study import Stopping
from tests.tuning.by_hand import SCORE, make_study, space

Make = Callable[..., Config]


def test_the_base_and_the_baselines_as_points_and_what_each_name_ranges_over(tiny: Make) -> None:
    study = make_study(baselines=({"algorithm": "mf"}, {"mim.weight": 0.2}, {}))
    found = check_space(study, tiny(algorithm="mf+mim", train={"lr": 0.01}))
    assert found.points == [
        {"algorithm": "mf+mim", "train.lr": 0.01, "mim.weight": 0.1},
        {"algorithm": "mf", "train.lr": 0.01},
        {"algorithm": "mf+mim", "train.lr": 0.01, "mim.weight": 0.2},
    ]
    assert list(found.distributions) == ["algorithm", "mim.weight", "train.lr"]
    assert found.distributions["mim.weight"] == {
        "name": "FloatDistribution",
        "attributes": {"step": None, "low": 0.01, "high": 1.0, "log": True},
    }


def of(body: Callable[[optuna.Trial], Any]) -> dict[str, Any]:
    return {"space": body}


BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": (
        of(lambda t: void(t.suggest_float("mim.wieght", 0, 1))),
        ["mim.wieght", "'weight'"],
    ),
    "empty range": (
        of(lambda t: t.suggest_float("mim.weight", 1, 0.5)),
        ["of small, line ", "low", "high", "0.5"],
    ),
    "no choices": (of(lambda t: t.suggest_categorical("train.optimizer", [])), ["choices"]),
    "refused": (of(lambda t: void(t.suggest_int("train.epochs", -5, 0))), ["-2 is not"]),
    "its own bug": (of(lambda t: dict[str, int]()["x"]), ["KeyError"]),
    "empty": (of(lambda t: None), ["asks its trial for nothing"]),
    "no mapping": (of(lambda t: t.suggest_float("mim.weight", 0, 1)), ["float"]),
    "fixed, returned": (
        of(lambda t: {"resources.cpus": t.suggest_float("train.lr", 0.1, 1)}),
        ["'resources.cpus'", "cannot be searched"],
    ),
    "fixed": (of(lambda t: void(t.suggest_int("seed", 0, 3))), ["'seed'", "cannot be searched"]),
    "section": (of(lambda t: void(t.suggest_float("resources.cpus", 0.1, 1))), ["resources.cpus"]),
    "rounds": (
        of(lambda t: void(t.suggest_int("rounds", 1, 9))) | {"stopping": Stopping()},
        ["'rounds'", "stopped by rounds"],
    ),
    "base outside": (
        of(lambda t: void(t.suggest_float("train.lr", 0.5, 1))),
        ["base's own", "0.001"],
    ),
    "baseline outside": (
        {"baselines": ({"algorithm": "fedavg"},)},
        ["baseline 1", "fedavg"],
    ),
    "baseline unused": ({"baselines": ({"train.epochs": 3},)}, ["baseline 1", "'train.epochs'"]),
}


def void(_: object) -> None:
    """Suggested, nothing returned."""


@pytest.mark.parametrize("case", BAD)
def test_a_space_that_cannot_be(case: str, tiny: Make) -> None:
    changes, words = BAD[case]
    with pytest.raises(ConfigError) as caught:
        check_space(make_study(**changes), tiny(algorithm="mf"))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a b"}, "letters, digits"),
        ({"objectives": {}}, "there is none"),
        ({"objectives": {"test/global/all/map": "max"}}, "sees the validation split alone"),
        ({"objectives": {SCORE: "most"}}, "neither 'max' nor 'min'"),
        ({"objectives": {SCORE: "max", "mb": "min"}}, "no early stopping"),
        ({"stopping": Stopping(first=0)}, "first must be at least 1"),
        ({"stopping": Stopping(keep=1)}, "keep at least 2"),
        ({"trials": 0}, "trials must be at least 1"),
    ],
)
def test_a_study_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_study(**changes)


def test_a_multi_objective_study_may_search_over_rounds(tiny: Make) -> None:
    def free(trial: optuna.Trial) -> None:
        space(trial)
        trial.suggest_int("rounds", 1, 9)

    study = make_study(space=free, objectives={SCORE: "max", "mb": "min"}, stopping=None)
    assert check_space(study, tiny(algorithm="mf", rounds=4)).points[0]["rounds"] == 4
