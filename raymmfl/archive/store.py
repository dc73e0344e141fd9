"""The packed archive: Arrow files read by memory map, beside a scene table and an index.

```
archive.json      format version, labels in order, sensors with statistics, provenance, digests
scenes.parquet    one row per scene: split, labels, region, place, footprint, row in each sensor
<sensor>.arrow    one row per scene that has the sensor; a column per native pixel size
mask.arrow        pixel labels, if it has any: uint8 index into the labels, 255 to be ignored
```
n scenes asked for, B bands, K classes. A missing sensor is an absent row, not zeros.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymmfl.archive.scenes import read_scenes
from raymmfl.errors import ArchiveError

FORMAT_VERSION = 2
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
        coarsest_m: bands with larger pixels, in metres, are left out as if they were not there,
            and sensors with no others.
        labels: class names in label order.
        sensors: name -> sensor.
        provenance: what was packed, from where and how.
        synthetic: no satellite took these pixels.
        mask: the column of pixel labels; None if the archive has none.
        catalogue: its scenes without the pixels.
        scene_ids: one name per scene.
        splits: "train", "val" or "test" per scene.
        attributes: name -> value per scene; "region", "season", "place" and the archive's own.
        regions: region per scene.
        places: place (tile) per scene.
        dates: "YYYY-MM-DD" per scene, "" where unknown.
        lons: of the scenes' centres, degrees (WGS 84).
        lats: of the scenes' centres, degrees (WGS 84).
        targets: uint8 (scenes, K), 1 where the scene has the label.
        digest: sha256 of ``archive.json``, which holds the digests of all other files.
    """

    def __init__(self, path: str | Path, coarsest_m: float | None = None) -> None:
        self.path = Path(path).absolute()
        self.coarsest_m = coarsest_m
        index, self.digest = read_index(self.path)
        try:
            self.labels: tuple[str, ...] = tuple(index["labels"])
            self.synthetic: bool = index["synthetic"]
            self.licence: str = index["licence"]
            self.provenance: Mapping[str, Any] = index["provenance"]
            every = index["sensors"].items()
            sensors = [_sensor(name, content, coarsest_m) for name, content in every]
            self.sensors: Mapping[str, Sensor] = {
                sensor.name: sensor for sensor in sensors if sensor.columns
            }
            self.mask = None if index["mask"] is None else _column(index["mask"])
            attributes = tuple(index["attributes"])
            _check_sizes(self.path, index["files"])
        except (KeyError, TypeError) as error:
            raise ArchiveError(
                f"{self.path / INDEX_FILE}: {error} is missing or misshapen; pack again"
            ) from error
        if not self.sensors:
            raise ArchiveError(
                f"{self.path}: no sensor has pixels of {coarsest_m} m or less; raise "
                "archive.coarsest_m, or leave it out"
            )
        _check_digest(self.path / SCENES_FILE, index["files"][SCENES_FILE]["sha256"])
        masks = () if self.mask is None else (MASK,)
        table = read_scenes(
            self.path / SCENES_FILE, self.labels, tuple(self.sensors), attributes, masks
        )
        self.catalogue = table.catalogue
        self.scene_ids = self.catalogue.scene_ids
        self.splits = self.catalogue.splits
        self.attributes = self.catalogue.attributes
        self.regions = self.attributes["region"]
        self.places = self.attributes["place"]
        self.targets = self.catalogue.targets
        self.dates, self.lons, self.lats = table.dates, table.lons, table.lats
        self._rows = table.numbers
        self._views: dict[str, list[tuple[np.ndarray, ...]]] = {}
        for name, sensor in self.sensors.items():
            self._views[name] = _map(self.path, name, sensor.columns, self._rows[name])

    @staticmethod
    def open(path: str | Path, coarsest_m: float | None = None) -> "Archive":
        """Open an archive written by ``raymmfl archive pack``.

        Checks the index, the format version and the size of every file, not their digests
        (``raymmfl archive verify`` does).

        Args:
            path: the folder.
            coarsest_m: leave out bands with larger pixels, in metres; None keeps all.

        Raises:
            ArchiveError: no archive, another format version, a missing or truncated file, or no
                band that is fine enough.
        """
        return Archive(path, coarsest_m)

    def __reduce__(self) -> tuple[Any, ...]:
        return Archive, (str(self.path), self.coarsest_m)

    def __len__(self) -> int:
        return len(self.scene_ids)

    def present(self, sensor: str) -> np.ndarray:
        """Bool (scenes,): which scenes have the sensor."""
        return self.catalogue.present(sensor)

    def rows(self, split: str) -> np.ndarray:
        """Scenes of a split as int64 rows, ascending."""
        return self.catalogue.rows(split)

    def read(
        self, sensor: str, rows: np.ndarray, dtype: str | None = None
    ) -> tuple[np.ndarray, ...]:
        """Copy the pixels of scenes, in one pass, into memory of their own.

        Args:
            sensor: its name.
            rows: scene rows (n,), as :meth:`rows` gives them; all must have the sensor.
            dtype: NumPy name of the type to convert to on the way; None for the source dtype.

        Returns:
            One array (n, B, size, size) per column, in the source unit.

        Raises:
            ArchiveError: an unknown sensor, or a scene without it.
        """
        numbers = self._row_numbers(sensor)[rows]
        if numbers.size and numbers.min() < 0:
            scene = self.scene_ids[int(np.asarray(rows)[int(numbers.argmin())])]
            raise ArchiveError(
                f"{self.path}: scene {scene} has no {sensor}; ask present({sensor!r}) first"
            )
        return _copy(self._views[sensor], self.sensors[sensor].columns, numbers, dtype)

    def masked(self) -> np.ndarray:
        """Scenes that have pixel labels as int64 rows, ascending."""
        return np.flatnonzero(self._rows[MASK] >= 0) if self.mask else np.empty(0, np.int64)

    def read_mask(self, rows: np.ndarray) -> np.ndarray:
        """Pixel labels of scenes: uint8 (n, size, size), index into the labels, 255 ignored.

        Raises:
            ArchiveError: an archive without pixel labels, or a scene without them.
        """
        if self.mask is None:
            raise ArchiveError(f"{self.path}: no pixel labels in this archive; its task is scenes")
        numbers = self._rows[MASK][rows]
        if numbers.size and numbers.min() < 0:
            scene = self.scene_ids[int(np.asarray(rows)[int(numbers.argmin())])]
            raise ArchiveError(f"{self.path}: scene {scene} has no pixel labels")
        if MASK not in self._views:
            self._views[MASK] = _map(self.path, MASK, (self.mask,), self._rows[MASK])
        return _copy(self._views[MASK], (self.mask,), numbers)[0][:, 0]

    def _row_numbers(self, sensor: str) -> np.ndarray:
        if sensor not in self.sensors:
            raise ArchiveError(
                f"{self.path}: no sensor {sensor}; this archive has {list(self.sensors)}"
            )
        return self._rows[sensor]


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


