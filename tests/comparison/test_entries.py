"""Tests of reading what is to be compared."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raymmfl.comparison.entries import read
from raymmfl.comparison.groups import groups
from raymmfl.errors import CheckpointError, ConfigError

Make = Callable[..., Path]


def test_runs_are_ordered_by_the_leading_score_on_the_test_split(make_run: Make) -> None:
    paths = [
        make_run("low", [0.9], 0.3),
        make_run("high", [0.1], 0.5, mim={"weight": 0.7}),
    ]
    found = read(paths)
    assert found.metric == "test/global/all/map"
    assert [entry.name for entry in found.ranked] == ["high", "low"]
    assert found.keys == ["mim.weight"]


def test_without_test_scores_validation_orders(make_run: Make) -> None:
    found = read([make_run("low", [0.9, 0.2], 0.3), make_run("high", [0.4])])
    assert found.metric == "val/global/all/map"
    # the second has no result: it has not ended
    assert [entry.name for entry in found.ranked] == ["low"]
    assert [entry.status for entry in found.entries] == ["finished", "running"]


def test_bytes_add_up_both_ways(make_run: Make) -> None:
    found = read([make_run("a", [0.1, 0.2, 0.3], 0.3), make_run("b", [0.1], 0.3)])
    assert [entry.megabytes for entry in found.entries] == [3.0, 1.0]


def test_runs_that_differ_by_their_seed_are_one_group(make_run: Make) -> None:
    paths = [make_run(f"s{seed}", [0.1], 0.4 + seed / 10, seed=seed) for seed in range(3)]
    paths.append(make_run("other", [0.1], 0.45, train={"lr": 0.5}))
    first, second = groups(read(paths))
    assert first.mean == pytest.approx(0.5)
    assert len(first.values) == 3
    assert first.spread == pytest.approx(0.1)
    assert first.by_seed == pytest.approx({0: 0.4, 1: 0.5, 2: 0.6})
    assert (second.name, second.spread) == ("other", None)


def test_a_study_is_ordered_by_its_objective_and_finished_trials_alone(make_study: Make) -> None:
    folder = make_study(
        [
            ({}, [0.1, 0.2], "finished"),
            ({"mim.weight": 0.5}, [0.9], "pruned"),
            ({"mim.weight": 0.2}, [0.1, 0.4], "finished"),
        ]
    )
    found = read([folder])
    assert [entry.name for entry in found.ranked] == ["trial_0002", "trial_0000"]
    assert [entry.status for entry in found.entries] == ["finished", "pruned", "finished"]


def test_a_setting_that_a_trial_was_not_asked_for_is_absent(make_study: Make) -> None:
    trials = [
        ({"train.lr": 0.1, "mim.weight": 0.5}, [0.1], "finished"),
        ({"train.lr": 0.2}, [0.2], "finished"),
    ]
    found = read([make_study(trials)])
    assert found.keys == ["mim.weight", "train.lr"]
    assert [entry.settings.get("mim.weight") for entry in found.entries] == [0.5, None]
    assert found.heading == "study study, synthetic data"


@pytest.mark.parametrize(
    ("number", "metric", "words"),
    [
        (0, None, "at least two"),
        (1, None, "one training without baselines"),
        (2, "test/global/all/mapp", "did you mean 'test/global/all/map'"),
    ],
)
def test_what_cannot_be_compared_is_said(
    make_run: Make, number: int, metric: str | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        read([make_run(f"r{index}", [0.1], 0.2) for index in range(number)], metric)


def test_a_folder_named_twice(make_run: Make) -> None:
    path = make_run("a", [0.1], 0.2)
    with pytest.raises(ConfigError, match="named twice"):
        read([path, path.parent / "." / "a"])


def test_where_there_is_nothing_to_order(make_study: Make) -> None:
    study = make_study([({"mim.weight": 0.1}, [], "failed")] * 2)
    with pytest.raises(ConfigError, match="every training failed; trial_0000: NaN in round 1"):
        read([study])


def test_a_trial_that_is_gone_is_no_loser(make_study: Make) -> None:
    study = make_study([({"mim.weight": x}, [x], "finished") for x in (0.1, 0.9)])
    assert read([study]).ranked[0].name == "trial_0001"
    shutil.rmtree(study / "trial_0001")
    with pytest.raises(CheckpointError, match="trial_0001 is not as it was"):
        read([study])


def test_a_folder_that_is_no_run_is_said(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run folder and no study"):
        read([make_run("a", [0.1], 0.2), tmp_path])


def test_tasks_are_not_mixed(make_run: Make) -> None:
    with pytest.raises(ConfigError, match="runs of one task"):
        read([make_run("a", [0.1], 0.2), make_run("b", [0.1], 0.2, task="pixels")])
