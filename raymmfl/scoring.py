"""Scores of a state on a split: per view, all sensors together and each sensor alone."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.partition import chosen_sensors, scenes
from raymmfl.archive.store import Archive
from raymmfl.config import ClientsConfig
from raymmfl.errors import RunError
from raymmfl.evaluate import absent, as_logits, best_threshold, guess, score
from raymmfl.federation.server import Outcome, State
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Scoring
from raymmfl.federation.views import Group, groups, jobs

FloatArray = NDArray[np.float32]
Rows = NDArray[np.int64]
Metrics = dict[str, float]


class Runtime(Protocol):
    """Where clients run: serial or Ray; both give the same bits."""

    workers: int

    def prepare(self, setting: Setting, state: State | None) -> State:
        """Begin or continue a training; None starts from the untrained model."""

    def round(self) -> tuple[State, Outcome]:
        """One federated round."""

    def score(self, jobs: Sequence[Scoring]) -> list[FloatArray]:
        """Logits of each job with the current state."""

    def close(self) -> None:
        """Stop what was started."""


class Split:
    """The scenes of one split that a run scores."""

    def __init__(self, archive: Archive, config: ClientsConfig, name: str) -> None:
        self.name = name
        self.labels = archive.labels
        self.sensors = chosen_sensors(archive, config)
        self.rows: Rows = scenes(archive, config, name)
        self.regions = archive.regions[self.rows]
        self.targets = archive.targets[self.rows]
        self.present = {each: archive.present(each)[self.rows] for each in self.sensors}

    @property
    def absent(self) -> list[str]:
        """Classes without a scene here; macro averages leave them out."""
        return absent(self.targets, self.labels)


def score_state(
    runtime: Runtime,
    setting: Setting,
    state: State,
    split: Split,
    thresholds: Mapping[str, float] | None,
    final: bool = False,
) -> tuple[Metrics, dict[str, float]]:
    """Metrics ``<split>/<view>/<sensors>/<metric>`` of a state.

    One forward pass per sensor and view serves the fused scores (mean of the logits of the
    sensors present) and each sensor alone (the others missing).

    Args:
        runtime: holds the state.
        setting: the training.
        state: whose clients' memory the home view uses.
        split: the scenes.
        thresholds: chosen on validation, by ``<view>/<sensors>``; None chooses them here, which
            only the validation split may.
        final: also score models away from home.

    Returns:
        The metrics, and the thresholds used.
    """
    if not len(split.rows):
        return {}, dict(thresholds or {})
    held = {each for client in setting.clients for each in client.sensors}
    trained = [sensor for sensor in split.sensors if sensor in held]
    parts = groups(setting, split.regions, trained, state.memory, final)
    size = 4 * setting.config.evaluate.batch_size
    cut = [(part, each) for part in parts for each in jobs(part, split.rows, split.present, size)]
    answers = runtime.score([job for _, (_, _, job) in cut])
    logits: dict[tuple[str, str], dict[str, FloatArray]] = {}
    for (part, (sensor, places, _)), answer in zip(cut, answers, strict=True):
        by_sensor = logits.setdefault(_key(part), {})
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
    return _mean(metrics), used


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


def score_guess(archive: Archive, setting: Setting, split: Split, val: Split) -> Metrics:
    """Metrics ``<split>/all/<metric>`` of the no-image guess: class shares of the region."""
    train = np.unique(np.concatenate([client.rows for client in setting.clients]))
    targets, regions = archive.targets[train], archive.regions[train]

    def logits(part: Split) -> FloatArray:
        return as_logits(guess(targets, list(regions), list(part.regions)))

    threshold = best_threshold(logits(val), val.targets)
    found = score(logits(split), split.targets, split.labels, threshold)
    return {f"{split.name}/all/{name}": value for name, value in found.items()}


def _key(group: Group) -> tuple[str, str]:
    """Groups of the home view are scored together, those away from home one by one."""
    return group.view, group.name if group.view == "away" else ""


def _fuse(by_sensor: Mapping[str, FloatArray]) -> FloatArray:
    """Mean logits of the sensors present (NaN where none is)."""
    stack = np.stack(list(by_sensor.values()))
    there = ~np.isnan(stack)
    count = there.sum(axis=0)
    total = np.where(there, stack, 0).sum(axis=0, dtype=np.float32)
    fused = np.full(total.shape, np.nan, np.float32)
    np.divide(total, count, out=fused, where=count > 0)
    return fused


def _mean(metrics: Mapping[str, list[Metrics]]) -> Metrics:
    """Mean of each metric over the parts of a view that have it."""
    found = {}
    for place, parts in metrics.items():
        for name in dict.fromkeys(name for part in parts for name in part):
            values = [part[name] for part in parts if name in part]
            found[f"{place}/{name}"] = float(np.mean(values))
    return found
