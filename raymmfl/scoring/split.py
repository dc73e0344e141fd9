"""What every scoring needs: where clients run, the scenes of a split, what comes out."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.partition import chosen_sensors, scenes
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.evaluate_pixels import class_pixels
from raymmfl.federation.server import Outcome, State
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Answer, Job

Metrics = dict[str, float]


class Runtime(Protocol):
    """Where clients run: serial or Ray; both give the same bits."""

    workers: int

    def prepare(self, setting: Setting, state: State | None) -> State:
        """Begin or continue a training; None starts from the untrained model."""

    def round(self) -> tuple[State, Outcome]:
        """One federated round."""

    def score(self, jobs: Sequence[Job]) -> list[Answer]:
        """The answer to each job with the current state."""

    def close(self) -> None:
        """Stop what was started."""


class Split:
    """The scenes of one split that a run scores.

    Attributes:
        name: of the split.
        labels: class names.
        sensors: the run's sensors.
        rows: (n,) scene rows.
        regions: (n,) region of each scene.
        targets: (n, K) labels of each scene.
        present: per sensor, (n,) which scenes have it.
    """

    def __init__(self, archive: Archive, config: Config, name: str) -> None:
        self._archive = archive
        self._pixels = config.task == "pixels"
        self.name = name
        self.labels = archive.labels
        self.sensors = chosen_sensors(archive, config.clients)
        self.rows: NDArray[np.int64] = scenes(archive, config.clients, name)
        self.regions = archive.regions[self.rows]
        self.targets = archive.targets[self.rows]
        self.present = {each: archive.present(each)[self.rows] for each in self.sensors}

    @cached_property
    def pixels(self) -> NDArray[np.int64]:
        """Labelled pixels of each class in each scene, (n, K), read from the masks."""
        return class_pixels(self._archive, self.rows)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Scenes, or labelled pixels, of each class, (K,)."""
        found = self.pixels if self._pixels else self.targets
        total: NDArray[np.int64] = found.sum(axis=0, dtype=np.int64)
        return total

    @property
    def absent(self) -> list[str]:
        """Classes that do not occur here; macro averages leave them out."""
        return [self.labels[k] for k in np.flatnonzero(self.counts == 0).tolist()]


class Scored(NamedTuple):
    """Scores of a state on a split.

    Attributes:
        metrics: ``<split>/<view>/<sensors>/<metric>``.
        thresholds: by ``<view>/<sensors>``, those used; pixels need none.
        confusion: pixels only, by ``<split>/<view>/<sensors>``: (K, K) pixels, row truth, column
            prediction, over all parts of the view.
    """

    metrics: Metrics
    thresholds: dict[str, float]
    confusion: dict[str, NDArray[np.int64]]


def mean_of_parts(metrics: dict[str, list[Metrics]]) -> Metrics:
    """Mean of each metric over the parts of a view that have it."""
    found = {}
    for place, parts in metrics.items():
        for name in dict.fromkeys(name for part in parts for name in part):
            values = [part[name] for part in parts if name in part]
            found[f"{place}/{name}"] = float(np.mean(values))
    return found
