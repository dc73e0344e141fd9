"""How a source is read: what the readers may be told, whatever the layout."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """Choices of the person who packs; each reader uses those that concern it.

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
