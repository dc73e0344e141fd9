"""The values of each class in the bands of a sensor."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from raymmfl.archive.spectra import ClassValues
from raymmfl.plotting import COLOURS, GREY, LIGHT, STYLE, new_figure, save, shorten

# Centres of Sentinel-2's bands in nm (ESA, Sentinel-2 MSI, rounded).
WAVELENGTHS_NM = {
    "B01": 443, "B02": 490, "B03": 560, "B04": 665, "B05": 705, "B06": 740, "B07": 783,
    "B08": 842, "B8A": 865, "B09": 945, "B10": 1375, "B11": 1610, "B12": 2190,
}  # fmt: skip
FEW_BANDS = 3  # up to so many are drawn as bars of all classes, more as a curve per class
ACROSS = 5
NAME_LENGTH = 34

Colours = Mapping[str, tuple[int, int, int]]


class _Row(NamedTuple):
    label: str
    band: str
    pixels: int
    mean: float
    q25: float
    median: float
    q75: float


def draw_spectra(found: ClassValues, colours: Colours, out: Path, title: str) -> Path:
    """Mean and quartiles of each class in each band.

    Args:
        found: sampled pixels.
        colours: of the classes.
        out: path of the PNG; numbers go to the CSV.
        title: of the picture.
    """
    bands = sorted(found.bands, key=lambda band: WAVELENGTHS_NM.get(band, 0))
    table = {
        (label, band): _row(label, band, values[found.bands.index(band)])
        for label, values in found.values.items()
        for band in bands
    }
    of = "pixels of the class" if found.by_mask else "all pixels of scenes with the label"
    heading = f"{title}\n{found.sensor}, training scenes: mean and middle half of {of}"
    with mpl.rc_context(STYLE):
        if len(bands) > FEW_BANDS:
            figure = _curves(found, bands, table, colours, heading)
        else:
            figure = _bars(found, bands, table, heading)
        return save(figure, out, ["class", *_Row._fields[1:]], table.values())


def _row(label: str, band: str, values: NDArray[np.float32]) -> _Row:
    q25, median, q75 = np.percentile(values, (25, 50, 75)).tolist()
    return _Row(label, band, values.size, float(values.mean(dtype=np.float64)), q25, median, q75)


def _curves(
    found: ClassValues,
    bands: list[str],
    table: Mapping[tuple[str, str], _Row],
    colours: Colours,
    heading: str,
) -> Figure:
    """A panel per class, the other classes in grey behind it."""
    labels = list(found.values)
    across = min(ACROSS, len(labels))
    down = math.ceil(len(labels) / across)
    figure, axes = new_figure(2.35 * across + 0.5, 1.75 * down + 0.9, down, across, heading)
    means = {label: [table[label, band].mean for band in bands] for label in labels}
    top = 1.05 * max(table[label, band].q75 for label in labels for band in bands)
    low = min(0.0, min(table[label, band].q25 for label in labels for band in bands))
    places = range(len(bands))
    for number, axis in enumerate(axes):
        if number >= len(labels):
            axis.set_visible(False)
            continue
        label = labels[number]
        for other in labels:
            axis.plot(places, means[other], color=LIGHT, lw=0.5, zorder=1)
        rows = [table[label, band] for band in bands]
        colour = tuple(part / 255 for part in colours[label])
        low_q, high_q = [row.q25 for row in rows], [row.q75 for row in rows]
        axis.fill_between(places, low_q, high_q, color=colour, alpha=0.6, lw=0)
        for edge in (low_q, high_q):  # of bands nearly white
            axis.plot(places, edge, color=GREY, lw=0.6)
        axis.plot(places, means[label], color="black", lw=1.3, marker="o", markersize=2.2)
        axis.set_title(shorten(label, NAME_LENGTH), fontsize=8.5)
        axis.set_xlim(-0.3, len(bands) - 0.7)
        axis.set_ylim(low, max(top, max(means[label]) * 1.02))
        last = number + across >= len(labels)
        axis.set_xticks(places, bands if last else [], rotation=90, fontsize=7)
        axis.tick_params(axis="y", labelsize=7, labelleft=number % across == 0)
    figure.supylabel(found.unit, fontsize=9)
    return figure


def _bars(
    found: ClassValues,
    bands: list[str],
    table: Mapping[tuple[str, str], _Row],
    heading: str,
) -> Figure:
    """A line per class: the middle half as a bar, the mean as a dot, side by side per band."""
    labels = list(found.values)
    height = 1.3 + (0.16 + 0.14 * len(bands)) * max(len(labels), 2)
    figure, axes = new_figure(7.6, height, 1, 1, heading)
    axis: Axes = axes[0]
    thickness = 0.78 / len(bands)
    for number, band in enumerate(bands):
        rows = [table[label, band] for label in labels]
        places = np.arange(len(labels)) - 0.39 + thickness * (number + 0.5)
        axis.barh(
            places, [r.q75 - r.q25 for r in rows], 0.85 * thickness, [r.q25 for r in rows],
            color=COLOURS[number], alpha=0.6, label=band,
        )  # fmt: skip
        axis.plot([r.mean for r in rows], places, "o", color="black", markersize=3)
    axis.set_yticks(range(len(labels)), [shorten(label, NAME_LENGTH) for label in labels])
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.set_xlabel(found.unit)
    axis.grid(visible=False, axis="y")
    ends = [end for row in table.values() for end in (row.q25, row.mean, row.q75)]
    margin = 0.04 * (max(ends) - min(ends)) or 1.0
    axis.set_xlim(min(ends) - margin, max(ends) + margin)
    figure.legend(loc="outside lower center", ncols=len(bands))
    return figure
