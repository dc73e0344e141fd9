"""The packed archive: Arrow files read by memory map, beside a scene table and an index.

```
archive.json      format version, labels in order, sensors with statistics, provenance, digests
scenes.parquet    one row per scene: split, labels, region, place, footprint, row in each sensor
<sensor>.arrow    one row per scene that has the sensor; a column per native pixel size
mask.arrow        pixel labels: uint8 index into the labels, 255 to be ignored
```
n scenes asked for, B bands, K classes. A missing sensor is an absent row, not zeros.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymmfl.errors import ArchiveError

FORMAT_VERSION = 1
BATCH_ROWS = 64
INDEX_FILE = "archive.json"
SCENES_FILE = "scenes.parquet"
MASK = "mask"
IGNORED = 255
NO_CHECKSUM = "0" * 64


@dataclass(frozen=True)
class Column:
    """Bands that share a native pixel size.

    Attributes:
        name: by pixel size, such as "10m".
        bands: band names in order.
        size: pixels per side of a patch.
        dtype: NumPy name of the source dtype.
        pixel_m: side of a pixel in metres.
    """

    name: str
    bands: tuple[str, ...]
    size: int
    dtype: str
    pixel_m: float


@dataclass(frozen=True)
class Sensor:
    """A sensor's columns and its statistics per band, of the train split alone."""

    name: str
    columns: tuple[Column, ...]
    unit: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def bands(self) -> tuple[str, ...]:
        """All band names, column by column."""
        return tuple(band for column in self.columns for band in column.bands)

    @property
    def size(self) -> int:
        """Pixels per side of the finest column."""
        return max(column.size for column in self.columns)


class Archive:
    """A packed archive, opened for reading; cheap to open in every worker, pickled by its path.

    Attributes:
        path: the folder.
        labels: class names in label order.
        sensors: name -> sensor.
        provenance: what was packed, from where and how.
        synthetic: no satellite took these pixels.
        scene_ids: one name per scene.
        splits: "train", "val" or "test" per scene.
        regions: region per scene.
        places: place (tile) per scene.
        targets: uint8 (scenes, K), 1 where the scene has the label.
        digest: sha256 of ``archive.json``, which holds the digests of all other files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        index, self.digest = read_index(self.path)
        try:
            self.labels: tuple[str, ...] = tuple(index["labels"])
            self.synthetic: bool = index["synthetic"]
            self.licence: str = index["licence"]
            self.provenance: Mapping[str, Any] = index["provenance"]
            self.sensors: Mapping[str, Sensor] = {
                name: _sensor(name, content) for name, content in index["sensors"].items()
            }
            _check_sizes(self.path, index["files"])
        except (KeyError, TypeError) as error:
            raise ArchiveError(
                f"{self.path / INDEX_FILE}: {error} is missing or misshapen; pack again"
            ) from error
        _check_digest(self.path / SCENES_FILE, index["files"][SCENES_FILE]["sha256"])
        scenes = _read_scenes(self.path / SCENES_FILE, list(self.sensors))
        self.scene_ids: list[str] = scenes["scene_id"]
        self.splits = np.array(scenes["split"], dtype=np.str_)
        self.regions = np.array(scenes["region"], dtype=np.str_)
        self.places = np.array(scenes["place"], dtype=np.str_)
        self.targets = self._targets(scenes["labels"])
        self._rows = {
            name: np.array(scenes[f"row_{name}"], dtype=np.int64) for name in [*self.sensors, MASK]
        }
        self._views: dict[str, list[tuple[np.ndarray, ...]]] = {}
        for name, sensor in self.sensors.items():
            self._views[name] = _map(self.path, name, sensor.columns, self._rows[name])

    @staticmethod
    def open(path: str | Path) -> "Archive":
        """Open an archive written by ``raymmfl archive pack``.

        Checks the index, the format version and the size of every file, not their digests
        (``raymmfl archive verify`` does).

        Raises:
            ArchiveError: no archive, another format version, a missing or truncated file.
        """
        return Archive(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (str(self.path),)

    def __len__(self) -> int:
        return len(self.scene_ids)

    def present(self, sensor: str) -> np.ndarray:
        """Bool (scenes,): which scenes have the sensor."""
        return self._row_numbers(sensor) >= 0

    def rows(self, split: str, sensors: Sequence[str] = ()) -> np.ndarray:
        """Scenes of a split as int64 rows, in order: those that have every named sensor."""
        chosen = self.splits == split
        for sensor in sensors:
            chosen &= self.present(sensor)
        return np.flatnonzero(chosen).astype(np.int64)

    def read(self, sensor: str, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Copy the pixels of scenes into memory of their own.

        Args:
            sensor: its name.
            rows: scene rows (n,), as :meth:`rows` gives them; all must have the sensor.

        Returns:
            One array (n, B, size, size) per column, in the source dtype and unit.

        Raises:
            ArchiveError: an unknown sensor, or a scene without it.
        """
        numbers = self._row_numbers(sensor)[rows]
        if numbers.size and numbers.min() < 0:
            scene = self.scene_ids[int(np.asarray(rows)[int(numbers.argmin())])]
            raise ArchiveError(
                f"{self.path}: scene {scene} has no {sensor}; ask rows(split, ['{sensor}']) first"
            )
        return _copy(self._views[sensor], self.sensors[sensor].columns, numbers)

    def read_mask(self, rows: np.ndarray) -> np.ndarray:
        """Pixel labels of scenes: uint8 (n, size, size), index into the labels, 255 ignored."""
        columns = (mask_column(max(sensor.size for sensor in self.sensors.values()), 0.0),)
        if MASK not in self._views:
            self._views[MASK] = _map(self.path, MASK, columns, self._rows[MASK])
        return _copy(self._views[MASK], columns, self._rows[MASK][rows])[0][:, 0]

    def _row_numbers(self, sensor: str) -> np.ndarray:
        if sensor not in self.sensors:
            raise ArchiveError(
                f"{self.path}: no sensor {sensor}; this archive has {list(self.sensors)}"
            )
        return self._rows[sensor]

    def _targets(self, names: Sequence[Sequence[str]]) -> np.ndarray:
        index = {label: number for number, label in enumerate(self.labels)}
        targets = np.zeros((len(names), len(self.labels)), dtype=np.uint8)
        for row, present in enumerate(names):
            for name in present:
                if name not in index:
                    raise ArchiveError(
                        f"{self.path / SCENES_FILE}: scene {self.scene_ids[row]} has the label "
                        f"{name!r}, not among {list(self.labels)}; pack again"
                    )
                targets[row, index[name]] = 1
        return targets


