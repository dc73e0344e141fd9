"""Spatial splits of a tile: a strip along one side is held back, with a gap before train.

```
T T T T T     T train, V validation, . dropped, E test: a 5x5 grid of blocks, south side held back
T T T T T
T T T T T
. . . . .
V V . E E
```
No validation or test block touches a train block, not even at a corner, so neighbouring pixels
never stand on both sides of a score (Roberts et al., Ecography 2017, on spatial block
cross-validation).
"""

from dataclasses import dataclass

import numpy as np

from raymmfl.errors import ArchiveError
from raymmfl.seeds import generator

SPLITS = ("train", "val", "test")
SMALLEST_GRID = 5
HELD_BACK_SHARE = 0.25


@dataclass(frozen=True)
class Rectangle:
    """Part of a tile: top row, left column, height and width, in blocks or in pixels."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, factor: int) -> "Rectangle":
        """The same ground in units ``factor`` times smaller."""
        return Rectangle(
            self.top * factor, self.left * factor, self.height * factor, self.width * factor
        )


def split_blocks(rows: int, columns: int, seed: int, place: str) -> dict[str, Rectangle]:
    """Divide a grid of blocks into one train, one validation and one test rectangle.

    The side held back and the end of the strip that is the test are drawn per place.

    Args:
        rows: blocks from north to south, at least 5.
        columns: blocks from west to east, at least 5.
        seed: the archive's seed.
        place: name of the tile.

    Returns:
        Split name -> rectangle in blocks; together with the gap they fill the grid.

    Raises:
        ArchiveError: a grid smaller than 5x5.
    """
    if min(rows, columns) < SMALLEST_GRID:
        raise ArchiveError(
            f"{place}: a grid of {rows}x{columns} blocks is too small for a spatial split; at "
            f"least {SMALLEST_GRID}x{SMALLEST_GRID}: use smaller patches or larger tiles"
        )
    random = generator(seed, "split", place)
    side, test_first = int(random.integers(4)), bool(random.integers(2))
    # Work as if the north side were held back of a grid (across x along); then put it in place.
    across, along = (rows, columns) if side in (0, 2) else (columns, rows)
    strip = max(1, round(across * HELD_BACK_SHARE))
    first = (along - 1) // 2
    parts = {
        "train": (strip + 1, 0, across - strip - 1, along),
        "test" if test_first else "val": (0, 0, strip, first),
        "val" if test_first else "test": (0, first + 1, strip, along - first - 1),
    }
    rectangles = {}
    for name in SPLITS:
        start, offset, depth, length = parts[name]
        if side in (2, 3):  # south or east: count from the other side
            start = across - start - depth
        rectangles[name] = (
            Rectangle(start, offset, depth, length)
            if side in (0, 2)
            else Rectangle(offset, start, length, depth)
        )
    return rectangles


def patch_windows(area: Rectangle, patch: int, stride: int) -> np.ndarray:
    """Top-left corners (n, 2) of the square patches wholly inside an area, in pixels, row by row.

    A stride below the patch size gives overlapping patches; as all lie inside the one area, they
    overlap with their own split alone.
    """
    tops = np.arange(area.top, area.top + area.height - patch + 1, stride)
    lefts = np.arange(area.left, area.left + area.width - patch + 1, stride)
    grid = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1)
    return grid.reshape(-1, 2).astype(np.int64)
