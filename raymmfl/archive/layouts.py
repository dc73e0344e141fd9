"""Source folders of co-registered GeoTIFFs: which rasters, bands, units and mask values they hold.

A layout describes ``<source>/<folder>/<place>.tif``. A new archive of that kind is one more entry
in :data:`LAYOUTS`.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from raymmfl.errors import ArchiveError

PLACES_FILE = "places.csv"


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
class Layout:
    """A source folder.

    Attributes:
        name: key in :data:`LAYOUTS`.
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

    def choose(self, names: Sequence[str] | None) -> tuple[SensorLayout, ...]:
        """The sensors to pack, in the layout's order.

        Raises:
            ArchiveError: no name, or a name that the layout does not know.
        """
        wanted = self.default_sensors if names is None else tuple(names)
        known = {sensor.name for sensor in self.sensors}
        unknown = [name for name in wanted if name not in known]
        if unknown or not wanted:
            raise ArchiveError(
                f"layout {self.name}: sensors {list(wanted)}; choose from {sorted(known)}"
            )
        return tuple(sensor for sensor in self.sensors if sensor.name in wanted)


@dataclass(frozen=True)
class Place:
    """A tile of ground: the stem of its files, the region it belongs to, the date (may be "")."""

    name: str
    region: str
    date: str


def find_places(source: Path, layout: Layout, sensors: Sequence[SensorLayout]) -> list[Place]:
    """The places of a source, sorted by name; a place may lack a sensor, never its mask.

    Raises:
        ArchiveError: a missing folder, a folder without GeoTIFFs, or a damaged ``places.csv``.
    """
    if not source.is_dir():
        raise ArchiveError(f"{source}: no such folder; give the folder that holds the rasters")
    names: set[str] = set()
    for folder in [raster.folder for sensor in sensors for raster in sensor.rasters]:
        if not (source / folder).is_dir():
            raise ArchiveError(
                f"{source / folder}: no such folder; layout {layout.name} needs it (choose other "
                "sensors or another layout)"
            )
        found = {path.stem for path in (source / folder).glob("*.tif")}
        if not found:
            raise ArchiveError(f"{source / folder}: no *.tif in it; copy the rasters there")
        names |= found
    if not (source / layout.mask_folder).is_dir():
        raise ArchiveError(
            f"{source / layout.mask_folder}: no such folder; scene labels are made from its masks"
        )
    told = _read_places(source / PLACES_FILE)
    return [told.get(name, Place(name, name, "")) for name in sorted(names)]


def _read_places(path: Path) -> dict[str, Place]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path}: not a readable CSV file ({error})") from error
    places: dict[str, Place] = {}
    for number, row in enumerate(rows, start=2):
        name, region, date = row.get("place"), row.get("region"), row.get("date")
        if not name or not region or date is None:
            raise ArchiveError(
                f"{path}, line {number}: needs the columns place,region,date with a place and a "
                f"region, found {row}"
            )
        if name in places:
            raise ArchiveError(f"{path}, line {number}: place {name} stands twice; keep one")
        places[name] = Place(name, region, date)
    return places


TERRAMESH = Layout(
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

SYNTHETIC = Layout(
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

LAYOUTS: dict[str, Layout] = {"terramesh": TERRAMESH, "synthetic": SYNTHETIC}
