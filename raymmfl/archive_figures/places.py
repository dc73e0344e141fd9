"""Where the scenes lie, by region and by split. No map lies behind: none is fetched."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from raymmfl.archive.splits import SPLITS
from raymmfl.archive.store import Archive
from raymmfl.plotting import COLOURS, GREY, MARKERS, STYLE, new_figure, save, shorten
from raymmfl.seeds import generator

MOST_NAMED = 21  # regions with a colour and marker of their own
FEW = 12  # up to so many places or regions get a plan each
ACROSS = 4
NAME_LENGTH = 24
SMALLEST_DEGREES = 0.05
NARROWEST, WIDEST = 0.6, 2.2  # width of a map over its height
MARGIN = 1.12
KM_PER_DEGREE = 111.32  # of latitude

Floats = NDArray[np.float64]


def draw_places(archive: Archive, out: Path, title: str) -> Path:
    """The scenes' centres: all by region, and by split.

    If there are few places, or else few regions, each has a plan by split of its own.

    Args:
        archive: to draw.
        out: path of the PNG; the scenes per place and split go to the CSV.
        title: of the picture.
    """
    with mpl.rc_context(STYLE):
        for groups in (archive.places, archive.regions):
            if 1 < len(set(groups.tolist())) <= FEW:
                figure = _with_plans(archive, groups, title)
                break
        else:
            figure = _two_maps(archive, title)
        return save(figure, out, ["place", "region", "lon", "lat", *SPLITS], _rows(archive))


def _two_maps(archive: Archive, title: str) -> Figure:
    width, height = _shape(archive.lons, archive.lats, 5.5)
    figure, axes = new_figure(2 * width + 5.0, height + 1.2, 1, 2, title)
    _by_region(axes[0], archive)
    _by_split(axes[1], archive)
    return figure


def _with_plans(archive: Archive, groups: NDArray[np.str_], title: str) -> Figure:
    """The map by region, and below it a plan of each group by split, in km."""
    names = sorted(set(groups.tolist()))
    width, height = _shape(archive.lons, archive.lats, 4.4)
    across = len(names) if len(names) <= ACROSS + 1 else ACROSS
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(max(2.2 * across, width + 2.5), height + 2.3 * down + 1.4))
    figure.suptitle(title)
    upper, lower = figure.subfigures(  # type: ignore[misc]  # the stubs know one alone
        2, 1, height_ratios=[height + 0.9, 2.3 * down + 0.4]
    )
    _by_region(upper.subplots(), archive)
    tones = dict(zip(SPLITS, COLOURS, strict=False))
    for name, axis in zip_longest(names, lower.subplots(down, across, squeeze=False).flat):
        if name is None:
            axis.set_visible(False)
            continue
        rows = generator(0, "plan").permutation(np.flatnonzero(groups == name))
        lons, lats = archive.lons[rows], archive.lats[rows]
        north = (lats - lats.mean()) * KM_PER_DEGREE
        east = (lons - lons.mean()) * KM_PER_DEGREE * math.cos(math.radians(lats.mean()))
        colours = [tones[str(split)] for split in archive.splits[rows]]
        size = float(np.clip(3000 / len(rows), 0.5, 9.0))
        axis.scatter(east, north, s=size, c=colours, marker="s", linewidths=0)
        axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(shorten(name, NAME_LENGTH) or "unknown", fontsize=8.5)
        axis.tick_params(labelsize=7)
    lower.supxlabel("km east of the middle", fontsize=8.5)
    lower.supylabel("km north", fontsize=8.5)
    handles = [
        Line2D([], [], ls="", marker="s", color=colour, markersize=5, label=split)
        for split, colour in tones.items()
    ]
    lower.legend(handles=handles, loc="outside upper center", ncols=len(SPLITS))
    return figure


def _by_region(axis: Axes, archive: Archive) -> None:
    counts = Counter(archive.regions.tolist())
    named = [name for name, _ in counts.most_common(MOST_NAMED)]
    looks = {
        name: (COLOURS[index % len(COLOURS)], ("o", *MARKERS)[index // len(COLOURS)])
        for index, name in enumerate(sorted(named))
    }
    _scatter(axis, archive.lons, archive.lats, archive.regions, looks)
    handles = [
        Line2D(
            [], [], ls="", marker=marker, color=colour, markersize=5,
            label=f"{shorten(name, NAME_LENGTH) or 'unknown'} ({counts[name]:,})",
        )
        for name, (colour, marker) in looks.items()
    ]  # fmt: skip
    if len(counts) > len(named):
        rest = sum(counts.values()) - sum(counts[name] for name in named)
        label = f"{len(counts) - len(named)} others ({rest:,})"
        handles.append(Line2D([], [], ls="", marker=".", color=GREY, label=label))
    columns = 1 if len(handles) <= 12 else 2
    axis.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5, ncols=columns
    )
    axis.set_title("scenes by region")


def _by_split(axis: Axes, archive: Archive) -> None:
    looks = {split: (colour, "o") for split, colour in zip(SPLITS, COLOURS, strict=False)}
    _scatter(axis, archive.lons, archive.lats, archive.splits, looks)
    counts = Counter(archive.splits.tolist())
    handles = [
        Line2D([], [], ls="", marker="o", color=looks[split][0], markersize=5,
               label=f"{split} ({counts[split]:,})")
        for split in SPLITS
    ]  # fmt: skip
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)
    axis.set_title("scenes by split")


def _scatter(
    axis: Axes,
    lons: Floats,
    lats: Floats,
    values: NDArray[np.str_],
    looks: Mapping[str, tuple[str, str]],
) -> None:
    """Points in a random order, so that no value hides the others; longitudes drawn to scale."""
    size = float(np.clip(30000 / max(len(lons), 1), 1.0, 14.0))
    order = generator(0, "places").permutation(len(lons))
    tones = np.array([looks.get(str(value), (GREY, "."))[0] for value in values[order]])
    shapes = np.array([looks.get(str(value), (GREY, "."))[1] for value in values[order]])
    for shape in dict.fromkeys(shapes.tolist()):
        of = shapes == shape
        axis.scatter(
            lons[order][of], lats[order][of], s=size, c=tones[of], marker=shape, linewidths=0
        )
    axis.set_xlabel("longitude (degrees)")
    axis.set_ylabel("latitude (degrees)")
    west, east, south, north = _frame(lons, lats)
    axis.set(xlim=(west, east), ylim=(south, north))
    axis.set_aspect(_aspect(lats))


def _aspect(lats: Floats) -> float:
    """Length of a degree of latitude over one of longitude, in the middle of the scenes."""
    middle = (lats.min() + lats.max()) / 2
    return 1 / max(math.cos(math.radians(middle)), 0.2)


def _frame(lons: Floats, lats: Floats) -> tuple[float, float, float, float]:
    """West, east, south and north of a map around all points, neither a ribbon nor a dot."""
    aspect = _aspect(lats)
    wide = max(float(np.ptp(lons)), SMALLEST_DEGREES)
    high = max(float(np.ptp(lats)) * aspect, SMALLEST_DEGREES)  # in degrees of longitude
    wide, high = max(wide, NARROWEST * high), max(high, wide / WIDEST)
    wide, high = 0.5 * MARGIN * wide, 0.5 * MARGIN * high / aspect
    lon, lat = (float(each.min() + each.max()) / 2 for each in (lons, lats))
    return lon - wide, lon + wide, lat - high, lat + high


def _shape(lons: Floats, lats: Floats, longest: float) -> tuple[float, float]:
    """Width and height in inches of a map to scale."""
    west, east, south, north = _frame(lons, lats)
    ratio = (east - west) / ((north - south) * _aspect(lats))
    return (longest, longest / ratio) if ratio > 1 else (longest * ratio, longest)


def _rows(archive: Archive) -> Iterator[list[object]]:
    names, first, inverse = np.unique(archive.places, return_index=True, return_inverse=True)
    size = np.bincount(inverse)
    lons = np.bincount(inverse, archive.lons) / size
    lats = np.bincount(inverse, archive.lats) / size
    counts = {s: np.bincount(inverse[archive.splits == s], minlength=len(names)) for s in SPLITS}
    for index, name in enumerate(names.tolist()):
        region = str(archive.regions[first[index]])
        yield [
            name, region, round(float(lons[index]), 5), round(float(lats[index]), 5),
            *(int(counts[split][index]) for split in SPLITS),
        ]  # fmt: skip
