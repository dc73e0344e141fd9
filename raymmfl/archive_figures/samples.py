"""Sample scenes as every sensor and the mask see them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from numpy.typing import NDArray

from raymmfl.archive.store import IGNORED, Archive
from raymmfl.archive_figures.views import View, pictures, view_of
from raymmfl.plotting import GREY, STYLE, new_figure, save, shorten
from raymmfl.seeds import generator

MOST = 8
SIDE = 1.55  # inches of a scene
NAME_LENGTH = 22
LEGEND_LENGTH = 34
LABELS_SHOWN = 4


def choose(archive: Archive, most: int, seed: int) -> NDArray[np.int64]:
    """Scenes of as many regions as can be, those with all sensors first; rows in region order."""
    held = np.stack([archive.present(name) for name in archive.sensors]).sum(axis=0)
    order = generator(seed, "samples").permutation(len(archive))
    order = order[np.argsort(-held[order], kind="stable")]
    queues: dict[str, list[int]] = {}
    for row in order.tolist():
        queue = queues.setdefault(str(archive.regions[row]), [])
        if len(queue) < most:
            queue.append(row)
    chosen: list[int] = []
    for turn in range(most):
        chosen += [queue[turn] for queue in queues.values() if turn < len(queue)]
    return np.array(sorted(chosen[:most], key=lambda row: (archive.regions[row], row)), np.int64)


def draw_samples(
    archive: Archive, colours: Sequence[tuple[int, int, int]], out: Path, title: str, seed: int = 0
) -> Path:
    """A column per scene, a row per sensor and one for the mask; labels stand below.

    Args:
        archive: to draw from.
        colours: of the classes, in label order.
        out: path of the PNG; the CSV lists the scenes.
        title: of the picture.
        seed: of the choice.
    """
    rows = choose(archive, MOST, seed)
    views = [view_of(sensor) for sensor in archive.sensors.values()]
    masked = archive.mask is not None
    lines = len(views) + masked
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        width, height = SIDE * len(rows) + 0.4, (SIDE + 0.05) * lines + 1.0 + 0.35 * masked
        figure, axes = new_figure(width, height, lines, len(rows), title)
        grid = np.array(axes, dtype=object).reshape(lines, len(rows))
        for line, view in zip(grid, views, strict=False):
            _draw_view(archive, view, rows, line.tolist())
        if masked:
            shown = _draw_masks(archive, rows, colours, grid[-1].tolist())
            handles = [
                Patch(facecolor=_unit(colours[k]), edgecolor=GREY, lw=0.4, label=name)
                for k, name in ((k, shorten(archive.labels[k], LEGEND_LENGTH)) for k in shown)
            ]
            longest = max((len(str(handle.get_label())) for handle in handles), default=0)
            columns = max(1, int(width / (0.65 + 0.075 * longest)))
            figure.legend(handles=handles, loc="outside lower center", ncols=columns)
        for axis, row in zip(grid[0], rows.tolist(), strict=True):
            axis.set_title(_heading(archive, row), fontsize=8)
        for axis, row in zip(grid[-1], rows.tolist(), strict=True):
            axis.set_xlabel(_names(archive, row), fontsize=7.5, linespacing=1.25)
        table = (
            [
                archive.scene_ids[row], archive.splits[row], archive.regions[row],
                archive.places[row], archive.dates[row], "; ".join(_labels(archive, row)),
            ]
            for row in rows.tolist()
        )  # fmt: skip
        return save(figure, out, ["scene", "split", "region", "place", "date", "labels"], table)


def _draw_view(
    archive: Archive, view: View, rows: NDArray[np.int64], axes: Sequence[Axes]
) -> None:
    there = archive.present(view.sensor)[rows]
    images = iter(pictures(archive, view, rows[there])) if there.any() else iter(())
    for axis, has in zip(axes, there.tolist(), strict=True):
        _bare(axis)
        if has:
            image = next(images)
            one = image.shape[-1] == 1
            axis.imshow(image[..., 0] if one else image, cmap="gray", interpolation="nearest")
        else:
            axis.text(0.5, 0.5, "none", ha="center", va="center", color=GREY)
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel(view.title, fontsize=8)


def _draw_masks(
    archive: Archive,
    rows: NDArray[np.int64],
    colours: Sequence[tuple[int, int, int]],
    axes: Sequence[Axes],
) -> list[int]:
    """Draw the masks; the classes that are seen."""
    palette = np.full((IGNORED + 1, 3), 255, np.uint8)
    palette[: len(colours)] = colours
    shown: set[int] = set()
    there = set(archive.masked().tolist())
    for axis, row in zip(axes, rows.tolist(), strict=True):
        _bare(axis)
        if row in there:
            mask = archive.read_mask(np.array([row]))[0]
            shown |= set(np.unique(mask).tolist()) - {IGNORED}
            axis.imshow(palette[mask], interpolation="nearest")
    axes[0].set_ylabel("pixel labels", fontsize=8)
    return sorted(shown)


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _heading(archive: Archive, row: int) -> str:
    region, date = str(archive.regions[row]), str(archive.dates[row])
    return shorten(region, NAME_LENGTH) + (f"\n{date}" if date else "")


def _labels(archive: Archive, row: int) -> list[str]:
    return [archive.labels[number] for number in np.flatnonzero(archive.targets[row])]


def _names(archive: Archive, row: int) -> str:
    names = [shorten(name, NAME_LENGTH) for name in _labels(archive, row)]
    if len(names) > LABELS_SHOWN:
        names = [*names[: LABELS_SHOWN - 1], f"and {len(names) - LABELS_SHOWN + 1} more"]
    return "\n".join(names)


def _unit(colour: tuple[int, int, int]) -> tuple[float, float, float]:
    red, green, blue = colour
    return red / 255, green / 255, blue / 255
