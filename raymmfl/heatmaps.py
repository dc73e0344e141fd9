"""Tables of a run as heat maps, each with the numbers behind it (CSV) beside the picture (PNG)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from numpy.typing import NDArray

from raymmfl.figures import describe, sensors_title, shown_view
from raymmfl.plotting import STYLE, new_figure, save, shorten
from raymmfl.report import number_text

LARGEST = 200.0  # inches; whatever the number of clients, a picture stays below 2^16 pixels
DARK = 0.55  # of the colour scale; writing on darker cells is white


def partition(
    clients: Sequence[str],
    labels: Sequence[str],
    counts: Sequence[Sequence[int]] | NDArray[np.int64],
    out: Path,
    title: str = "",
    unit: str = "scene",
    by: str = "class",
) -> Path:
    """A heat map of client x class with the training scenes, or their pixels, in each cell.

    Args:
        clients: client names.
        labels: class names, or other values by which scenes are counted (regions, seasons).
        counts: (clients, classes); a scene with two labels counts in both columns.
        out: path of the PNG.
        title: such as :func:`raymmfl.figures.describe` gives.
        unit: what is counted.
        by: what the columns are.
    """
    table = np.asarray(counts, np.int64).reshape(len(clients), len(labels))
    texts = [[number_text(value) if value else "·" for value in row] for row in table.tolist()]
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        digits = max((len(text) for row in texts for text in row), default=1)
        cell = max(0.34, 0.085 * digits + 0.12)
        width = min(max(2.6 + cell * len(labels), 5.0), LARGEST)
        height = 2.4 + 0.05 * max(map(len, labels), default=0) + 0.25 * len(clients)
        height = min(height, LARGEST)
        heading = f"training {unit}s per client and {by}"
        figure, axes = new_figure(width, height, 1, 1, f"{title}\n{heading}" if title else heading)
        norm = PowerNorm(0.5, vmin=0, vmax=max(int(table.max(initial=0)), 1))
        _draw(axes[0], table, texts, norm, clients, labels)
        rows = ([client, *row] for client, row in zip(clients, table.tolist(), strict=True))
        return save(figure, out, ["client", *labels], rows)


def confusion(result: dict[str, Any], out: Path) -> Path:
    """Where the test split's labelled pixels of each class went, for all sensors and each alone.

    The picture shows percent of each true class; the CSV holds pixels.

    Args:
        result: content of ``result.json`` of a run that classified pixels.
        out: path of the PNG.
    """
    labels = result["labels"]
    start = f"test/{shown_view(result)}/"
    tables = {
        place.removeprefix(start): np.asarray(table, np.int64)
        for place, table in result["confusion"].items()
        if place.startswith(start)
    }
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        side = 0.9 + max(0.3 * len(labels), 1.2) + 0.055 * max(map(len, labels))
        title = (
            f"Classes of the test split's pixels, percent of the true class\n{describe(result)}"
        )
        figure, axes = new_figure(
            max(side * len(tables), 7.0), side + 0.5, 1, max(len(tables), 1), title
        )
        norm = Normalize(0, 100)
        for number, (axis, (sensors, table)) in enumerate(zip(axes, tables.items(), strict=False)):
            percent = 100 * table / np.maximum(table.sum(axis=1, keepdims=True), 1)
            texts = [[f"{value:.0f}" if value >= 0.5 else "·" for value in row] for row in percent]
            _draw(axis, percent, texts, norm, labels if number == 0 else None, labels)
            axis.set_title(sensors_title(sensors))
            axis.set_xlabel("predicted")
        axes[0].set_ylabel("true")
        rows = [
            [sensors, label, *row]
            for sensors, table in tables.items()
            for label, row in zip(labels, table.tolist(), strict=True)
        ]
        return save(figure, out, ["sensors", "true class", *labels], rows)


def _draw(
    axis: Axes,
    table: NDArray[Any],
    texts: Sequence[Sequence[str]],
    norm: Normalize,
    rows: Sequence[str] | None,
    columns: Sequence[str],
) -> None:
    """Colours, a text in each cell, and the names of rows (None: not again) and columns."""
    if table.size:
        axis.imshow(table, cmap="Blues", norm=norm, aspect="auto")
    for row, column in np.ndindex(table.shape):
        colour = "white" if norm(table[row, column]) > DARK else "black"
        text = texts[row][column]
        axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    names = [shorten(name, 40) for name in columns]
    axis.set_xticks(range(len(names)), names, rotation=50, ha="right", rotation_mode="anchor")
    if rows is None:
        axis.set_yticks([])
    else:
        axis.set_yticks(range(len(rows)), [shorten(name, 40) for name in rows])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
