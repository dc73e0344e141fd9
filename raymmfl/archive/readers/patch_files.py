"""Patches kept as one GeoTIFF per band in a folder of the patch's name: BigEarthNet v1 and v2.

``<folder>/<patch>/<patch>_<band>.tif``, 1,200 m a side: 120, 60 or 20 pixels by band.
B bands, H W pixels.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from re import Pattern
from typing import Any

import numpy as np

from raymmfl.archive.rasters.geotiff import (
    Raster,
    check_registered,
    longitude_latitude,
    read_raster,
)
from raymmfl.archive.readers.source import SensorFormat
from raymmfl.archive.store import Column
from raymmfl.errors import ArchiveError

PATCH_PIXELS = 120
PIXEL_M = 10.0
NODATA = 0  # of S2, whether a file has the tag (v2) or not (v1); S1 has none

S1 = SensorFormat("S1", (Column("10m", ("VV", "VH"), 120, "float32", 10.0),), "dB")
S2 = SensorFormat(
    "S2",
    (
        Column("10m", ("B02", "B03", "B04", "B08"), 120, "uint16", 10.0),
        Column("20m", ("B05", "B06", "B07", "B8A", "B11", "B12"), 60, "uint16", 20.0),
        Column("60m", ("B01", "B09"), 20, "uint16", 60.0),
    ),
    "reflectance x 10000",
)
SENSORS: Mapping[str, SensorFormat] = {"S1": S1, "S2": S2}

SYNTHETIC_FILE = "SYNTHETIC.txt"
SYNTHETIC_LICENCE = "CC0-1.0"
SYNTHETIC_PROVENANCE = (
    "SYNTHETIC: drawn by raymmfl.archive.synthetic.bigearthnet; no satellite took these pixels."
)


@dataclass(frozen=True)
class Patch:
    """The pixels of a patch.

    Attributes:
        images: per sensor one (B, size, size) array per column, in the files' own dtype.
        grid: one of its 10 m rasters.
        sources: path relative to the root -> sha256 of the file's bytes.
    """

    images: Mapping[str, tuple[np.ndarray, ...]]
    grid: Raster
    sources: Mapping[str, str]


def choose_sensors(names: Sequence[str]) -> tuple[SensorFormat, ...]:
    """The sensors to pack, S1 before S2; both if none is named.

    Raises:
        ArchiveError: an unknown name.
    """
    unknown = [name for name in names if name not in SENSORS]
    if unknown:
        raise ArchiveError(f"sensors {list(names)}: choose from {', '.join(SENSORS)}")
    return tuple(sensor for name, sensor in SENSORS.items() if not names or name in names)


def folder_names(
    folder: Path, pattern: Pattern[str], others: Mapping[str, Pattern[str]]
) -> set[str]:
    """Names of the subfolders, each checked; hidden ones are passed over. No file is looked at.

    Args:
        folder: to be listed.
        pattern: what every name must match.
        others: what else a name may be a case of, to say so -> its pattern.

    Raises:
        ArchiveError: no such folder, nothing in it, or another name in it.
    """
    try:
        with os.scandir(folder) as entries:
            found = {
                entry.name for entry in entries
                if not entry.name.startswith(".") and entry.is_dir()
            }  # fmt: skip
    except OSError as error:
        raise ArchiveError(
            f"{folder}: {error.strerror}; unpack this part of the archive there, or choose "
            "sensors that do without it"
        ) from error
    if not found:
        raise ArchiveError(f"{folder}: no folders in it; unpack this part of the archive there")
    for name in sorted(found):
        if not pattern.fullmatch(name):
            kinds = [kind for kind, other in others.items() if other.fullmatch(name)]
            known = f"it is named like {kinds[0]}" if kinds else "it is no part of this layout"
            raise ArchiveError(
                f"{folder / name}: does not belong here, {known}; put every part of the archive "
                "into its own folder"
            )
    return found


def read_patch(root: Path, folders: Mapping[str, Path]) -> Patch:
    """Read every band of a patch, unchanged, and check that all cover the same ground.

    Args:
        root: the archive; sources are named relative to it.
        folders: sensor -> the patch's folder, whose name its files repeat.

    Raises:
        ArchiveError: a file that is missing or damaged, of another dtype, size, CRS or bounds; a
            NaN or infinite value; a patch without data. Names the file.
    """
    images: dict[str, tuple[np.ndarray, ...]] = {}
    sources: dict[str, str] = {}
    grid: Raster | None = None
    for name in (name for name in SENSORS if name in folders):
        columns = []
        for column in SENSORS[name].columns:
            bands = []
            for band in column.bands:
                path = folders[name] / f"{folders[name].name}_{band}.tif"
                raster = read_raster(path, bands=1, dtype=column.dtype)
                if grid is None:
                    grid = _checked_grid(raster)
                check_registered(raster, grid, PATCH_PIXELS // column.size)
                bands.append(_finite(raster))
                sources[str(path.relative_to(root))] = raster.sha256
            columns.append(np.stack(bands))
        if name == "S2" and not any((bands != NODATA).any() for bands in columns):
            raise ArchiveError(
                f"{folders[name]}: nothing but nodata ({NODATA}) in any band; replace the patch "
                "or take it out of the lists"
            )
        images[name] = tuple(columns)
    assert grid is not None, "a patch has at least one sensor"
    return Patch(images, grid, sources)


def on_earth(grid: Raster) -> dict[str, Any]:
    """The fields of a ``Scene`` that say where it is."""
    x, y = grid.position(PATCH_PIXELS / 2, PATCH_PIXELS / 2)
    longitude, latitude = longitude_latitude(grid.crs, [x], [y])[:, 0].tolist()
    return {
        "lon": longitude,
        "lat": latitude,
        "epsg": grid.crs.to_epsg() or 0,
        "transform": tuple(grid.transform)[:6],
    }


def _checked_grid(raster: Raster) -> Raster:
    t = raster.transform
    if raster.shape != (PATCH_PIXELS, PATCH_PIXELS) or (t.a, t.b, t.d, t.e) != (
        PIXEL_M, 0.0, 0.0, -PIXEL_M,
    ):  # fmt: skip
        raise ArchiveError(
            f"{raster.path}: {raster.shape[0]}x{raster.shape[1]} pixels of {t.a:g} m, expected "
            f"{PATCH_PIXELS}x{PATCH_PIXELS} of {PIXEL_M:g} m, north up; copy the patch again"
        )
    return raster


def _finite(raster: Raster) -> np.ndarray:
    band: np.ndarray = raster.data_BHW[0]
    if band.dtype.kind == "f" and not np.isfinite(band).all():
        bad = int(np.count_nonzero(~np.isfinite(band)))
        raise ArchiveError(
            f"{raster.path}: {bad} value(s) are NaN or infinite; replace the file or leave the "
            "patch out"
        )
    return band
