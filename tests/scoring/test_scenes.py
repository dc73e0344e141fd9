"""Tests of scoring labels of scenes: fusion, missing sensors, thresholds and views, by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raymmfl.algorithms import ALGORITHMS
from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.configfile import parse
from raymmfl.evaluate import as_logits, best_threshold, score
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Scoring
from raymmfl.runtime.serial import SerialRuntime
from raymmfl.runtime.worker import make_plan
from raymmfl.scoring import Split, score_guess, score_state


def setting_of(archive: Archive, algorithm: str, **clients: Any) -> Setting:
    config = parse({"clients": clients, "evaluate": {"batch_size": 3}})
    dealt = tuple(partition(archive, config.clients, 0))
    draft = Setting(config, ALGORITHMS[algorithm], Plan(()), dealt, len(archive))
    return replace(draft, plan=make_plan(archive, draft))


class Oracle:
    """A runtime whose logits are chosen by the test."""

    workers = 1

    def __init__(self, archive: Archive, strength: dict[str, float]) -> None:
        self.archive = archive
        self.strength = strength
        self.jobs: list[Scoring] = []

    def score(self, jobs: Sequence[Scoring]) -> list[Any]:
        self.jobs += jobs
        signs = [2.0 * self.archive.targets[job.rows] - 1 for job in jobs]
        return [
            (sign * self.strength[job.sensor]).astype(np.float32)
            for sign, job in zip(signs, jobs, strict=True)
        ]


def test_a_split_is_the_chosen_regions_and_sensors(archive: Archive) -> None:
    config = parse({"clients": {"regions": ["Finland"], "sensors": ["S2"]}})
    split = Split(archive, config, "val")
    assert split.sensors == ("S2",)
    assert set(split.regions) == {"Finland"}
    assert (archive.splits[split.rows] == "val").all()
    np.testing.assert_array_equal(split.targets, archive.targets[split.rows])
    expected = [n for n, k in zip(archive.labels, split.targets.sum(0), strict=True) if not k]
    assert split.absent == expected


def test_fusion_is_the_mean_of_the_logits(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    split = Split(archive, setting.config, "val")
    # S1 always right with 1, S2 always wrong with 3: together always wrong with 1
    oracle: Any = Oracle(archive, {"S1": 1.0, "S2": -3.0})
    state: Any = SerialRuntime(str(archive.path), 1).prepare(setting, None)
    metrics, thresholds, _ = score_state(oracle, setting, state, split, {})
    assert metrics["val/global/S1/f1_micro"] == 1
    assert metrics["val/global/S2/f1_micro"] == 0
    assert metrics["val/global/all/f1_micro"] == 0
    assert metrics["val/global/S1/loss"] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-5)
    assert metrics["val/global/all/loss"] == pytest.approx(np.log1p(np.exp(1)), rel=1e-5)
    assert thresholds == {}
    assert not any(key.endswith("_tuned") for key in metrics)
    assert max(len(job.rows) for job in oracle.jobs) <= 12


def test_a_missing_sensor_is_left_out_of_the_mean(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    split = Split(archive, setting.config, "val")
    split.present = {"S1": np.arange(len(split.rows)) % 2 == 0, "S2": split.present["S2"]}
    oracle: Any = Oracle(archive, {"S1": 5.0, "S2": -1.0})
    state: Any = SerialRuntime(str(archive.path), 1).prepare(setting, None)
    metrics, _, _ = score_state(oracle, setting, state, split, {})
    assert metrics["val/global/S1/f1_micro"] == 1  # over the scenes that have it
    # fused: (5 - 1) / 2 right on even scenes, -1 wrong on odd ones
    signs = np.where(split.present["S1"], 2.0, -1.0)[:, None]
    fused = (signs * (2.0 * split.targets - 1)).astype(np.float32)
    expected = score(fused, split.targets, split.labels)
    assert metrics["val/global/all/f1_micro"] == pytest.approx(expected["f1_micro"])
    assert metrics["val/global/all/map"] == pytest.approx(expected["map"])


def test_thresholds_are_chosen_on_validation_alone(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    runtime = SerialRuntime(str(archive.path), 1)
    state = runtime.prepare(setting, None)
    state, _ = runtime.round()
    val, test = (Split(archive, setting.config, name) for name in ("val", "test"))
    _, chosen, _ = score_state(runtime, setting, state, val, None)
    assert set(chosen) == {
        f"{view}/{s}" for view in ("global", "home") for s in ("all", "S1", "S2")
    }
    metrics, used, _ = score_state(runtime, setting, state, test, chosen)
    assert used == chosen
    fixed = dict.fromkeys(chosen, 0.95)
    other, _, _ = score_state(runtime, setting, state, test, fixed)
    assert other["test/global/all/map"] == metrics["test/global/all/map"]
    assert other["test/global/all/f1_micro"] == metrics["test/global/all/f1_micro"]
    assert other["test/global/all/f1_micro_tuned"] != metrics["test/global/all/f1_micro_tuned"]


def test_away_is_the_mean_over_the_models(archive: Archive) -> None:
    setting = setting_of(archive, "local", sensors=["S1"])
    split = Split(archive, setting.config, "test")
    state: Any = SerialRuntime(str(archive.path), 1).prepare(setting, None)

    class ByRegion(Oracle):
        def score(self, jobs: Sequence[Scoring]) -> list[Any]:
            signs = [2.0 * self.archive.targets[job.rows] - 1 for job in jobs]
            # Finland's scenes are scored right, Austria's wrong, whoever scores them
            factor = [np.where(self.archive.regions[job.rows] == "Finland", 2, -2) for job in jobs]
            pairs = zip(signs, factor, strict=True)
            return [(s * f[:, None]).astype(np.float32) for s, f in pairs]

    oracle: Any = ByRegion(archive, {})
    metrics, _, _ = score_state(oracle, setting, state, split, {"home/all": 0.5}, final=True)
    # each model scores the other region only: F1 of 1 and of 0
    assert metrics["test/away/all/f1_micro"] == 0.5
    assert metrics["test/away/all/f1_micro_tuned"] == 0.5  # at the threshold of home
    assert 0 < metrics["test/home/all/f1_micro"] < 1
    assert not any("/global/" in key for key in metrics)


def test_the_guess_knows_class_shares_of_the_region(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    val, test = (Split(archive, setting.config, name) for name in ("val", "test"))
    train = archive.rows("train")

    def logits(split: Split) -> Any:
        rows = [archive.targets[train[archive.regions[train] == r]].mean(0) for r in split.regions]
        return as_logits(np.array(rows, np.float32))

    threshold = best_threshold(logits(val), val.targets)
    expected = score(logits(test), test.targets, test.labels, threshold)
    found = score_guess(archive, setting, test, val)
    assert found == {f"test/all/{name}": pytest.approx(each) for name, each in expected.items()}


def test_a_split_without_scenes_has_no_scores(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    split = Split(archive, setting.config, "nothing")
    nobody: Any = None
    assert score_state(nobody, setting, nobody, split, {"a": 0.5}) == ({}, {"a": 0.5}, {})
