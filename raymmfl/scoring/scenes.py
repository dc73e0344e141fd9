"""Scores of the labels of scenes: fusion of the sensors' logits, thresholds from validation."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import Archive
from raymmfl.errors import RunError
from raymmfl.evaluate import as_logits, best_threshold, guess, score
from raymmfl.federation.setting import Setting
from raymmfl.federation.views import Group, jobs
from raymmfl.scoring.split import Metrics, Runtime, Scored, Split, mean_of_parts

FloatArray = NDArray[np.float32]


def score_groups(
    runtime: Runtime,
    parts: Sequence[Group],
    split: Split,
    size: int,
    thresholds: Mapping[str, float] | None,
) -> Scored:
    """Score groups of scenes.

    One forward pass per sensor and view serves the fused scores (mean of the logits of the
    sensors present) and each sensor alone (the others missing).

    Args:
        runtime: holds the state.
        parts: who scores which scenes.
        split: the scenes.
        size: most scenes of one job.
        thresholds: chosen on validation, by ``<view>/<sensors>``; None chooses them here.

    Raises:
        RunError: if scores are not finite.
    """
    cut = [(part, each) for part in parts for each in jobs(part, split.rows, split.present, size)]
    answers = runtime.score([job for _, (_, _, job) in cut])
    logits: dict[tuple[str, str], dict[str, FloatArray]] = {}
    for (part, (sensor, places, _)), answer in zip(cut, answers, strict=True):
        assert isinstance(answer, np.ndarray)
        by_sensor = logits.setdefault(part.scored_as, {})
        if sensor not in by_sensor:
            by_sensor[sensor] = np.full(split.targets.shape, np.nan, np.float32)
        # an infinity, unlike a NaN, cannot be taken for a sensor that a scene lacks
        by_sensor[sensor][places] = np.where(np.isfinite(answer), answer, np.inf)
    metrics: dict[str, list[Metrics]] = {}
    used = dict(thresholds or {})
    for (view, _), by_sensor in logits.items():
        for sensors, values in {"all": _fuse(by_sensor), **by_sensor}.items():
            scored = ~np.isnan(values).all(axis=1)  # the others have no such sensor here
            if not np.isfinite(values[scored]).all():
                raise RunError(
                    f"the {view} scores of {sensors} on the {split.name} split are not finite; "
                    f"a smaller train.lr usually helps"
                )
            if not split.targets[scored].any():
                continue
            place = f"{view}/{sensors}"
            if thresholds is None and place not in used:
                used[place] = best_threshold(*_pooled(logits, view, sensors, split))
            # models away from home are not validated there; they keep the threshold of home
            threshold = used.get(place, used.get(f"home/{sensors}"))
            found = score(values[scored], split.targets[scored], split.labels, threshold)
            metrics.setdefault(f"{split.name}/{place}", []).append(found)
    return Scored(mean_of_parts(metrics), used, {})


def _pooled(
    logits: Mapping[tuple[str, str], Mapping[str, FloatArray]],
    view: str,
    sensors: str,
    split: Split,
) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Logits and targets of all parts of a view, for one threshold that serves them all."""
    values, targets = [], []
    for (each, _), by_sensor in logits.items():
        if each == view and (sensors == "all" or sensors in by_sensor):
            found = _fuse(by_sensor) if sensors == "all" else by_sensor[sensors]
            scored = ~np.isnan(found).all(axis=1)
            values.append(found[scored])
            targets.append(split.targets[scored])
    return np.concatenate(values), np.concatenate(targets)


def guess_split(archive: Archive, setting: Setting, split: Split, val: Split) -> Metrics:
    """Metrics of the no-image guess: class shares of the region's training scenes."""
    train = np.unique(np.concatenate([client.rows for client in setting.clients]))
    targets, regions = archive.targets[train], archive.regions[train]

    def logits(part: Split) -> FloatArray:
        return as_logits(guess(targets, list(regions), list(part.regions)))

    threshold = best_threshold(logits(val), val.targets)
    return score(logits(split), split.targets, split.labels, threshold)


def _fuse(by_sensor: Mapping[str, FloatArray]) -> FloatArray:
    """Mean logits of the sensors present (NaN where none is)."""
    stack = np.stack(list(by_sensor.values()))
    there = ~np.isnan(stack)
    count = there.sum(axis=0)
    total = np.where(there, stack, 0).sum(axis=0, dtype=np.float32)
    fused = np.full(total.shape, np.nan, np.float32)
    np.divide(total, count, out=fused, where=count > 0)
    return fused
