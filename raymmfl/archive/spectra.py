"""What the classes look like to a sensor: the values of their pixels, band by band.

B bands, K classes, n scenes, H W pixels of a column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import IGNORED, Archive
from raymmfl.seeds import generator

SCENES_PER_CLASS = 40
PIXELS_PER_SCENE = 200


@dataclass(frozen=True)
class ClassValues:
    """Sampled pixels of each class in one sensor.

    Attributes:
        sensor: its name.
        unit: of the values.
        bands: names in the archive's order.
        values: class -> one array per band of its sampled pixels, in the sensor's unit; classes
            without a pixel are left out.
        by_mask: whether pixels were told apart by the mask; else a class has all pixels of the
            scenes labelled with it, whatever covers them.
    """

    sensor: str
    unit: str
    bands: tuple[str, ...]
    values: dict[str, list[NDArray[np.float32]]]
    by_mask: bool


def class_values(archive: Archive, sensor: str, seed: int = 0) -> ClassValues:
    """Sample pixels of each class from scenes of the train split.

    With a mask, a pixel of a coarser band counts where all of the mask below it is one class.

    Args:
        archive: to read.
        sensor: its name.
        seed: of the choice of scenes and pixels.
    """
    described = archive.sensors[sensor]
    by_mask = archive.mask is not None
    usable = (archive.splits == "train") & archive.present(sensor)
    if by_mask:
        usable[np.setdiff1d(np.arange(len(archive)), archive.masked())] = False
    values: dict[str, list[NDArray[np.float32]]] = {}
    for number, label in enumerate(archive.labels):
        random = generator(seed, "spectra", sensor, label)
        rows = np.flatnonzero(usable & (archive.targets[:, number] > 0))
        rows = np.sort(random.permutation(rows)[:SCENES_PER_CLASS])
        if not len(rows):
            continue
        mask = archive.read_mask(rows) if by_mask else None
        found: list[NDArray[np.float32]] = []
        for column, pixels in zip(
            described.columns, archive.read(sensor, rows, "float32"), strict=True
        ):
            whose = None if mask is None else coarsen(mask, column.size) == number
            found += _sample(pixels, whose, random)
        if all(band.size for band in found):
            values[label] = found
    return ClassValues(sensor, described.unit, described.bands, values, by_mask)


def coarsen(mask_nHW: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A mask on a coarser or finer grid of (size, size): pixels of several classes are ignored."""
    side = mask_nHW.shape[-1]
    if size >= side:
        nearest = np.arange(size) * side // size
        return mask_nHW[:, nearest[:, None], nearest]
    if side % size:
        return np.full((len(mask_nHW), size, size), IGNORED, np.uint8)
    ratio = side // size
    blocks = mask_nHW.reshape(len(mask_nHW), size, ratio, size, ratio)
    least, most = blocks.min(axis=(2, 4)), blocks.max(axis=(2, 4))
    return np.where(least == most, least, np.uint8(IGNORED))


def _sample(
    pixels_nBHW: NDArray[np.float32],
    whose_nHW: NDArray[np.bool_] | None,
    random: np.random.Generator,
) -> list[NDArray[np.float32]]:
    """Up to so many pixels of each scene, the same places in all bands: (pixels,) per band."""
    scenes, bands = pixels_nBHW.shape[:2]
    flat = pixels_nBHW.reshape(scenes, bands, -1)
    parts = []
    for scene in range(scenes):
        places = np.arange(flat.shape[2])
        if whose_nHW is not None:
            places = np.flatnonzero(whose_nHW[scene].ravel())
        places = random.permutation(places)[:PIXELS_PER_SCENE]
        parts.append(flat[scene][:, places])
    return list(np.concatenate(parts, axis=1))
