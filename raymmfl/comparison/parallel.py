"""Parallel coordinates: every training as a line through its settings to its score."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from raymmfl.comparison.entries import Comparison
from raymmfl.comparison.scales import Scale, numbers, setting
from raymmfl.plotting import GREY, LIGHT, STYLE, new_figure, save, shorten

PALEST = 0.15  # of the map, whose very end is a yellow too light to see
MAP = "viridis_r"  # even steps, also for colour-blind readers and in grey print; dark is best


def parallel_coordinates(comparison: Comparison, out: Path) -> Path | None:
    """The picture, with its numbers beside it; None if no setting differs."""
    scored = [entry for entry in comparison.entries if entry.last(comparison.metric) is not None]
    keys = comparison.keys
    if len(scored) < 2 or not keys:
        return None
    scores = [entry.last(comparison.metric) or 0.0 for entry in scored]
    columns = [setting([entry.settings.get(key) for entry in scored]) for key in keys]
    columns.append(numbers(scores))
    ended = [s for s, e in zip(scores, scored, strict=True) if e.status == "finished"] or scores
    low, high = min(ended), max(ended)
    if low == high:  # a single one is the best, too
        low, high = (low - 1, high) if comparison.more_is_better else (low, high + 1)
    norm = Normalize(low, high) if comparison.more_is_better else Normalize(high, low)
    order = sorted(
        range(len(scored)),
        key=lambda i: (scored[i].status == "finished", norm(scores[i])),
    )  # the best on top
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, (axis,) = new_figure(max(6, 1.7 * len(columns)), 4.6, 1, 1, comparison.heading)
        colours = mpl.colormaps[MAP]
        for i in order:
            whole = scored[i].status == "finished"
            axis.plot(
                range(len(columns)),
                [column.places[i] for column in columns],
                color=colours(PALEST + (1 - PALEST) * norm(scores[i])) if whole else LIGHT,
                linewidth=1.8 if whole else 0.9,
                linestyle="-" if whole else ":",
                alpha=0.9,
            )
        for place, (name, column) in enumerate(
            zip([*keys, comparison.metric], columns, strict=True)
        ):
            _axis(axis, place, name, column)
        axis.set_xlim(-0.3, len(columns) - 0.45)
        axis.set_ylim(-0.02, 1.14)
        axis.axis("off")
        if any(entry.status == "pruned" for entry in scored):
            axis.text(-0.3, -0.08, "dotted: stopped early", color=GREY, fontsize=8)
        header = ["training", "status", *keys, comparison.metric]
        rows = [[e.name, e.status, *(e.settings.get(k) for k in keys), s]
                for e, s in zip(scored, scores, strict=True)]  # fmt: skip
        return save(figure, out, header, rows)


def _axis(axis: Axes, place: int, name: str, column: Scale) -> None:
    axis.plot([place, place], [0, 1], color="#404040", linewidth=1.0)
    last = "/" in name
    title = name.replace("/", "/\n", 1) if last else name.replace(".", ".\n", 1)
    axis.text(place, 1.03, title, ha="center", va="bottom", fontsize=8.5,
              fontweight="bold" if last else "normal")  # fmt: skip
    for height, text in zip(column.ticks, column.names, strict=True):
        axis.plot([place - 0.015, place + 0.015], [height, height], color="#404040", linewidth=1)
        axis.text(place + 0.03, height, shorten(text, 18), fontsize=7.5, va="center",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip
