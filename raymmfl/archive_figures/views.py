"""Sensors as pictures: which bands are shown, stretched how. n scenes, H W pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import Archive, Sensor

TRUE_COLOUR = ("B04", "B03", "B02")
INFRARED = ("B08", "B04", "B03")
RADAR = ("VV", "VH")
LOWEST, HIGHEST = 2.0, 98.0  # percentiles that become black and white
SMALLEST_POWER = 1e-6  # of linear backscatter, before the logarithm


@dataclass(frozen=True)
class View:
    """One way to look at a sensor.

    Attributes:
        sensor: its name.
        title: sensor and bands, for the picture.
        bands: three to be red, green and blue, or one.
        radar: the bands are VV and VH, and the third colour is their ratio.
    """

    sensor: str
    title: str
    bands: tuple[str, ...]
    radar: bool = False


def view_of(sensor: Sensor) -> View:
    """True colour or false colour, the radar's composite, else the first band or three."""
    name, bands = sensor.name, sensor.bands
    for chosen, what in ((TRUE_COLOUR, "true colour"), (INFRARED, "infrared")):
        if set(chosen) <= set(bands):
            return View(name, f"{name} {what}", chosen)
    if set(RADAR) <= set(bands):
        return View(name, f"{name} VV, VH, VV/VH", RADAR, radar=True)
    first = bands[:3] if len(bands) >= 3 else bands[:1]
    return View(name, name if first == (name,) else f"{name} {', '.join(first)}", first)


def pictures(archive: Archive, view: View, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scenes ready to be shown, (n, H, W, 3) or (n, H, W, 1) in 0..1, from black to white.

    Radar is stretched alike in all scenes, band by band, so that brightness can be compared. Other
    scenes differ too much in haze and light: each has limits of its own, alike for true colours;
    one with little contrast keeps little, for its noise would look like a pattern.
    """
    sensor = archive.sensors[view.sensor]
    image = _bands(archive, sensor, view.bands, rows)
    if view.radar:
        if "db" not in sensor.unit.lower():
            image = 10 * np.log10(np.maximum(image, SMALLEST_POWER))
        image = np.concatenate([image, image[..., :1] - image[..., 1:2]], axis=-1)
        axes: tuple[int, ...] = (0, 1, 2)
    else:
        axes = (1, 2, 3) if view.bands in (TRUE_COLOUR, INFRARED) else (1, 2)
    low, high = np.percentile(image, (LOWEST, HIGHEST), axis=axes, keepdims=True)
    middle, span = (low + high) / 2, np.maximum(high - low, 1e-6)
    span = np.maximum(span, np.median(span, axis=0, keepdims=True))
    stretched: NDArray[np.float32] = ((image - middle) / span + 0.5).clip(0, 1)
    return stretched


def _bands(
    archive: Archive, sensor: Sensor, names: tuple[str, ...], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Bands (n, H, W, bands) on the sensor's finest grid, by nearest neighbour."""
    found = {}
    for column, pixels in zip(
        sensor.columns, archive.read(sensor.name, rows, "float32"), strict=True
    ):
        nearest = np.arange(sensor.size) * column.size // sensor.size
        for index, band in enumerate(column.bands):
            if band in names:
                found[band] = pixels[:, index][:, nearest[:, None], nearest]
    return np.stack([found[name] for name in names], axis=-1)
