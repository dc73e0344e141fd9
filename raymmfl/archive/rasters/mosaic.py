"""Co-registered rasters of any size, opened together and read window by window.

A sensor may come in several files; a file may have pixels a whole number of times larger than the
finest file's. Windows are counted in pixels of the finest file, the grid.
B bands, h w pixels of a file.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from raymmfl.archive.rasters.geotiff import CORNER_TOLERANCE_PIXELS
from raymmfl.errors import PredictionError

CACHE_MB = 128


@dataclass(frozen=True)
class Layer:
    """What one file gives to a sensor.

    Attributes:
        path: the file.
        numbers: its bands that are read, counted from 1.
        positions: where each of them stands among the sensor's bands.
        ratio: its pixel's side in pixels of the grid.
        nodata: per band read, the value its tag declares as missing; None without a tag.
    """

    path: Path
    numbers: tuple[int, ...]
    positions: tuple[int, ...]
    ratio: int
    nodata: tuple[float | None, ...]


class Mosaic:
    """Rasters on one ground, open for reading; made by :func:`open_mosaic`.

    Attributes:
        height: rows of the grid.
        width: columns of the grid.
        crs: rasterio's coordinate reference system.
        transform: pixel (column, row) of the grid to map coordinates.
        layers: per sensor, what its files give.
    """

    def __init__(
        self, finest: rasterio.DatasetReader, datasets: Mapping[Path, rasterio.DatasetReader]
    ) -> None:
        self.height: int = finest.height
        self.width: int = finest.width
        self.crs: CRS = finest.crs
        self.transform: Affine = finest.transform
        self.layers: dict[str, tuple[Layer, ...]] = {}
        self._datasets = datasets

    @property
    def pixel_m(self) -> float | None:
        """Side of the grid's pixel in metres; None where map units are degrees."""
        return None if self.pixel_area_m2 is None else float(self.pixel_area_m2**0.5)

    @property
    def pixel_area_m2(self) -> float | None:
        """Area of the grid's pixel in square metres; None where map units are degrees."""
        if not self.crs.is_projected:
            return None
        _, metres = self.crs.linear_units_factor
        return float(abs(self.transform.determinant) * metres**2)

    def coarser(self, step: int) -> Affine:
        """The transform of pixels ``step`` times larger, from the same corner."""
        t = self.transform
        return Affine(t.a * step, t.b * step, t.c, t.d * step, t.e * step, t.f)

    def read(self, layer: Layer, top: int, left: int, bottom: int, right: int) -> np.ndarray:
        """A window of one file, counted in the file's own pixels, half open.

        Returns:
            (B, h, w) in the file's dtype.

        Raises:
            PredictionError: if the file is damaged there.
        """
        window = Window(left, top, right - left, bottom - top)
        try:
            data: np.ndarray = self._datasets[layer.path].read(layer.numbers, window=window)
        except RasterioError as error:
            reason = f"{error} {error.__cause__ or ''}".strip()
            raise PredictionError(
                f"{layer.path}, rows {top}-{bottom - 1}, columns {left}-{right - 1}: cannot be "
                f"read ({reason}); the file is damaged or cut off: copy or download it again"
            ) from error
        return data


def count_bands(path: Path) -> int:
    """Number of bands of a raster.

    Raises:
        PredictionError: if it cannot be opened.
    """
    with _environment(), _open(path) as dataset:
        return int(dataset.count)


@contextmanager
def open_mosaic(
    rasters: Mapping[str, Sequence[Path]], bands: Mapping[str, Sequence[str]]
) -> Iterator[Mosaic]:
    """Open the files of all sensors and check that they show the same ground.

    Args:
        rasters: files per sensor.
        bands: names of each sensor's bands, in the order of the model. Where every one of them is
            the description of a band of the files, bands are matched by name and others are left
            out; else the files, one after the other, must have these bands in this order.

    Raises:
        PredictionError: no raster, a file that cannot be opened or has no georeference, other
            ground or bands than expected.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment())
        opened: dict[Path, rasterio.DatasetReader] = {}
        for path in (path for paths in rasters.values() for path in paths):
            if path not in opened:
                opened[path] = stack.enter_context(_open(path))
        if not opened:
            raise PredictionError("no raster was given; give at least one sensor's")
        finest = max(opened, key=lambda path: opened[path].width)
        ratios = {path: _ratio(path, opened[path], finest, opened[finest]) for path in opened}
        mosaic = Mosaic(opened[finest], opened)
        for sensor, paths in rasters.items():
            matched = _match(sensor, bands[sensor], {path: opened[path] for path in paths})
            mosaic.layers[sensor] = tuple(
                Layer(
                    path,
                    tuple(number for number, _ in pairs),
                    tuple(position for _, position in pairs),
                    ratios[path],
                    tuple(opened[path].nodatavals[number - 1] for number, _ in pairs),
                )
                for path, pairs in matched.items()
                if pairs
            )
        yield mosaic


def _environment() -> rasterio.Env:
    """Unlike the packer's, it lets GDAL see sidecar files: one may hold the reference system."""
    return rasterio.Env(GDAL_CACHEMAX=CACHE_MB)


