"""A map of classes as a GeoTIFF: written block by block, whole or absent.

The names of the classes stand in ``<map>.aux.xml``, where GDAL keeps a band's category names (the
TIFF itself has no place for them; QGIS reads them as the legend of the colour table), and for
whoever loses that file in the band's tags ``CLASS_<value>``.
"""

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window

from raymmfl.archive.rasters.geotiff import environment
from raymmfl.files import write_whole

NODATA = 255
SMALLEST_OVERVIEW = 256
Colour = tuple[int, int, int]


def names_file(path: Path) -> Path:
    """Where GDAL looks for the category names of a raster."""
    return path.with_name(f"{path.name}.aux.xml")


class MapWriter:
    """An open map; made by :func:`write_map`."""

    def __init__(self, dataset: rasterio.io.DatasetWriter) -> None:
        self.counts = np.zeros(256, dtype=np.int64)
        self._dataset = dataset

    def write(self, classes_HW: np.ndarray, top: int, left: int) -> None:
        """Write a part of the map, uint8; every pixel of the map is to be written once."""
        height, width = classes_HW.shape
        self._dataset.write(classes_HW, 1, window=Window(left, top, width, height))
        self.counts += np.bincount(classes_HW.ravel(), minlength=256)


@contextlib.contextmanager
def write_map(
    path: Path,
    *,
    height: int,
    width: int,
    block: int,
    crs: CRS,
    transform: Affine,
    names: Sequence[str],
    colours: Sequence[Colour],
    tags: Mapping[str, str],
) -> Iterator[MapWriter]:
    """Write a map beside ``path``, which it replaces when the block has ended well.

    Args:
        path: the file; its folder must exist.
        height: rows.
        width: columns.
        block: side of a block of the file, a multiple of 16.
        crs: rasterio's coordinate reference system.
        transform: pixel (column, row) to map coordinates.
        names: of the classes 0, 1, ...
        colours: of the classes.
        tags: of the file.

    Raises:
        OSError: if it cannot be written; what was there before stays.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with environment():
            with rasterio.open(
                beside, "w", driver="GTiff", dtype="uint8", count=1, height=height, width=width,
                crs=crs, transform=transform, nodata=NODATA, tiled=True, blockxsize=block,
                blockysize=block, compress="deflate", bigtiff="IF_SAFER", sharing=False,
            ) as dataset:  # fmt: skip
                table = {value: (*colour, 255) for value, colour in enumerate(colours)}
                dataset.write_colormap(1, {**table, NODATA: (0, 0, 0, 0)})
                dataset.update_tags(**tags)
                dataset.update_tags(1, **{f"CLASS_{k}": name for k, name in enumerate(names)})
                dataset.set_band_description(1, "class")
                writer = MapWriter(dataset)
                yield writer
            _add_overviews(beside, height, width)
            if not np.array_equal(_read_counts(beside), writer.counts):
                raise OSError(
                    errno.EIO, "the map read back differs from what was written", str(path)
                )
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        names_file(path).unlink(missing_ok=True)  # the names of an older map are not this one's
        beside.replace(path)
        write_whole(names_file(path), _category_names(names).encode())
    except RasterioError as error:
        reason = f"{error} {error.__cause__ or ''}".strip()
        raise OSError(
            errno.EIO, f"cannot be written ({reason}); free the disk or choose another", str(path)
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def read_small(path: Path, longest: int) -> np.ndarray:
    """A map made smaller through its overviews, uint8, no side longer than ``longest``."""
    with environment(), rasterio.open(path, sharing=False) as dataset:
        share = min(1.0, longest / max(dataset.shape))
        shape = tuple(max(1, round(side * share)) for side in dataset.shape)
        small: np.ndarray = dataset.read(1, out_shape=shape)
    return small


def _add_overviews(path: Path, height: int, width: int) -> None:
    """Halved maps inside the file, each pixel the most frequent class of those it covers."""
    factors: list[int] = []
    while max(height, width) // 2 ** len(factors) > SMALLEST_OVERVIEW:
        factors.append(2 ** (len(factors) + 1))
    if factors:
        with rasterio.open(path, "r+", sharing=False) as dataset:
            dataset.build_overviews(factors, Resampling.mode)


def _read_counts(path: Path) -> np.ndarray:
    """Pixels per value, from the file: GDAL may say that all went well on a full disk."""
    found = np.zeros(256, dtype=np.int64)
    with rasterio.open(path, sharing=False) as dataset:
        for _, window in dataset.block_windows(1):
            found += np.bincount(dataset.read(1, window=window).ravel(), minlength=256)
    return found


def _category_names(names: Sequence[str]) -> str:
    rows = "\n".join(f"      <Category>{escape(name)}</Category>" for name in names)
    return (
        "<PAMDataset>\n"
        '  <PAMRasterBand band="1">\n'
        f"    <CategoryNames>\n{rows}\n    </CategoryNames>\n"
        "  </PAMRasterBand>\n"
        "</PAMDataset>\n"
    )
