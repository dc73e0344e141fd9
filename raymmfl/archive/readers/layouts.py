"""The layouts that raymmfl reads; a new archive is one more entry of :data:`LAYOUTS`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from raymmfl.archive.readers.bigearthnet_v1 import open_bigearthnet_mm
from raymmfl.archive.readers.described import open_described
from raymmfl.archive.readers.dynamicworld import open_dynamicworld
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.reben import open_reben
from raymmfl.archive.readers.source import Source
from raymmfl.archive.readers.tile_layouts import SYNTHETIC, TERRAMESH
from raymmfl.archive.readers.tiles import open_tiles
from raymmfl.configfile import nearest
from raymmfl.errors import ArchiveError, ConfigError


@dataclass(frozen=True)
class Layout:
    """A kind of source folder.

    Attributes:
        summary: one line for people: sensors, labels, where the data come from.
        reader: makes the source of a folder; refuses options out of range.
        options: names of the :class:`Options` it reads.
    """

    summary: str
    reader: Callable[[Path, Options], Source]
    options: tuple[str, ...]

    def open(self, root: Path, options: Options) -> Source:
        """The source of a folder.

        Raises:
            ArchiveError: an option that the layout does not read, or a source that is not one.
        """
        for name, value in options.changed.items():
            if name not in self.options:
                raise ArchiveError(
                    f"{name}={value}: has no meaning in this layout ({self.summary}); "
                    f"it reads {', '.join(self.options)}"
                )
        return self.reader(root, options)


CUTTING = ("patch", "stride", "min_share", "min_labelled", "seed")
LISTED = ("sensors", "include_snow_cloud")


LAYOUTS: dict[str, Layout] = {
    "terramesh": Layout(
        "TerraMesh tiles: Sentinel-1, Sentinel-2 and elevation, land-cover masks of eight classes",
        partial(open_tiles, TERRAMESH),
        ("sensors", *CUTTING, "block"),
    ),
    "synthetic": Layout(
        "SYNTHETIC tiles of `archive synth`: Sentinel-1 and Sentinel-2, masks of ten classes",
        partial(open_tiles, SYNTHETIC),
        ("sensors", *CUTTING, "block"),
    ),
    "bigearthnet_mm": Layout(
        "BigEarthNet-MM v1.0: Sentinel-1 and Sentinel-2 patches, 19 labels, published splits",
        open_bigearthnet_mm,
        (*LISTED, "countries"),
    ),
    "reben": Layout(
        "BigEarthNet v2.0 (reBEN): Sentinel-1 and Sentinel-2 patches, 19 scene and pixel labels",
        open_reben,
        LISTED,
    ),
    "dynamicworld": Layout(
        "Dynamic World expert tiles beside your own Sentinel-1 and Sentinel-2, nine pixel labels",
        open_dynamicworld,
        ("sensors", *CUTTING),
    ),
}


def find_layout(name: str) -> Layout:
    """The layout of a name, or that which a YAML file describes (``docs/archives.md``).

    Raises:
        ConfigError: an unknown name.
    """
    if name.endswith((".yaml", ".yml")):
        reader = partial(open_described, Path(name))
        return Layout(f"described by {name}", reader, ("sensors", *CUTTING, "block"))
    if name not in LAYOUTS:
        raise ConfigError(
            f"--layout {name!r} is not known{nearest(name, list(LAYOUTS))}; choose one of "
            f"{', '.join(LAYOUTS)}, or give the path of a YAML file that describes the archive"
        )
    return LAYOUTS[name]