def mask_column(size: int, pixel_m: float) -> Column:
    """The one column of ``mask.arrow``."""
    return Column("class", ("class",), size, "uint8", pixel_m)


def read_index(path: Path) -> tuple[dict[str, Any], str]:
    """The content of ``archive.json`` and its sha256.

    Raises:
        ArchiveError: no archive there, a damaged or edited index, another format version.
    """
    file = path / INDEX_FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"{file}: {error.strerror}; make an archive with `raymmfl archive pack`"
        ) from error
    try:
        index = json.loads(content)
        version, checksum = index["version"], index["checksum"]
        blank = content.replace(checksum.encode(), NO_CHECKSUM.encode())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArchiveError(f"{file}: not an archive's index ({error}); pack again") from error
    if version != FORMAT_VERSION:
        raise ArchiveError(
            f"{file}: format version {version}, this raymmfl reads {FORMAT_VERSION}; pack again"
        )
    if hashlib.sha256(blank).hexdigest() != checksum:
        raise ArchiveError(f"{file}: damaged or edited (its checksum differs); pack again")
    return index, hashlib.sha256(content).hexdigest()


def _sensor(name: str, content: Mapping[str, Any]) -> Sensor:
    columns = tuple(
        Column(c["name"], tuple(c["bands"]), c["size"], c["dtype"], c["pixel_m"])
        for c in content["columns"]
    )
    return Sensor(name, columns, content["unit"], tuple(content["mean"]), tuple(content["std"]))


def _check_sizes(path: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    for name, facts in files.items():
        file = path / name
        if not file.is_file():
            raise ArchiveError(f"{file}: missing; copy it again or pack again")
        size = file.stat().st_size
        if size != facts["bytes"]:
            raise ArchiveError(
                f"{file}: {size} bytes instead of {facts['bytes']}; truncated or changed: copy it "
                "again or pack again"
            )


def _check_digest(path: Path, digest: str) -> None:
    """The table decides who learns what from which row, and is small: it is checked each time."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise ArchiveError(f"{path} was changed or damaged after packing; pack the archive again")


def _read_scenes(path: Path, sensors: Sequence[str]) -> dict[str, list[Any]]:
    names = ["scene_id", "split", "labels", "region", "place"]
    names += [f"row_{name}" for name in [*sensors, MASK]]
    try:
        scenes: dict[str, list[Any]] = pq.read_table(path, columns=names).to_pydict()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: not a readable scene table ({error}); pack again") from error
    missing = [name for name in names if name not in scenes]
    if missing:
        raise ArchiveError(f"{path}: no column {missing}; pack again")
    return scenes


def _map(
    path: Path, name: str, columns: Sequence[Column], numbers: np.ndarray
) -> list[tuple[np.ndarray, ...]]:
    """Zero-copy views of an Arrow file: per record batch one (rows, B, size, size) per column."""
    file = path / f"{name}.arrow"
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(file)))
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        views = [
            tuple(batch.column(c.name).to_numpy_ndarray() for c in columns) for batch in batches
        ]
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException) as error:
        raise ArchiveError(f"{file}: not a whole Arrow file ({error}); pack again") from error
    total = 0
    for number, arrays in enumerate(views):
        total += len(arrays[0])
        full = number < len(views) - 1
        for column, array in zip(columns, arrays, strict=True):
            shape = (len(column.bands), column.size, column.size)
            if (
                array.shape[1:] != shape
                or array.dtype != np.dtype(column.dtype)
                or (full and len(array) != BATCH_ROWS)
            ):
                raise ArchiveError(
                    f"{file}: batch {number}, column {column.name} is {array.dtype}{array.shape}, "
                    f"not {column.dtype} rows of {shape}; pack again"
                )
    if numbers.size and numbers.max() >= total:
        raise ArchiveError(f"{file}: {total} rows, the scene table asks for more; pack again")
    return views


def _copy(
    views: Sequence[tuple[np.ndarray, ...]], columns: Sequence[Column], numbers: np.ndarray
) -> tuple[np.ndarray, ...]:
    arrays = tuple(
        np.empty((len(numbers), len(c.bands), c.size, c.size), dtype=c.dtype) for c in columns
    )
    for position, number in enumerate(numbers.tolist()):
        batch, row = divmod(number, BATCH_ROWS)
        for array, view in zip(arrays, views[batch], strict=True):
            array[position] = view[row]
    return arrays
