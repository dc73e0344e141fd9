"""How figures look and are written: colours, lines, a picture with its numbers beside it.

Colours are Okabe and Ito's, which colour-blind readers tell apart
(https://jfly.uni-koeln.de/color/); markers and order repeat what colours say.
"""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from raymmfl.files import write_whole

FUSED = "#000000"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
MARKERS = ("s", "^", "D", "v", "P", "X", "*")
GREY = "#8C8C8C"
LIGHT = "#C4C4C4"
MANY_ROUNDS = 40
STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.titlesize": 11,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def sensor_colour(groups: Sequence[str], sensors: str) -> str:
    """The colour of a sensor among the groups drawn; all sensors together are black."""
    if sensors == "all":
        return FUSED
    return COLOURS[(groups.index(sensors) - ("all" in groups)) % len(COLOURS)]


def draw_line(axis: Axes, rounds: Sequence[int], values: Sequence[float], **look: Any) -> None:
    """A line through the values there are; markers only where rounds are few."""
    pairs = [(x, y) for x, y in zip(rounds, values, strict=True) if not math.isnan(y)]
    if pairs:
        if len(rounds) > MANY_ROUNDS:
            look["marker"] = ""
        axis.plot(*zip(*pairs, strict=True), **look)


def finish_rounds(axis: Axes, title: str, rounds: Sequence[int]) -> None:
    """Title and axis of a plot over rounds."""
    axis.set_title(title)
    axis.set_xlabel("round")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if rounds:
        axis.set_xlim(min(rounds) - 0.6, max(rounds) + 0.6)
    if not axis.has_data():
        axis.text(0.5, 0.5, "no values", transform=axis.transAxes, ha="center", color=GREY)


def as_number(value: object) -> float:
    """A float; NaN for what is none."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def shorten(name: str, length: int) -> str:
    """A name of at most so many letters."""
    return name if len(name) <= length else f"{name[: length - 1].rstrip()}…"


def new_figure(
    width: float, height: float, rows: int, columns: int, title: str
) -> tuple[Figure, list[Axes]]:
    """A figure without pyplot, which keeps figures alive and is not for threads."""
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(rows, columns, squeeze=False)
    if title:
        figure.suptitle(title)
    return figure, list(axes.flat)


def save(
    figure: Figure, out: Path, header: Sequence[str], rows: Iterable[Sequence[object]]
) -> Path:
    """Write picture and CSV, each whole or not at all; gaps are empty cells."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if value is None or value != value else value for value in row])
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out.with_suffix(".csv"), text.getvalue().encode())
    write_whole(out, picture.getvalue())
    return out
