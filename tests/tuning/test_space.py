"""Tests of a study's space before anything starts."""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
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
    "twice": (
        of(
            lambda t: void(
                (t.suggest_int("train.epochs", 1, 3), t.suggest_int("train.epochs", 2, 9))
            )
        ),
        ["'train.epochs' twice"],
    ),
    "no key": (of(lambda t: {3: t.suggest_float("train.lr", 0.0001, 1)}), ["asks for 3"]),
    "goes away": (of(lambda t: sys.exit(0)), ["line ", "SystemExit"]),
    "NumPy's": (
        of(lambda t: void(t.suggest_categorical("train.epochs", list(np.array([1, 2]))))),
        ["'train.epochs'", "plain"],
    ),
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
        ["base's own", "train.lr=0.001, where the space of small has 0.5 to 1;"],
    ),
    "base between steps": (
        of(lambda t: void(t.suggest_int("train.epochs", 2, 6, step=2))),
        ["base's own", "train.epochs=1, where the space of small has 2 to 6 in steps of 2;"],
    ),
    "baseline between steps": (
        of(lambda t: void(t.suggest_int("train.epochs", 1, 5, step=2)))
        | {"baselines": ({"train.epochs": 2},)},
        ["baseline 1", "train.epochs=2, where"],
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
        ({"name": "a" * 101}, "up to 100 letters"),
        ({"objectives": {SCORE: "max", "mb": "min"}}, "no early stopping"),
    ],
)
def test_a_study_that_cannot_be(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_study(**changes)


def test_what_optuna_warns_of_is_no_error(tiny: Make) -> None:
    """A step that does not divide its range, choices that are lists."""

    def odd(trial: optuna.Trial) -> None:
        trial.suggest_int("train.epochs", 1, 6, step=2)
        trial.suggest_categorical("train.batch_size", [2, 4])
        trial.suggest_categorical("clients.sensors", [["S1", "S2"], ["S1"]])  # type: ignore[list-item]

    config = tiny(algorithm="mf", train={"batch_size": 4}, clients={"sensors": ["S1", "S2"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = check_space(make_study(space=odd), config)
    assert found.points == [
        {"train.epochs": 1, "train.batch_size": 4, "clients.sensors": ["S1", "S2"]}
    ]


def test_a_multi_objective_study_may_search_over_rounds(tiny: Make) -> None:
    def free(trial: optuna.Trial) -> None:
        space(trial)
        trial.suggest_int("rounds", 1, 9)

    study = make_study(space=free, objectives={SCORE: "max", "mb": "min"}, stopping=None)
    assert check_space(study, tiny(algorithm="mf", rounds=4)).points[0]["rounds"] == 4
