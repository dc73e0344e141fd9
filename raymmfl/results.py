"""What a run leaves beside its rounds: scores and counts, pictures, the model for MLflow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raymmfl import figures, heatmaps, history
from raymmfl.archive.partition import Client, class_counts
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.evaluate_pixels import class_pixels
from raymmfl.federation.setting import Setting
from raymmfl.mirroring import look
from raymmfl.models.export import SceneClassifier
from raymmfl.report import comparison_table
from raymmfl.rounds import Say, Training, final_arrays
from raymmfl.runtime.worker import all_sensors, make_model
from raymmfl.scoring import Metrics, Split, score_guess
from raymmfl.tasks import TASKS, task_of
from raymmfl.tracking import NullMirror


def count_classes(
    config: Config, archive: Archive, clients: Sequence[Client]
) -> NDArray[np.int64]:
    """Training scenes, or their labelled pixels, per client and class, (clients, K)."""
    if config.task == "scenes":
        return class_counts(archive, clients)
    return np.stack([class_pixels(archive, client.rows).sum(axis=0) for client in clients])


def empty_classes(
    archive: Archive, config: Config, counts: NDArray[np.int64], splits: Sequence[str]
) -> list[str]:
    """A sentence per split that lacks a class.

    Args:
        archive: of the splits.
        config: of the run.
        counts: training scenes or pixels per client and class, (clients, K).
        splits: that are scored.
    """
    empty = [
        name for name, count in zip(archive.labels, counts.sum(axis=0), strict=True) if not count
    ]
    found = {"train": empty}
    found |= {name: Split(archive, config, name).absent for name in splits}
    unit = TASKS[config.task].unit
    return [
        f"no {unit} of the {split} split has the class{'es' if len(names) > 1 else ''} "
        f"{', '.join(names)}"
        for split, names in found.items()
        if names
    ]


def result_of(
    setting: Setting, archive: Archive, training: Training, baselines: dict[str, Metrics]
) -> dict[str, Any]:
    """The content of ``result.json``.

    Args:
        setting: what was trained.
        archive: on what.
        training: how it ended.
        baselines: metrics of each baseline on the test split.
    """
    config = setting.config
    splits = {name: Split(archive, config, name) for name in ("val", "test")}
    guess = score_guess(archive, setting, splits["test"], splits["val"])
    return {
        "name": config.name,
        "task": config.task,
        "algorithm": setting.algorithm.name,
        "seed": config.seed,
        "rounds": config.rounds,
        "synthetic": archive.synthetic,
        "archive": {"name": archive.path.name, "sha256": archive.digest},
        "clients": [client.client_id for client in setting.clients],
        "sensors": list(splits["test"].sensors),
        "labels": list(archive.labels),
        "scenes": {name: len(split.rows) for name, split in splits.items()},
        "absent_classes": {name: split.absent for name, split in splits.items()},
        "metrics": training.metrics,
        "thresholds": training.thresholds,
        "confusion": {place: found.tolist() for place, found in training.confusion.items()},
        "baselines": {**baselines, "guess": guess},
        "bytes": training.bytes,
        "flops": training.flops,
        "model_sha256": training.model_sha256,
    }


def trial_result(setting: Setting, archive: Archive, training: Training) -> dict[str, Any]:
    """What a trial of a search leaves: the validation scores of its last round."""
    return {
        "name": setting.config.name,
        "algorithm": setting.algorithm.name,
        "seed": setting.config.seed,
        "rounds": setting.config.rounds,
        "synthetic": archive.synthetic,
        "archive": {"name": archive.path.name, "sha256": archive.digest},
        "metrics": training.metrics,
        "bytes": training.bytes,
        "flops": training.flops,
        "model_sha256": training.model_sha256,
    }


def draw(
    setting: Setting,
    archive: Archive,
    result: dict[str, Any],
    counts: NDArray[np.int64],
    out: Path,
) -> None:
    """Draw the figures of a run into its folder.

    Args:
        setting: what was trained.
        archive: on what.
        result: the content of ``result.json``.
        counts: training scenes or pixels per client and class, (clients, K).
        out: the run folder.
    """
    config = setting.config
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    lines = history.read(out / "history.jsonl")
    ids = [client.client_id for client in setting.clients]
    title = figures.describe(result)
    figures.learning_curves(lines, folder / "learning_curves.png", title, config.task)
    figures.class_f1(result, folder / "class_f1.png")
    figures.comparison(result, folder / "comparison.png")
    unit = TASKS[config.task].unit
    heatmaps.partition(ids, archive.labels, counts.tolist(), folder / "clients.png", title, unit)
    if result["confusion"]:
        heatmaps.confusion(result, folder / "confusion.png")
    figures.bytes_exchanged(lines, folder / "bytes.png", title)


def final_model(
    setting: Setting, archive: Archive, training: Training
) -> Callable[[], tuple[Any, NDArray[np.float32]]] | None:
    """What MLflow stores with a signature; None where there is no one global model."""
    sensors = all_sensors(archive, setting)
    sizes = {archive.sensors[sensor].size for sensor in sensors}
    if not setting.algorithm.shares or len(sizes) > 1:
        return None

    def make() -> tuple[Any, NDArray[np.float32]]:
        described = {sensor: archive.sensors[sensor] for sensor in sensors}
        net = make_model(archive, setting, sensors)
        arrays = final_arrays(setting, training.state)
        net.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()})
        module = SceneClassifier(
            net,
            {sensor: each.bands for sensor, each in described.items()},
            {sensor: each.mean for sensor, each in described.items()},
            {sensor: each.std for sensor, each in described.items()},
        )
        size = sizes.pop()
        bands = sum(len(each.bands) for each in described.values())
        return module.eval(), np.zeros((2, bands, size, size), np.float32)

    return make


def ending(tracker: NullMirror, result: dict[str, Any], out: Path, say: Say) -> None:
    """Tell a person what came out and where to look."""
    say(comparison_table(result))
    leading = task_of(result).headline[0]
    fused = result["metrics"].get(f"test/global/all/{leading.key}")
    guess = result["baselines"]["guess"][f"test/all/{leading.key}"]
    if fused is not None and fused < guess:
        say(
            f"warning: the global {leading.short} of {fused:.3f} lies below the no-image guess of "
            f"{guess:.3f}"
        )
    say(f"run folder: {out}  (figures in {out / 'figures'})")
    if tracker.warning:
        say(f"warning: {tracker.warning}")
    where = look(tracker, result)
    if where:
        say(where)