def _sensor(name: str, content: Mapping[str, Any], coarsest_m: float | None) -> Sensor:
    columns = [_column(each) for each in content["columns"]]
    fine = [coarsest_m is None or column.pixel_m <= coarsest_m for column in columns]
    kept = [
        fits for column, fits in zip(columns, fine, strict=True) for _ in column.bands
    ]  # per band
    return Sensor(
        name,
        tuple(compress(columns, fine)),
        content["unit"],
        tuple(compress(content["mean"], kept)),
        tuple(compress(content["std"], kept)),
    )


def _column(content: Mapping[str, Any]) -> Column:
    return Column(
        content["name"],
        tuple(content["bands"]),
        content["size"],
        content["dtype"],
        content["pixel_m"],
    )


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
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise ArchiveError(f"{path} was changed or damaged after packing; pack the archive again")


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
    views: Sequence[tuple[np.ndarray, ...]],
    columns: Sequence[Column],
    numbers: np.ndarray,
    dtype: str | None = None,
) -> tuple[np.ndarray, ...]:
    """Rows as arrays (n, B, size, size): each pixel is read, converted and written once."""
    batches, rows = np.divmod(numbers, BATCH_ROWS)
    places = list(zip(batches.tolist(), rows.tolist(), strict=True))
    arrays = []
    for index, c in enumerate(columns):  # one column after the other: fewer streams at a time
        array = np.empty((len(places), len(c.bands), c.size, c.size), dtype=dtype or c.dtype)
        for position, (batch, row) in enumerate(places):
            array[position] = views[batch][index][row]
        arrays.append(array)
    return tuple(arrays)
