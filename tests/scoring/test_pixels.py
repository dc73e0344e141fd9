"""Tests of scoring pixels: fusion, missing sensors, views and the guess, by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raymmfl.algorithms import ALGORITHMS
from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.configfile import parse
from raymmfl.errors import RunError
from raymmfl.evaluate_pixels import score
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import PixelScoring, Tally
from raymmfl.federation.views import Group
from raymmfl.runtime.serial import SerialRuntime
from raymmfl.runtime.worker import make_plan
from raymmfl.scoring import Split, score_guess, score_state
from raymmfl.scoring.pixels import jobs


def setting_of(archive: Archive, algorithm: str, **clients: Any) -> Setting:
    config = parse({"task": "pixels", "clients": clients, "evaluate": {"batch_size": 3}})
    dealt = tuple(partition(archive, config.clients, 0))
    draft = Setting(config, ALGORITHMS[algorithm], Plan(()), dealt, len(archive))
    return replace(draft, plan=make_plan(archive, draft))


def confusion_of(truth: NDArray[Any], claimed: NDArray[Any], classes: int) -> NDArray[np.int64]:
    known = truth != 255
    pairs = truth[known].astype(np.int64) * classes + claimed[known]
    counts: NDArray[np.int64] = np.bincount(pairs, minlength=classes**2)
    return counts.reshape(classes, classes)


def logits_of(
    runtime: SerialRuntime, setting: Setting, sensor: str, rows: NDArray[np.int64]
) -> torch.Tensor:
    """Logit maps of one sensor by the untrained model, in one batch."""
    worker = runtime.worker
    model = worker._loaded(runtime.state.flat, sensor, {})
    with torch.no_grad():
        logits: torch.Tensor = model({sensor: worker.images.load(sensor, rows)})
    return logits


def test_a_split_counts_the_classes_of_its_pixels(archive: Archive) -> None:
    split = Split(archive, setting_of(archive, "mf").config, "val")
    masks = archive.read_mask(split.rows)
    counts = [int((masks == k).sum()) for k in range(len(archive.labels))]
    assert split.counts.tolist() == counts
    assert split.absent == [n for n, k in zip(archive.labels, counts, strict=True) if not k]


def test_confusion_by_hand_fused_and_alone(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    runtime = SerialRuntime(str(archive.path), 1)
    state = runtime.prepare(setting, None)
    split = Split(archive, setting.config, "val")
    found = score_state(runtime, setting, state, split, None)
    maps = {sensor: logits_of(runtime, setting, sensor, split.rows) for sensor in split.sensors}
    maps["all"] = (maps["S1"] + maps["S2"]) / 2
    truth = archive.read_mask(split.rows)
    classes = len(archive.labels)
    for sensors, logits in maps.items():
        confusion = confusion_of(truth, logits.argmax(1).numpy(), classes)
        np.testing.assert_array_equal(found.confusion[f"val/global/{sensors}"], confusion)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(truth).long(), ignore_index=255, reduction="sum"
        )
        for name, value in score(confusion, float(loss), archive.labels).items():
            key = f"val/global/{sensors}/{name}"
            assert found.metrics[key] == pytest.approx(value, rel=1e-4), key
    assert found.thresholds == {}
    assert {key.split("/")[1] for key in found.metrics} == {"global", "home"}


def test_a_missing_sensor_is_left_out_of_the_mean(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = setting_of(archive, "mf")
    runtime = SerialRuntime(str(archive.path), 1)
    state = runtime.prepare(setting, None)
    whole = archive.present("S1")
    there = whole & (np.arange(len(whole)) % 2 == 0)
    plain = Archive.present
    monkeypatch.setattr(
        Archive, "present", lambda self, name: there if name == "S1" else plain(self, name)
    )
    split = Split(archive, setting.config, "val")
    found = score_state(runtime, setting, state, split, None)
    truth, classes = archive.read_mask(split.rows), len(archive.labels)
    has = there[split.rows]
    one = logits_of(runtime, setting, "S1", split.rows[has])
    fused = logits_of(runtime, setting, "S2", split.rows)
    fused[torch.from_numpy(has)] = (fused[torch.from_numpy(has)] + one) / 2
    expected = confusion_of(truth, fused.argmax(1).numpy(), classes)
    np.testing.assert_array_equal(found.confusion["val/global/all"], expected)
    alone = confusion_of(truth[has], one.argmax(1).numpy(), classes)
    np.testing.assert_array_equal(found.confusion["val/global/S1"], alone)


class Oracle:
    """A runtime whose tallies are chosen by the test."""

    workers = 1

    def __init__(self, archive: Archive, loss: float = 1.0) -> None:
        self.archive = archive
        self.loss = loss
        self.jobs: list[PixelScoring] = []

    def score(self, jobs: Sequence[PixelScoring]) -> list[Tally]:
        self.jobs += jobs
        return [self.answer(job) for job in jobs]

    def answer(self, job: PixelScoring) -> Tally:
        """Finland's pixels are all right, Austria's all wrong, whoever scores them."""
        classes = len(self.archive.labels)
        truth = self.archive.read_mask(job.rows)
        right = (self.archive.regions[job.rows] == "Finland")[:, None, None]
        claimed = np.where(right, truth, (truth.astype(int) + 1) % classes)
        confusion = confusion_of(truth, claimed, classes)
        names = ["all", *job.memories]
        return Tally(dict.fromkeys(names, confusion), dict.fromkeys(names, self.loss))


def test_parts_of_home_are_summed_and_those_of_away_averaged(archive: Archive) -> None:
    setting = setting_of(archive, "local", sensors=["S1"])
    split = Split(archive, setting.config, "test")
    state: Any = SerialRuntime(str(archive.path), 1).prepare(setting, None)
    oracle: Any = Oracle(archive)
    found = score_state(oracle, setting, state, split, {}, final=True)
    right = split.pixels[split.regions == "Finland"].sum()
    assert found.metrics["test/home/all/f1_micro"] == pytest.approx(right / split.pixels.sum())
    assert found.metrics["test/away/all/f1_micro"] == 0.5  # the means of 1 and 0
    assert found.confusion["test/home/S1"].sum() == split.pixels.sum()
    assert found.confusion["test/away/S1"].sum() == split.pixels.sum()  # each region once
    assert {key.split("/")[1] for key in found.metrics} == {"home", "away"}


def test_jobs_are_cut_and_hold_scenes_with_a_sensor() -> None:
    rows = np.arange(100, 110)
    present = {"S1": np.arange(10) < 2, "S2": np.arange(10) == 8, "S3": np.ones(10, bool)}
    group = Group("home", "north", np.arange(1, 10), {"S1": {}, "S2": {}})
    assert [job.rows.tolist() for job in jobs(group, rows, present, 1)] == [[101], [108]]
    assert [job.rows.tolist() for job in jobs(group, rows, present, 9)] == [[101, 108]]


def test_scores_that_are_not_finite_end_the_run(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    split = Split(archive, setting.config, "val")
    state: Any = SerialRuntime(str(archive.path), 1).prepare(setting, None)
    oracle: Any = Oracle(archive, float("nan"))
    with pytest.raises(RunError, match=r"global scores of all on the val split are not finite"):
        score_state(oracle, setting, state, split, None)


def test_the_guess_gives_a_region_its_most_frequent_class(archive: Archive) -> None:
    setting = setting_of(archive, "mf")
    val, test = (Split(archive, setting.config, name) for name in ("val", "test"))
    train = archive.rows("train")
    truth = archive.read_mask(test.rows)
    claimed = np.empty_like(truth)
    for region in set(archive.regions):
        masks = archive.read_mask(train[archive.regions[train] == region])
        commonest = np.bincount(masks[masks != 255]).argmax()
        claimed[test.regions == region] = commonest
    expected = score(confusion_of(truth, claimed, len(archive.labels)), 0.0, archive.labels)
    found = score_guess(archive, setting, test, val)
    for name in ("f1_micro", "f1_macro", "miou"):
        assert found[f"test/all/{name}"] == pytest.approx(expected[name])
    assert 0 < found["test/all/loss"] < 20
