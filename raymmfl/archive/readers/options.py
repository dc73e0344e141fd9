"""How a source is read: what the readers may be told, whatever the layout."""

from dataclasses import dataclass, fields
from pathlib import Path

from raymmfl.errors import ArchiveError

LARGEST_PATCH = 4096


@dataclass(frozen=True)
class Options:
    """Choices of the person who packs; a layout refuses those that it does not read.

    Sizes are in pixels of the finest raster.

    Attributes:
        patch: side of a patch cut from a tile.
        stride: step between patches; None for the patch (no overlap).
        min_share: share of a patch's pixels a class must cover to be one of its labels, (0, 1].
        min_labelled: share of labelled pixels below which a patch is left out.
        block: side of a block of the spatial split of a tile; None for the patch.
        seed: of the spatial split.
        sensors: names to pack; empty for the layout's own choice.
        include_snow_cloud: also pack patches listed as covered by snow, cloud or shadow.
        countries: file that tells the country of each patch, where the archive itself does not.
    """

    patch: int = 32
    stride: int | None = None
    min_share: float = 0.1
    min_labelled: float = 0.5
    block: int | None = None
    seed: int = 0
    sensors: tuple[str, ...] = ()
    include_snow_cloud: bool = False
    countries: Path | None = None

    @property
    def changed(self) -> dict[str, object]:
        """The choices that are not the defaults, by name."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in told.items() if value != getattr(Options, name)}

    @property
    def step(self) -> int:
        """Pixels from patch to patch."""
        return self.patch if self.stride is None else self.stride

    @property
    def block_side(self) -> int:
        """Side of a block of the spatial split."""
        return self.patch if self.block is None else self.block

    def check_cutting(self, multiple: int) -> None:
        """Check what a reader that cuts patches out of tiles needs.

        Args:
            multiple: least common multiple of the pixel sides, in pixels of the finest raster.

        Raises:
            ArchiveError: a size that would cut through a coarser pixel, or a share out of range.
        """
        for name, size in (
            ("patch", self.patch), ("stride", self.step), ("block", self.block_side)
        ):  # fmt: skip
            if size < 1 or size % multiple:
                raise ArchiveError(
                    f"{name}={size}: must be a positive multiple of {multiple}, so that the "
                    "windows of coarser bands begin and end on whole pixels"
                )
        if self.patch > LARGEST_PATCH:
            raise ArchiveError(
                f"patch={self.patch}: at most {LARGEST_PATCH} pixels; scenes are patches"
            )
        for name, share in (("min_share", self.min_share), ("min_labelled", self.min_labelled)):
            if not 0 < share <= 1:
                raise ArchiveError(f"{name}={share}: must be above 0 and at most 1")
