"""Folders of co-registered tiles: which rasters, bands, units and mask values they hold.

A layout describes ``<source>/<folder>/<place>.tif``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from raymmfl.errors import ArchiveError


@dataclass(frozen=True)
class RasterLayout:
    """One GeoTIFF per place: a column of the packed archive.

    Attributes:
        column: name of the column, by native pixel size ("10m").
        folder: folder of the rasters in the source.
        bands: band names in file order.
        dtype: NumPy dtype name of the file.
        ratio: pixel side over the mask's pixel side (1, or 2 for 20 m beside 10 m).
    """

    column: str
    folder: str
    bands: tuple[str, ...]
    dtype: str
    ratio: int = 1


@dataclass(frozen=True)
class SensorLayout:
    """A sensor: its rasters, the unit of their values, and the value that means no data."""

    name: str
    rasters: tuple[RasterLayout, ...]
    unit: str
    nodata: float | None = None


@dataclass(frozen=True)
class TileLayout:
    """A source folder.

    Attributes:
        name: key in :data:`raymmfl.archive.readers.layouts.LAYOUTS`.
        sensors: all sensors the source may hold.
        default_sensors: those packed unless asked otherwise.
        mask_folder: one-band uint8 rasters of class values at the finest pixel size.
        classes: mask value -> class name; label order is the order of the values.
        ignored: mask values that are no class (missing, cloud).
        pixel_m: side of the mask's pixel in metres.
        licence: of the data.
        provenance: where the data come from.
        synthetic: no satellite took these pixels.
    """

    name: str
    sensors: tuple[SensorLayout, ...]
    default_sensors: tuple[str, ...]
    mask_folder: str
    classes: Mapping[int, str]
    ignored: tuple[int, ...]
    pixel_m: float
    licence: str
    provenance: str
    synthetic: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in label order."""
        return tuple(self.classes[value] for value in sorted(self.classes))

    def choose(self, names: Sequence[str]) -> tuple[SensorLayout, ...]:
        """The sensors to pack, in the layout's order; none named is the layout's own choice.

        Raises:
            ArchiveError: a name that the layout does not know.
        """
        wanted = tuple(names) or self.default_sensors
        known = {sensor.name for sensor in self.sensors}
        if set(wanted) - known:
            raise ArchiveError(
                f"layout {self.name}: sensors {list(wanted)}; choose from {sorted(known)}"
            )
        return tuple(sensor for sensor in self.sensors if sensor.name in wanted)


TERRAMESH = TileLayout(
    name="terramesh",
    sensors=(
        SensorLayout("S1", (RasterLayout("10m", "S1RTC", ("VV", "VH"), "float64"),), "dB"),
        SensorLayout(
            "S2",
            (
                RasterLayout(
                    "10m",
                    "S2L2A",
                    ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11",
                     "B12"),
                    "int16",
                ),
            ),
            "reflectance x 10000",
            nodata=0,
        ),
        SensorLayout("DEM", (RasterLayout("10m", "DEM", ("DEM",), "int16"),), "m"),
    ),
    default_sensors=("S1", "S2"),
    mask_folder="LULC",
    classes={
        1: "water", 2: "trees", 3: "flooded vegetation", 4: "crops", 5: "built", 6: "bare",
        7: "snow/ice", 9: "rangeland",
    },
    ignored=(0, 8),
    pixel_m=10.0,
    licence="CC-BY-SA-4.0",
    provenance=(
        "TerraMesh (IBM and ESA), example tiles of github.com/IBM/terramind; contains modified "
        "Copernicus Sentinel data. Labels are a land-cover product, not experts'."
    ),
)  # fmt: skip

SYNTHETIC_CLASSES: Mapping[int, str] = {
    1: "water",
    2: "broad-leaved forest",
    3: "coniferous forest",
    4: "arable land",
    5: "pasture",
    6: "built-up",
    7: "bare ground",
    8: "wetland",
    9: "flooded crops",
    10: "shrub",
}

SYNTHETIC = TileLayout(
    name="synthetic",
    sensors=(
        SensorLayout("S1", (RasterLayout("10m", "S1", ("VV", "VH"), "float32"),), "dB"),
        SensorLayout(
            "S2",
            (
                RasterLayout("10m", "S2_10m", ("B02", "B03", "B04", "B08"), "uint16"),
                RasterLayout(
                    "20m", "S2_20m", ("B05", "B06", "B07", "B8A", "B11", "B12"), "uint16", ratio=2
                ),
            ),
            "reflectance x 10000",
            nodata=0,
        ),
    ),
    default_sensors=("S1", "S2"),
    mask_folder="LULC",
    classes=SYNTHETIC_CLASSES,
    ignored=(0,),
    pixel_m=10.0,
    licence="CC0-1.0",
    provenance="SYNTHETIC: drawn by raymmfl.archive.synthetic; no satellite took these pixels.",
    synthetic=True,
)
