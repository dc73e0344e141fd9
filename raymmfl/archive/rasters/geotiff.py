"""GeoTIFFs: the only place that reads or writes a raster, each file opened once and checked.

B bands, H W pixels.
"""

import hashlib
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.transform import Affine
from rasterio.warp import transform as warp_points

from raymmfl.archive.rasters.tiff_tags import read_tags
from raymmfl.errors import ArchiveError

# GDAL's own defaults list the folder at every open and cache 5 % of the memory per process.
GDAL_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_CACHEMAX": 64,
    "GDAL_NUM_THREADS": 1,
}
# Corners of co-registered rasters may differ by rounding, not by a visible part of a pixel.
CORNER_TOLERANCE_PIXELS = 0.01
MOST_CRS = 1000
_CRS: dict[bytes, CRS] = {}  # GDAL's answer to a file's geo keys: the same for the same keys


@dataclass(frozen=True)
class Raster:
    """A raster read whole.

    Attributes:
        path: the file.
        data_BHW: the pixels in the file's own dtype.
        crs: rasterio's coordinate reference system.
        transform: pixel (column, row) to map coordinates.
        nodata: the file's nodata tag, if it has one.
        sha256: of the file's bytes.
        descriptions: name of each band as written in the file, "" where it has none.
    """

    path: Path
    data_BHW: np.ndarray
    crs: CRS
    transform: Affine
    nodata: float | None
    sha256: str
    descriptions: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.data_BHW.shape[1], self.data_BHW.shape[2]

    def position(self, column: float, row: float) -> tuple[float, float]:
        """Map coordinates of a point in pixels, counted from the top-left corner."""
        t = self.transform
        return t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f


def environment() -> rasterio.Env:
    """GDAL's settings as a context manager; enter it once per process, not per file."""
    return rasterio.Env(**GDAL_SETTINGS)


def read_raster(path: Path, *, bands: int, dtype: str) -> Raster:
    """Read all bands of a GeoTIFF, and refuse what is not as described.

    The bytes are read once: what is digested is what is decoded.

    Args:
        path: the file.
        bands: number of bands it must have.
        dtype: NumPy name of the dtype that every band must have.

    Raises:
        ArchiveError: a file that is missing, empty, truncated, no GeoTIFF, without georeference,
            or of another band count or dtype.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"{path}: cannot be read ({error.strerror}); every place needs this raster"
        ) from error
    if not content:
        raise ArchiveError(f"{path}: the file is empty; copy or download it again")
    tags = read_tags(content)
    if tags is not None and tags.length > len(content):
        raise _not_whole(path, f"{len(content)} bytes, its tags speak of {tags.length}")
    known = tags is not None and tags.transform is not None and tags.geo_keys in _CRS
    try:
        with (
            _LostTags() as lost_tags,
            warnings.catch_warnings(),
            MemoryFile(content) as memory,
        ):
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            options = {"GEOREF_SOURCES": "NONE"} if known else {}
            with memory.open(driver="GTiff", sharing=False, **options) as dataset:
                if dataset.count != bands or set(dataset.dtypes) != {dtype}:
                    raise ArchiveError(
                        f"{path}: {dataset.count} band(s) of "
                        f"{', '.join(sorted(set(dataset.dtypes)))}, expected {bands} of {dtype}; "
                        "convert the file or choose the layout that describes it"
                    )
                data, nodata = dataset.read(), dataset.nodata
                crs, transform = dataset.crs, dataset.transform
                descriptions = tuple(name or "" for name in dataset.descriptions)
    except RasterioError as error:
        raise _not_whole(path, f"{error} {error.__cause__ or ''}".strip()) from error
    if lost_tags.messages:
        raise _not_whole(path, lost_tags.messages[0])
    if known:
        assert tags is not None
        assert tags.transform is not None
        crs, transform = _CRS[tags.geo_keys], Affine(*tags.transform)
    elif tags is not None and crs is not None:
        if len(_CRS) >= MOST_CRS:
            _CRS.clear()
        _CRS[tags.geo_keys] = crs
    if crs is None:
        raise ArchiveError(
            f"{path}: no coordinate reference system; write it into the file (gdal_edit -a_srs)"
        )
    digest = hashlib.sha256(content).hexdigest()
    return Raster(path, data, crs, transform, nodata, digest, descriptions)


def check_registered(raster: Raster, reference: Raster, ratio: int) -> None:
    """Check that a raster covers the reference's ground with pixels ``ratio`` times larger.

    Raises:
        ArchiveError: another CRS, size or bounds, naming both files.
    """
    height, width = reference.shape
    pixel = abs(reference.transform.a)
    same_crs = raster.crs is reference.crs or raster.crs == reference.crs
    same_size = (raster.shape[0] * ratio, raster.shape[1] * ratio) == (height, width)
    same_bounds = all(
        abs(ours - theirs) <= CORNER_TOLERANCE_PIXELS * pixel
        for pair in zip(_corners(raster), _corners(reference), strict=True)
        for ours, theirs in zip(*pair, strict=True)
    )
    if same_crs and same_size and same_bounds:
        return
    beside = f"{raster.path} beside {reference.path}"
    if not same_crs:
        raise ArchiveError(
            f"{beside}: CRS {raster.crs} and {reference.crs}; reproject one to the other's grid"
        )
    if not same_size:
        raise ArchiveError(
            f"{beside}: {raster.shape[0]}x{raster.shape[1]} pixels, expected "
            f"{height / ratio:g}x{width / ratio:g}; resample to the same ground"
        )
    raise ArchiveError(
        f"{beside}: bounds {_corners(raster)} and {_corners(reference)}; cut both to the same "
        "bounds"
    )


def check_window(raster: Raster, window: tuple[int, int, int], nodata: float | None) -> np.ndarray:
    """The pixels of one square window, checked to hold data.

    Args:
        raster: where from.
        window: top row, left column and side in this raster's pixels.
        nodata: value that marks missing pixels where the file has no tag of its own.

    Returns:
        A contiguous copy, (B, side, side), source dtype.

    Raises:
        ArchiveError: a NaN or infinite value, or nothing but nodata, naming file and window.
    """
    top, left, side = window
    patch = np.ascontiguousarray(raster.data_BHW[:, top : top + side, left : left + side])
    where = f"{raster.path}, rows {top}-{top + side - 1}, columns {left}-{left + side - 1}"
    if patch.dtype.kind == "f" and not np.isfinite(patch).all():
        bad = int(np.count_nonzero(~np.isfinite(patch)))
        raise ArchiveError(
            f"{where}: {bad} value(s) are NaN or infinite; fill them or leave this place out"
        )
    missing = nodata if raster.nodata is None else raster.nodata
    if missing is not None and (patch == missing).all():
        raise ArchiveError(
            f"{where}: nothing but nodata ({missing:g}); leave this place out or replace the file"
        )
    return patch


def longitude_latitude(crs: CRS, x: Sequence[float], y: Sequence[float]) -> np.ndarray:
    """Map coordinates as degrees (WGS 84), shape (2, n)."""
    return np.asarray(warp_points(crs, "EPSG:4326", list(x), list(y))[:2], dtype=np.float64)


def write_raster(
    path: Path,
    data_BHW: np.ndarray,
    *,
    epsg: int,
    transform: Sequence[float],
    bands: Sequence[str] = (),
    nodata: float | None = None,
    compress: str | None = None,
) -> None:
    """Write a GeoTIFF.

    Args:
        path: the file; its folder must exist.
        data_BHW: the pixels; their dtype is the file's.
        epsg: code of the projected coordinate reference system.
        transform: the six numbers (a, b, c, d, e, f) of an affine transform: ``x = a*column +
            b*row + c``, ``y = d*column + e*row + f``.
        bands: names written as band descriptions.
        nodata: nodata tag.
        compress: GDAL's name of a lossless compression ("deflate"); None for none.
    """
    count, height, width = data_BHW.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=count, height=height, width=width, dtype=data_BHW.dtype,
        crs=f"EPSG:{epsg}", transform=Affine(*transform), nodata=nodata, sharing=False,
        **({} if compress is None else {"compress": compress}),
    ) as dataset:  # fmt: skip
        dataset.write(data_BHW)
        for index, name in enumerate(bands, start=1):
            dataset.set_band_description(index, name)


@dataclass(frozen=True)
class Header:
    """What a GeoTIFF says of itself: band count, dtype, size and the bands' descriptions."""

    bands: int
    dtype: str
    height: int
    width: int
    descriptions: tuple[str, ...]


