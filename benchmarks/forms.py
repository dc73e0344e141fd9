"""The same patches in four forms on disk, and for each a function that loads a batch of them.

A batch is a list of float32 tensors (rows, B, size, size), one per sensor and native pixel size.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import from_origin
from safetensors.numpy import load, save
from torch import Tensor

from benchmarks.reben import SENSORS
from raymmfl.archive.store import Archive, Column

COLUMNS = [(sensor, column) for sensor, columns in SENSORS.items() for column in columns]
ARCHIVE = "archive"
GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_NUM_THREADS": "1"}

Rows = NDArray[np.int64]
Load = Callable[[Rows], list[Tensor]]
Part = tuple[str, int | slice]  # name of an LMDB tensor, and the bands of the column it holds


def write(folder: Path, few: Rows) -> None:
    """Write all forms of the archive in a folder; as GeoTIFFs, slow to write, only a few rows."""
    archive = Archive.open(folder / ARCHIVE)
    files = [
        np.memmap(folder / _raw(sensor, column), column.dtype, "w+", shape=_shape(archive, column))
        for sensor, column in COLUMNS
    ]
    for row, arrays in _patches(archive, range(len(archive))):
        for file, array in zip(files, arrays, strict=True):
            file[row] = array
    for name, parts in LMDBS.items():
        _write_lmdb(archive, folder / name, parts)
    _write_geotiffs(archive, folder, few)


def ours(folder: Path) -> Load:
    """The packed archive."""
    archive = Archive.open(folder / ARCHIVE)

    def read(rows: Rows) -> list[Tensor]:
        return [
            torch.from_numpy(array)
            for sensor in SENSORS
            for array in archive.read(sensor, rows, "float32")
        ]

    return read


def memmap(folder: Path) -> Load:
    """A ``numpy.memmap`` per column, rows copied into buffers made once: the bare minimum."""
    archive = Archive.open(folder / ARCHIVE)
    views = [  # plain views: indexing the subclass takes longer
        np.asarray(np.memmap(folder / _raw(s, c), c.dtype, "r", shape=_shape(archive, c)))
        for s, c in COLUMNS
    ]
    buffers: list[NDArray[np.float32]] = []

    def read(rows: Rows) -> list[Tensor]:
        if not buffers:
            buffers.extend(_empty(rows))
        for buffer, view in zip(buffers, views, strict=True):
            for position, row in enumerate(rows.tolist()):
                buffer[position] = view[row]
        return [torch.from_numpy(buffer) for buffer in buffers]

    return read


def lmdb_sizes(folder: Path) -> Load:
    """LMDB + safetensors, a tensor per native pixel size."""
    return _open_lmdb(folder / "lmdb_sizes", _per_size)


def lmdb_bands(folder: Path) -> Load:
    """LMDB + safetensors, a tensor per band: what rico-hdl makes of BigEarthNet."""
    return _open_lmdb(folder / "lmdb_bands", _per_band)


def geotiff(folder: Path) -> Load:
    """A GeoTIFF per band, through rasterio."""

    def read(rows: Rows) -> list[Tensor]:
        arrays = _empty(rows)
        with rasterio.Env(**GDAL):
            for position, row in enumerate(rows.tolist()):
                for (sensor, column), array in zip(COLUMNS, arrays, strict=True):
                    for band, name in enumerate(column.bands):
                        with rasterio.open(_tif(folder, row, sensor, name), sharing=False) as file:
                            array[position, band] = file.read(1)
        return [torch.from_numpy(array) for array in arrays]

    return read


def _per_size(column: Column) -> list[Part]:
    return [(column.name, slice(None))]


def _per_band(column: Column) -> list[Part]:
    return [(band, index) for index, band in enumerate(column.bands)]


LMDBS: dict[str, Callable[[Column], list[Part]]] = {
    "lmdb_sizes": _per_size,
    "lmdb_bands": _per_band,
}


def _patches(archive: Archive, rows: Sequence[int]) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    for row in rows:
        index = np.array([row])
        yield row, [array[0] for sensor in SENSORS for array in archive.read(sensor, index)]


def _shape(archive: Archive, column: Column) -> tuple[int, ...]:
    return (len(archive), len(column.bands), column.size, column.size)


def _raw(sensor: str, column: Column) -> str:
    return f"{sensor}_{column.name}.raw"


def _empty(rows: Rows) -> list[NDArray[np.float32]]:
    return [
        np.empty((len(rows), len(column.bands), column.size, column.size), np.float32)
        for _, column in COLUMNS
    ]


def _write_lmdb(archive: Archive, path: Path, parts: Callable[[Column], list[Part]]) -> None:
    with lmdb.open(str(path), map_size=2**40) as database:
        for row, arrays in _patches(archive, range(len(archive))):
            with database.begin(write=True) as transaction:
                for sensor in SENSORS:
                    tensors = {
                        name: np.ascontiguousarray(array[bands])
                        for (owner, column), array in zip(COLUMNS, arrays, strict=True)
                        for name, bands in parts(column)
                        if owner == sensor
                    }
                    transaction.put(_key(row, sensor), save(tensors))


def _open_lmdb(path: Path, parts: Callable[[Column], list[Part]]) -> Load:
    database = lmdb.open(str(path), readonly=True, lock=False, readahead=False)

    def read(rows: Rows) -> list[Tensor]:
        arrays = _empty(rows)
        with database.begin() as transaction:
            for position, row in enumerate(rows.tolist()):
                values = {name: load(transaction.get(_key(row, name), b"")) for name in SENSORS}
                for (sensor, column), array in zip(COLUMNS, arrays, strict=True):
                    for name, bands in parts(column):
                        array[position, bands] = values[sensor][name]
        return [torch.from_numpy(array) for array in arrays]

    return read


def _key(row: int, sensor: str) -> bytes:
    return f"{sensor}_{row:06d}".encode()


def _write_geotiffs(archive: Archive, folder: Path, rows: Rows) -> None:
    """As BigEarthNet's own: a folder per patch and sensor, files uncompressed and stripped."""
    for row, arrays in _patches(archive, rows.tolist()):
        for (sensor, column), array in zip(COLUMNS, arrays, strict=True):
            profile = {
                "driver": "GTiff", "width": column.size, "height": column.size, "count": 1,
                "dtype": column.dtype, "crs": "EPSG:32633",
                "transform": from_origin(0, 0, column.pixel_m, column.pixel_m),
            }  # fmt: skip
            for name, band in zip(column.bands, array, strict=True):
                path = _tif(folder, row, sensor, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                with rasterio.open(path, "w", **profile) as file:
                    file.write(band, 1)


def _tif(folder: Path, row: int, sensor: str, band: str) -> Path:
    return folder / "geotiff" / sensor / f"patch_{row:06d}" / f"patch_{row:06d}_{band}.tif"
