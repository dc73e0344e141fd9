"""Cutting: from a labelled tile to checked patches with their labels, for any reader of tiles.

H W pixels of the tile's finest raster.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Reading, Scene
from raymmfl.archive.splits import SPLITS, patch_windows, split_blocks
from raymmfl.archive.store import IGNORED
from raymmfl.errors import ArchiveError


@dataclass(frozen=True)
class Layer:
    """A raster of a sensor: its pixel side over the mask's, and the value that means no data."""

    raster: geotiff.Raster
    ratio: int
    nodata: float | None


@dataclass(frozen=True)
class Tile:
    """A tile read whole.

    Attributes:
        name: first part of its patches' ids.
        region: as in its unit.
        date: as in its unit.
        mask: the raster of its labels; the reference of all positions.
        labels_HW: uint8, index into the label names, 255 to be ignored.
        layers: sensor -> its rasters in column order; a missing sensor is left out.
        attributes: as in :class:`raymmfl.archive.readers.source.Scene`.
    """

    name: str
    region: str
    date: str
    mask: geotiff.Raster
    labels_HW: np.ndarray
    layers: Mapping[str, Sequence[Layer]]
    attributes: Mapping[str, str] = field(default_factory=dict)


def label_mask(
    mask: geotiff.Raster, classes: Sequence[int], ignored: Iterable[int], layout: str
) -> np.ndarray:
    """A uint8 mask's first band as label numbers.

    Args:
        mask: the raster.
        classes: mask values in label order.
        ignored: mask values that are no class.
        layout: its name, for the error.

    Returns:
        uint8 (H, W), index into ``classes``, 255 where ignored.

    Raises:
        ArchiveError: values that are neither.
    """
    ignored = list(ignored)
    lookup = np.full(256, -1, dtype=np.int16)
    lookup[ignored] = IGNORED
    lookup[list(classes)] = np.arange(len(classes))
    numbers = lookup[mask.data_BHW[0]]
    if (numbers < 0).any():
        unknown = np.unique(mask.data_BHW[0][numbers < 0]).tolist()
        raise ArchiveError(
            f"{mask.path}: values {unknown} are in no class of layout {layout}, which knows "
            f"{sorted([*classes, *ignored])}; correct the mask or the layout"
        )
    labels_HW: np.ndarray = numbers.astype(np.uint8)
    return labels_HW


def split_windows(
    mask: geotiff.Raster, options: Options, name: str
) -> Iterator[tuple[str, int, int]]:
    """Windows of a tile that is divided into train, validation and test ground by blocks.

    Yields:
        Split, top row and left column of each patch.

    Raises:
        ArchiveError: a tile too small for the split, or for one patch in each part.
    """
    block, (height, width) = options.block_side, mask.shape
    areas = split_blocks(height // block, width // block, options.seed, name)
    for split in SPLITS:
        area = areas[split].scaled(block)
        windows = patch_windows(area, options.patch, options.step)
        if not len(windows):
            raise ArchiveError(
                f"{mask.path}: no patch of {options.patch} pixels fits into the {split} area of "
                f"{area.height}x{area.width} pixels; use larger blocks"
            )
        for top, left in windows.tolist():
            yield split, top, left


def label_patch(
    labels_HW: np.ndarray, names: Sequence[str], options: Options, *, sparse: bool = False
) -> tuple[tuple[str, ...], str]:
    """Labels of one patch, and why it is left out ("" if it is not).

    Args:
        labels_HW: the patch of a label mask.
        names: the label names.
        options: its shares count.
        sparse: ``min_share`` is a share of the labelled pixels, not of all.
    """
    counts = np.bincount(labels_HW.ravel(), minlength=IGNORED + 1)[: len(names)]
    if counts.sum() < options.min_labelled * labels_HW.size:
        return (), "too few labelled pixels"
    labels = tuple(
        name
        for name, count in zip(names, counts.tolist(), strict=True)
        if count >= options.min_share * (counts.sum() if sparse else labels_HW.size)
    )
    return labels, "" if labels else "no class covers enough"


def cut(
    tile: Tile,
    windows: Iterable[tuple[str, int, int]],
    names: Sequence[str],
    options: Options,
    sources: Mapping[str, str],
    *,
    sparse: bool = False,
    gaps: bool = False,
) -> Reading:
    """Cut the patches at the windows out of a tile.

    Args:
        tile: the tile; its rasters are registered to its mask.
        windows: split, top row and left column of each patch.
        names: the label names.
        options: side of the patches, and what labels them.
        sources: as in :class:`raymmfl.archive.readers.source.Scene`.
        sparse: as in :func:`label_patch`.
        gaps: a patch goes without a sensor that has a pixel without data in it, and is left out
            if no sensor remains; else such a patch may be an error.

    Raises:
        ArchiveError: a patch with values that are not finite, or with nothing but nodata.
    """
    side, mask = options.patch, tile.mask
    left_out: Counter[str] = Counter()
    kept: list[tuple[str, int, int, tuple[str, ...], np.ndarray]] = []
    for split, top, left in windows:
        window = np.ascontiguousarray(tile.labels_HW[top : top + side, left : left + side])
        labels, reason = label_patch(window, names, options, sparse=sparse)
        if reason:
            left_out[f"{split}: {reason}"] += 1
        else:
            kept.append((split, top, left, labels, window))
    if not kept:
        return Reading([], left_out)
    centres = [mask.position(left + side / 2, top + side / 2) for _, top, left, _, _ in kept]
    degrees = geotiff.longitude_latitude(
        mask.crs, [x for x, _ in centres], [y for _, y in centres]
    )
    t, epsg = mask.transform, mask.crs.to_epsg() or 0
    scenes = []
    for (split, top, left, labels, window), (lon, lat) in zip(
        kept, degrees.T.tolist(), strict=True
    ):
        x, y = mask.position(left, top)
        layers = dict(tile.layers)
        for sensor in list(layers) if gaps else []:
            if any(has_gap(layer, top, left, side) for layer in layers[sensor]):
                del layers[sensor]
                left_out[f"{split}: {sensor} with a pixel without data"] += 1
        if not layers:
            left_out[f"{split}: no sensor has data"] += 1
            continue
        scenes.append(
            Scene(
                scene_id=f"{tile.name}_r{top:04d}_c{left:04d}",
                split=split, labels=labels, region=tile.region, place=tile.name, date=tile.date,
                lon=lon, lat=lat, epsg=epsg, transform=(t.a, t.b, x, t.d, t.e, y),
                images={
                    sensor: tuple(_window(layer, top, left, side) for layer in found)
                    for sensor, found in layers.items()
                },
                mask=window, sources=sources, attributes=tile.attributes,
            )
        )  # fmt: skip
    return Reading(scenes, left_out)


def has_gap(layer: Layer, top: int, left: int, side: int) -> bool:
    """Whether a window, given in pixels of the finest raster, has a pixel without data.

    That is one whose bands all hold the nodata value of the file or of the layer; where the value
    is NaN, any band.
    """
    r, ratio = layer.raster, layer.ratio
    rows = slice(top // ratio, (top + side) // ratio)
    patch_BHW = r.data_BHW[:, rows, left // ratio : (left + side) // ratio]
    for value in (each for each in (r.nodata, layer.nodata) if each is not None):
        found = np.isnan(patch_BHW).any() if np.isnan(value) else (patch_BHW == value).all(0).any()
        if found:
            return True
    return False


def _window(layer: Layer, top: int, left: int, side: int) -> np.ndarray:
    ratio = layer.ratio
    return geotiff.check_window(
        layer.raster, (top // ratio, left // ratio, side // ratio), layer.nodata
    )