def _open(path: Path) -> rasterio.DatasetReader:
    if not path.is_file():
        raise PredictionError(f"{path}: no such file; give the path of a raster")
    try:
        dataset = rasterio.open(path, sharing=False)
    except RasterioError as error:
        raise PredictionError(
            f"{path}: not a raster that GDAL reads ({error}); give a GeoTIFF or JPEG 2000"
        ) from error
    problem = ""
    if dataset.crs is None:
        problem = "no coordinate reference system; write it into the file (gdal_edit -a_srs)"
    elif not {np.dtype(each).kind for each in dataset.dtypes} <= set("iuf"):
        problem = f"values of {dataset.dtypes[0]}; convert them to real numbers"
    if problem:
        dataset.close()
        raise PredictionError(f"{path}: {problem}")
    return dataset


def _ratio(
    path: Path, dataset: rasterio.DatasetReader, finest_path: Path, finest: rasterio.DatasetReader
) -> int:
    """How many times larger a file's pixels are, once it is known to cover the same ground."""
    beside = f"{path} beside {finest_path}"
    if dataset.crs != finest.crs:
        raise PredictionError(
            f"{beside}: CRS {dataset.crs} and {finest.crs}; reproject one to the other's grid"
        )
    ratio = max(1, int(finest.width / dataset.width + 0.5))
    if (dataset.height * ratio, dataset.width * ratio) != (finest.height, finest.width):
        raise PredictionError(
            f"{beside}: {dataset.height}x{dataset.width} and {finest.height}x{finest.width} "
            "pixels; one must be a whole multiple of the other: cut or resample to the same ground"
        )
    ours, theirs = _corners(dataset), _corners(finest)
    pixel = abs(finest.transform.determinant) ** 0.5
    if np.abs(ours - theirs).max() > CORNER_TOLERANCE_PIXELS * pixel:
        raise PredictionError(
            f"{beside}: corners {ours.tolist()} and {theirs.tolist()}; cut both to the same bounds"
        )
    return ratio


def _corners(dataset: rasterio.DatasetReader) -> np.ndarray:
    t = dataset.transform
    corners = (0, 0), (dataset.width, 0), (0, dataset.height)
    return np.array([(t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f) for x, y in corners])


def _named_by_file(path: Path, dataset: rasterio.DatasetReader, wanted: Sequence[str]) -> str:
    """The band that a one-band file says in its name, as patches do: `x_B02.tif`."""
    end = path.stem.rsplit("_", 1)[-1].lower()
    named = dataset.count == 1 and end in [name.lower() for name in wanted]
    return end if named else ""


def _match(
    sensor: str, wanted: Sequence[str], datasets: Mapping[Path, rasterio.DatasetReader]
) -> dict[Path, list[tuple[int, int]]]:
    """Per file, pairs of a band's number and its position among the wanted bands."""
    found = [
        (path, number, ((name or "").strip() or _named_by_file(path, dataset, wanted)).lower())
        for path, dataset in datasets.items()
        for number, name in enumerate(dataset.descriptions, start=1)
    ]
    names = [name for *_, name in found]
    lower = [name.lower() for name in wanted]
    if all(names.count(name) == 1 for name in lower):
        order = [names.index(name) for name in lower]
    else:
        files = ", ".join(map(str, datasets))
        if len(found) != len(wanted):
            missing = [name for name in wanted if name.lower() not in names]
            raise PredictionError(
                f"{files}: {len(found)} band(s), but {sensor} has {len(wanted)}: "
                f"{', '.join(wanted)}"
                + (f"; not found by name: {', '.join(missing)}" if any(names) else "")
                + "; give exactly these bands, in this order or under these names"
            )
        for position, name in enumerate(names):
            if name in lower and lower.index(name) != position:
                raise PredictionError(
                    f"{files}: band {position + 1} is named {name.upper()}, but {sensor} has "
                    f"{wanted[position]} there and not every band is named; name all bands, or "
                    f"none, and give them in the order {', '.join(wanted)}"
                )
        order = list(range(len(wanted)))
    pairs: dict[Path, list[tuple[int, int]]] = {path: [] for path in datasets}
    for position, index in enumerate(order):
        path, number, _ = found[index]
        pairs[path].append((number, position))
    return pairs
