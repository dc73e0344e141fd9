"""Tests of whole runs that classify pixels: equal bits, resuming, learning, clear refusals."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymmfl import history
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import ConfigError, PartitionError
from raymmfl.run import resume, run

Make = Callable[..., Config]
Expected = Callable[[Config], dict[str, str]]
Digests = Callable[[Path], dict[str, str]]


@pytest.fixture
def pixels(tiny: Make) -> Make:
    """Makes a small configuration of pixel classification."""

    def make(**changes: Any) -> Config:
        return tiny(**{"task": "pixels", "rounds": 2, **changes})

    return make


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have their own tests and take most of a tiny run's time."""
    monkeypatch.setattr("raymmfl.results.draw", lambda *_: None)


@pytest.mark.ray
@pytest.mark.parametrize("actors", [1, 2])
@pytest.mark.usefixtures("ray_cluster")
def test_any_number_of_actors_gives_the_serial_bits(
    pixels: Make, expected: Expected, digests: Digests, tmp_path: Path, actors: int
) -> None:
    config = pixels(resources={"actors": actors}, baselines=["local"])
    out = run(config, tmp_path / "run")
    assert digests(out) == expected(config)
    serial = run(pixels(resources={"runtime": "serial"}, baselines=["local"]), tmp_path / "serial")
    results = [json.loads((each / "result.json").read_text()) for each in (out, serial)]
    assert results[0] == results[1]


def test_resuming_gives_the_same_bits(
    pixels: Make,
    expected: Expected,
    digests: Digests,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = pixels(resources={"runtime": "serial"})
    plain = history.append

    def killed(path: Path, line: Any) -> None:
        if line["round"] == 2:
            raise KeyboardInterrupt
        plain(path, line)

    with monkeypatch.context() as patch:
        patch.setattr("raymmfl.rounds.history.append", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "run")
    assert digests(resume(tmp_path / "run")) == expected(config)


def test_a_federation_learns_to_tell_pixels_apart(
    pixels: Make, archive: Archive, tmp_path: Path
) -> None:
    said: list[str] = []
    config = pixels(
        rounds=5,
        baselines=["centralised"],
        resources={"runtime": "serial"},
        train={"lr": 0.003, "epochs": 2},
    )
    out = run(config, tmp_path / "run", say=said.append)
    result = json.loads((out / "result.json").read_text())
    assert result["task"] == "pixels"
    assert result["thresholds"] == {}
    metrics, guess = result["metrics"], result["baselines"]["guess"]
    for name in ("miou", "f1_macro", "f1_micro"):
        assert metrics[f"test/global/all/{name}"] > guess[f"test/all/{name}"] + 0.05
        assert (
            result["baselines"]["centralised"][f"test/global/all/{name}"]
            > guess[f"test/all/{name}"]
        )
    lines = history.read(out / "history.jsonl")
    losses = [line["metrics"]["train/task_loss"] for line in lines]
    assert losses[-1] < 0.8 * losses[0]
    # what is drawn is what was scored
    table = np.array(result["confusion"]["test/global/all"])
    masks = archive.read_mask(archive.rows("test"))
    assert table.sum() == (masks != 255).sum()
    right = table.trace() / table.sum()
    assert right == pytest.approx(metrics["test/global/all/f1_micro"])
    assert set(result["confusion"]) == {
        f"test/{view}/{each}" for view in ("global", "home") for each in ("all", "S1", "S2")
    }
    absent = [n for n, row in zip(result["labels"], table, strict=True) if not row.any()]
    assert result["absent_classes"]["test"] == absent
    text = "\n".join(said)
    assert "client (pixels)" in text
    assert "val mIoU 0." in text
    assert "mIoU S1" in text
    assert "no pixel of the" in text  # has a class: this archive lacks some in its small splits


def test_an_archive_without_pixel_labels_is_refused_before_anything_starts(
    pixels: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Archive.open

    def without(*arguments: Any) -> Archive:
        found = plain(*arguments)
        found.mask = None
        return found

    monkeypatch.setattr(Archive, "open", without)
    with pytest.raises(ConfigError, match=r"task: pixels needs .* has none; choose"):
        run(pixels(resources={"runtime": "serial"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sensor_on_another_grid_than_the_masks_is_refused(
    pixels: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Archive.open

    def coarser(*arguments: Any) -> Archive:
        found = plain(*arguments)
        only = tuple(column for column in found.sensors["S2"].columns if column.pixel_m > 10)
        found.sensors = {**found.sensors, "S2": replace(found.sensors["S2"], columns=only)}
        return found

    monkeypatch.setattr(Archive, "open", coarser)
    with pytest.raises(ConfigError, match=r"S2 has 8 pixels per side, .* have 16; leave"):
        run(pixels(resources={"runtime": "serial"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_a_labelled_pixel_is_refused(
    pixels: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    plain = Archive.read_mask

    def blank(self: Archive, rows: Any) -> Any:
        masks = plain(self, rows)
        masks[self.splits[rows] == split] = 255
        return masks

    monkeypatch.setattr(Archive, "read_mask", blank)
    with pytest.raises(PartitionError, match=rf"the {split} split of .* has no labelled pixel"):
        run(pixels(resources={"runtime": "serial"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_scenes_need_no_labels_of_their_own(
    pixels: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Archive.open

    def unlabelled(*arguments: Any) -> Archive:
        found = plain(*arguments)
        found.targets = np.zeros_like(found.targets)
        return found

    monkeypatch.setattr(Archive, "open", unlabelled)
    others = ["fedavg", "mf", "mf+fw", "local"]
    config = pixels(rounds=1, resources={"runtime": "serial"}, baselines=others)
    result = json.loads((run(config, tmp_path / "run") / "result.json").read_text())
    assert result["metrics"]["test/global/all/miou"] > 0
    for name in others:  # every algorithm classifies pixels
        view = "home" if name == "local" else "global"
        assert result["baselines"][name][f"test/{view}/all/miou"] > 0