def read_header(path: Path) -> Header:
    """Read what a GeoTIFF holds, without its pixels.

    Raises:
        ArchiveError: a file that cannot be opened as a GeoTIFF, or whose bands differ in dtype.
    """
    try:
        with rasterio.open(path, driver="GTiff", sharing=False) as dataset:
            dtypes = sorted(set(dataset.dtypes))
            names = tuple(name or "" for name in dataset.descriptions)
            header = Header(dataset.count, dtypes[0], dataset.height, dataset.width, names)
    except RasterioError as error:
        raise ArchiveError(
            f"{path}: not a whole GeoTIFF ({error}); it is missing, damaged or cut off: copy "
            "or download it again"
        ) from error
    if len(dtypes) > 1:
        raise ArchiveError(f"{path}: bands of {', '.join(dtypes)}; convert all to one dtype")
    return header


def check_band_order(raster: Raster, bands: Sequence[str]) -> None:
    """Check that a file which names the expected bands names them in the expected order.

    Files that name none of their bands, or other things, are believed.

    Raises:
        ArchiveError: the same names in another order.
    """
    if sorted(raster.descriptions) == sorted(bands) and raster.descriptions != tuple(bands):
        raise ArchiveError(
            f"{raster.path}: bands in the order {', '.join(raster.descriptions)}, expected "
            f"{', '.join(bands)}; reorder the file or describe it so"
        )


def _not_whole(path: Path, reason: str) -> ArchiveError:
    return ArchiveError(
        f"{path}: not a whole GeoTIFF ({reason}); the file is damaged or cut off: copy or "
        "download it again"
    )


class _LostTags(logging.Handler):
    """Collects what GDAL only warns about: tags (nodata, band names) behind the end of a cut file.

    GDAL reads such a file without them and without an error; rasterio logs the warning.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._log = logging.getLogger("rasterio._env")

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if "IO error" in message:
            self.messages.append(message)

    def __enter__(self) -> "_LostTags":
        self._log.addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._log.removeHandler(self)


def _corners(raster: Raster) -> list[tuple[float, float]]:
    height, width = raster.shape
    return [raster.position(*corner) for corner in ((0, 0), (width, 0), (0, height))]
