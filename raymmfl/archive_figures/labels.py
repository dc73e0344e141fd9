"""How often each class occurs, per split."""

from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
import numpy as np

from raymmfl.archive.splits import SPLITS
from raymmfl.archive.store import Archive
from raymmfl.archive.summary import label_counts
from raymmfl.plotting import COLOURS, MARKERS, STYLE, new_figure, save, shorten

NAME_LENGTH = 48
LINE_LENGTH = 110


def draw_labels(archive: Archive, out: Path, title: str) -> Path:
    """Scenes with each class per split, as counts and as shares of the split.

    Args:
        archive: to draw.
        out: path of the PNG; counts go to the CSV.
        title: of the picture.
    """
    counts = label_counts(archive)
    total = archive.targets.sum(axis=0, dtype=np.int64)
    everything = np.argsort(-total, kind="stable").tolist()
    order = [k for k in everything if total[k]]
    absent = [archive.labels[k] for k in everything if not total[k]]
    title += "\nscenes with each class"
    if absent:
        title += "\n" + "\n".join(wrap(f"no scene has {'; '.join(absent)}", LINE_LENGTH))
    splits = [split for split in SPLITS if (archive.splits == split).any()]
    with mpl.rc_context(STYLE):
        height = (
            1.5 + 0.18 * (title.count("\n") - 1) + (0.1 + 0.1 * len(splits)) * max(len(order), 4)
        )
        figure, axes = new_figure(10.5, height, 1, 2, title)
        left, right = axes
        thickness = 0.8 / max(len(splits), 1)
        for number, split in enumerate(splits):
            values = counts[split][order]
            places = np.arange(len(order)) - 0.4 + thickness * (number + 0.5)
            scenes = int((archive.splits == split).sum())
            bars = left.barh(
                places, values, 0.9 * thickness, color=COLOURS[number],
                label=f"{split} ({scenes:,} scenes)",
            )  # fmt: skip
            left.bar_label(bars, [f"{value:,}" for value in values], fontsize=6.5, padding=2)
            right.plot(
                100 * values / scenes, range(len(order)), MARKERS[number], color=COLOURS[number],
                markersize=5, alpha=0.9, clip_on=False,
            )  # fmt: skip
        shares = np.stack([100 * counts[s][order] / (archive.splits == s).sum() for s in splits])
        right.hlines(
            range(len(order)), shares.min(axis=0), shares.max(axis=0), color="#BBBBBB", zorder=1
        )
        left.set_yticks(
            range(len(order)), [shorten(archive.labels[k], NAME_LENGTH) for k in order]
        )
        right.set_yticks(range(len(order)), [])
        for axis, name in ((left, "scenes"), (right, "percent of the split's scenes")):
            axis.set_ylim(len(order) - 0.4, -0.6)
            axis.set_xlabel(name)
            axis.tick_params(axis="y", length=0)
        left.set_xlim(0, 1.12 * max(max(counts[split]) for split in splits))
        right.set_xlim(left=0)
        left.grid(visible=False, axis="y")
        figure.legend(loc="outside lower center", ncols=max(len(splits), 1))
        rows = ([archive.labels[k], *(int(counts[s][k]) for s in SPLITS)] for k in everything)
        return save(figure, out, ["class", *SPLITS], rows)
