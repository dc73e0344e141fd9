"""The quick look at a map: a small picture with its legend, and the areas as a table."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.patches import Patch

from raymmfl.plotting import STYLE, new_figure, save, shorten

LONGEST = 1200  # pixels of the map per side, at most
INCHES = 6.0  # of the map's longer side
LEAST_INCHES = 1.5
LEGEND_INCHES, TITLE_INCHES, LINE_INCHES = 3.2, 0.6, 0.22
NAME_LENGTH = 40

Area = tuple[str, int, float | None, float]
"""Class, pixels, square kilometres (None where the map is in degrees), share of all."""


def quicklook(
    classes_HW: np.ndarray,
    colours: Sequence[tuple[int, int, int]],
    areas: Sequence[Area],
    out: Path,
    title: str,
) -> Path:
    """Draw a map beside its legend (PNG), and write the areas (CSV).

    Args:
        classes_HW: uint8; values without a colour stay white.
        colours: of the classes 0, 1, ...
        areas: of the classes, in the same order; classes without a pixel are left out of the
            legend.
        out: path of the picture.
        title: of the picture.
    """
    palette = np.full((256, 3), 255, dtype=np.uint8)
    palette[: len(colours)] = colours
    height, width = classes_HW.shape
    across = max(LEAST_INCHES, INCHES * min(1.0, width / height))
    down = max(LEAST_INCHES, INCHES * min(1.0, height / width), LINE_INCHES * len(areas))
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(across + LEGEND_INCHES, down + TITLE_INCHES, 1, 1, "")
        axis.imshow(palette[classes_HW], interpolation="nearest")
        axis.set_title(title, loc="left")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for spine in axis.spines.values():
            spine.set_visible(True)
        handles = [
            Patch(
                facecolor="#{:02x}{:02x}{:02x}".format(*colour),
                edgecolor="#404040",
                linewidth=0.5,
                label=f"{shorten(name, NAME_LENGTH)}  {share:.1%}",
            )
            for colour, (name, pixels, _, share) in zip(colours, areas, strict=True)
            if pixels
        ]
        figure.legend(handles=handles, loc="outside right upper")
        return save(figure, out, ("class", "pixels", "km2", "share"), areas)
