"""What the packer needs of a source archive: its format, its units, and a way to read one.

A reader (``tiles.py``, ``bigearthnet_v1.py``, ``reben.py``, ``dynamicworld.py``, ``described.py``)
is a :class:`Source`. It opens files and checks them; it never writes.
B bands, H W pixels.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from raymmfl.archive.store import Column


@dataclass(frozen=True)
class SensorFormat:
    """A sensor as it will be packed: its columns by native pixel size, and the unit of its values.

    The order of the columns, and of the bands in each, is the order of the bands ever after.
    """

    name: str
    columns: tuple[Column, ...]
    unit: str


@dataclass(frozen=True)
class Format:
    """What every scene of a source looks like.

    Attributes:
        layout: name of the layout, as in ``raymmfl list archives``.
        sensors: those that will be packed.
        labels: class names in label order.
        mask: the column of pixel labels; None if the source has none.
        attributes: names of the facts each scene carries beside region and date, by which
            scenes can be dealt out to clients ("hemisphere", "biome").
        licence: of the data.
        provenance: where the data come from.
        synthetic: no satellite took these pixels.
        options: how the source was read (patch size, lists left out, ...), for the record.
    """

    layout: str
    sensors: tuple[SensorFormat, ...]
    labels: tuple[str, ...]
    mask: Column | None
    attributes: tuple[str, ...]
    licence: str
    provenance: str
    synthetic: bool
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Unit:
    """What is read in one go: a patch with all its files, or a tile that is cut into patches.

    Attributes:
        name: unique in the source; problems are reported under it.
        split: "train", "val" or "test"; "" where reading decides it patch by patch.
        region: country, or whatever divides the archive's ground; "" where unknown.
        date: "YYYY-MM-DD", "" where unknown.
        details: what the reader needs to find and describe it; picklable.
    """

    name: str
    split: str
    region: str
    date: str
    details: Any = None


@dataclass(frozen=True)
class Scene:
    """One patch, checked and ready to be written.

    Attributes:
        scene_id: unique in the archive.
        split: "train", "val" or "test".
        labels: class names, in label order; may be empty only where the source has a mask.
        region: as in its unit.
        place: the tile or product it was cut from.
        date: "YYYY-MM-DD" or "".
        lon: of the centre, degrees (WGS 84).
        lat: of the centre, degrees (WGS 84).
        epsg: code of the patch's own coordinate reference system; 0 if it has none.
        transform: six numbers (a, b, c, d, e, f) of the finest grid, as in ``write_raster``.
        images: per sensor one (B, size, size) array per column, in the source dtype; a sensor
            that is missing is left out.
        mask: uint8 (size, size), index into the labels, 255 to be ignored; None without one.
        sources: path relative to the source folder -> sha256 of the file's bytes.
        attributes: name -> value, for each name in the format's ``attributes``.
    """

    scene_id: str
    split: str
    labels: tuple[str, ...]
    region: str
    place: str
    date: str
    lon: float
    lat: float
    epsg: int
    transform: tuple[float, ...]
    images: Mapping[str, tuple[np.ndarray, ...]]
    mask: np.ndarray | None
    sources: Mapping[str, str]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """What a unit gave: its scenes, and how many patches were left out for which reason."""

    scenes: list[Scene]
    left_out: Counter[str] = field(default_factory=Counter)


class Source(Protocol):
    """A source archive; picklable and small, so that any process can read any unit."""

    @property
    def root(self) -> Path:
        """The folder that is read; paths of source files are relative to it."""

    @property
    def format(self) -> Format:
        """What every scene looks like."""

    def units(self) -> list[Unit]:
        """All units in a fixed order; opens no raster.

        Raises:
            ArchiveError: folders, lists or names that are missing or contradict each other.
        """

    def tables(self) -> list[Path]:
        """The catalogues and lists that tell of many units, if there are any."""

    def read(self, unit: Unit) -> Reading:
        """Read, check and label one unit.

        Raises:
            ArchiveError: naming the file at fault.
        """
