"""Where the windows of a large image lie: arithmetic alone, in pixels."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels, half open: rows ``top`` to ``bottom - 1``, and columns likewise."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def inside(self, outer: "Box") -> tuple[slice, slice]:
        """Where it lies in an array of the outer box."""
        return (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )

    def times(self, ratio: int) -> "Box":
        """The same ground in pixels ``ratio`` times smaller."""
        return Box(*(ratio * each for each in (self.top, self.left, self.bottom, self.right)))

    def around(self, ratio: int, margin: int, height: int, width: int) -> "Box":
        """The pixels ``ratio`` times larger that touch it, and ``margin`` of those around.

        Args:
            ratio: side of a larger pixel.
            margin: in larger pixels, clipped to the image.
            height: rows of the image in larger pixels.
            width: columns of the image in larger pixels.
        """
        return Box(
            max(0, self.top // ratio - margin),
            max(0, self.left // ratio - margin),
            min(height, -(-self.bottom // ratio) + margin),
            min(width, -(-self.right // ratio) + margin),
        )


@dataclass(frozen=True)
class Window:
    """A part of the map, and the larger part of the image that is looked at for it."""

    core: Box
    view: Box


def tile(height: int, width: int, side: int, margin: int) -> Iterator[Window]:
    """Cover an image with squares, row by row, each with a margin that ends at the image.

    The image is not padded: where a view touches its border, the network puts its own zeros,
    exactly where it does for the whole image.

    Args:
        height: rows of the image.
        width: columns of the image.
        side: of a core, a multiple of the encoder's stride; those at the far borders are cut.
        margin: on each side, a multiple of the encoder's stride.
    """
    for top in range(0, height, side):
        for left in range(0, width, side):
            core = Box(top, left, min(top + side, height), min(left + side, width))
            yield Window(core, core.around(1, margin, height, width))


def starts(length: int, patch: int) -> list[int]:
    """Where patches begin that cover a line side by side; the last one is moved to end with it.

    Args:
        length: pixels of the line, at least ``patch``.
        patch: pixels of a patch.
    """
    return [min(start, length - patch) for start in range(0, length, patch)]
