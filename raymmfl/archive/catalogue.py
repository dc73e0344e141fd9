"""The scenes of an archive without their pixels: split, labels, where, when, which sensors.

NumPy alone, so that whoever deals scenes out to clients needs neither Arrow nor the pixels.
n scenes, K classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raymmfl.errors import ArchiveError

Strings = NDArray[np.str_]
Rows = NDArray[np.int64]

SEASONS = ("winter", "spring", "summer", "autumn")
COMMON = ("region", "season", "place")


class Scenes(Protocol):
    """What dealing looks at; an ``Archive`` and a :class:`Catalogue` both have it."""

    @property
    def path(self) -> Path:
        """Where the archive lies, for messages."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in label order."""

    @property
    def sensors(self) -> Iterable[str]:
        """Names of the sensors."""

    @property
    def scene_ids(self) -> Sequence[str]:
        """One name per scene."""

    @property
    def targets(self) -> NDArray[np.uint8]:
        """(n, K), 1 where the scene has the label."""

    @property
    def attributes(self) -> Mapping[str, Strings]:
        """(n,) values by which scenes can be told apart; "" where unknown."""

    def present(self, sensor: str) -> NDArray[np.bool_]:
        """(n,): which scenes have the sensor."""

    def rows(self, split: str) -> Rows:
        """Scenes of a split, ascending."""


@dataclass(frozen=True)
class Catalogue:
    """The scenes of an archive, packed or not.

    Attributes:
        path: where it was read, for messages.
        labels: class names in label order.
        sensors: names of the sensors.
        scene_ids: one name per scene.
        splits: (n,) "train", "val" or "test".
        targets: uint8 (n, K), 1 where the scene has the label.
        attributes: name -> (n,) values, "" where unknown; "region", "season", "place", and what
            else the archive tells of its scenes ("hemisphere", "biome").
        presence: sensor -> bool (n,), whether the scene has it.

    Raises:
        ArchiveError: when made, for parts of unequal lengths or a missing attribute.
    """

    path: Path
    labels: tuple[str, ...]
    sensors: tuple[str, ...]
    scene_ids: Sequence[str]
    splits: Strings
    targets: NDArray[np.uint8]
    attributes: Mapping[str, Strings]
    presence: Mapping[str, NDArray[np.bool_]]

    def __post_init__(self) -> None:
        parts = {"splits": self.splits, "targets": self.targets, **self.attributes}
        parts |= {sensor: self.presence[sensor] for sensor in self.sensors}
        wrong = [name for name, part in parts.items() if len(part) != len(self.scene_ids)]
        wrong += [name for name in COMMON if name not in self.attributes]
        if wrong or self.targets.shape[1:] != (len(self.labels),):
            raise ArchiveError(
                f"{self.path}: the catalogue needs {', '.join(COMMON)}, and of every part one "
                f"value per scene ({len(self.scene_ids)}) and of the targets one column per label "
                f"({len(self.labels)}); see {', '.join(wrong) or 'targets'}"
            )

    def __len__(self) -> int:
        return len(self.scene_ids)

    @property
    def regions(self) -> Strings:
        """Region per scene."""
        return self.attributes["region"]

    def present(self, sensor: str) -> NDArray[np.bool_]:
        """Bool (n,): which scenes have the sensor.

        Raises:
            ArchiveError: for an unknown sensor.
        """
        if sensor not in self.presence:
            raise ArchiveError(
                f"{self.path}: no sensor {sensor}; this archive has {list(self.sensors)}"
            )
        return self.presence[sensor]

    def rows(self, split: str) -> Rows:
        """Scenes of a split as int64 rows, ascending."""
        return np.flatnonzero(self.splits == split).astype(np.int64)


def season(date: str) -> str:
    """Season of a date "YYYY-MM-DD" by month (December to February is winter); "" without one."""
    return SEASONS[int(date[5:7]) % 12 // 3] if date else ""


def seasons(dates: Strings) -> Strings:
    """:func:`season` of every date, (n,)."""
    found, place = np.unique(dates, return_inverse=True)
    named: Strings = np.array([season(str(date)) for date in found], dtype=np.str_)[place]
    return named
