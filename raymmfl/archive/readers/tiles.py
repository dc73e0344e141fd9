"""Reader of folders of co-registered tiles (``tile_layouts.py``), cut into patches.

A place may lack a sensor, never its mask. ``places.csv`` tells region and date of a place; without
it each place is a region of its own.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.cutting import Layer, Tile, cut, label_mask, split_windows
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Format, Reading, SensorFormat, Unit
from raymmfl.archive.readers.tile_layouts import SensorLayout, TileLayout
from raymmfl.archive.store import Column, mask_column
from raymmfl.errors import ArchiveError

PLACES_FILE = "places.csv"


@dataclass(frozen=True)
class TileSource:
    """A source of tiles; each tile is a unit, divided into splits by blocks."""

    root: Path
    layout: TileLayout
    sensors: tuple[SensorLayout, ...]
    options: Options

    @property
    def format(self) -> Format:
        """What its scenes look like."""
        options, layout = self.options, self.layout
        sensors = tuple(
            SensorFormat(
                sensor.name,
                tuple(
                    Column(
                        raster.column, raster.bands, options.patch // raster.ratio, raster.dtype,
                        layout.pixel_m * raster.ratio,
                    )
                    for raster in sensor.rasters
                ),
                sensor.unit,
            )
            for sensor in self.sensors
        )  # fmt: skip
        return Format(
            layout=layout.name,
            sensors=sensors,
            labels=layout.labels,
            mask=mask_column(options.patch, layout.pixel_m),
            attributes=(),
            licence=layout.licence,
            provenance=layout.provenance,
            synthetic=layout.synthetic,
            options={
                "patch": options.patch,
                "stride": options.step,
                "min_share": options.min_share,
                "min_labelled": options.min_labelled,
                "block": options.block_side,
                "seed": options.seed,
            },
        )

    def units(self) -> list[Unit]:
        """The places, sorted by name.

        Raises:
            ArchiveError: a missing folder, a folder without GeoTIFFs, a damaged ``places.csv``.
        """
        root, layout = self.root, self.layout
        if not root.is_dir():
            raise ArchiveError(f"{root}: no such folder; give the folder that holds the rasters")
        names: set[str] = set()
        for folder in [raster.folder for sensor in self.sensors for raster in sensor.rasters]:
            if not (root / folder).is_dir():
                raise ArchiveError(
                    f"{root / folder}: no such folder; layout {layout.name} needs it (choose "
                    "other sensors or another layout)"
                )
            found = {path.stem for path in (root / folder).glob("*.tif")}
            if not found:
                raise ArchiveError(f"{root / folder}: no *.tif in it; copy the rasters there")
            names |= found
        if not (root / layout.mask_folder).is_dir():
            raise ArchiveError(
                f"{root / layout.mask_folder}: no such folder; scene labels are made from its "
                "masks"
            )
        told = _read_places(root / PLACES_FILE)
        return [told.get(name, Unit(name, "", name, "")) for name in sorted(names)]

    def tables(self) -> list[Path]:
        """``places.csv``, if there is one."""
        return [path for path in [self.root / PLACES_FILE] if path.exists()]

    def read(self, unit: Unit) -> Reading:
        """Read, check and cut one tile.

        Raises:
            ArchiveError: a raster that is damaged, not as described or not co-registered, a mask
                value in no class, a tile too small for the split.
        """
        layout, options = self.layout, self.options
        mask = geotiff.read_raster(self._path(layout.mask_folder, unit), bands=1, dtype="uint8")
        labels_HW = label_mask(mask, sorted(layout.classes), layout.ignored, layout.name)
        layers = {sensor.name: self._read(sensor, unit, mask) for sensor in self.sensors}
        layers = {name: found for name, found in layers.items() if found}
        rasters = [mask, *(layer.raster for found in layers.values() for layer in found)]
        sources = {r.path.relative_to(self.root).as_posix(): r.sha256 for r in rasters}
        tile = Tile(unit.name, unit.region, unit.date, mask, labels_HW, layers)
        windows = split_windows(mask, options, unit.name)
        return cut(tile, windows, layout.labels, options, sources)

    def _read(self, sensor: SensorLayout, unit: Unit, mask: geotiff.Raster) -> Sequence[Layer]:
        """The sensor's rasters of a place; none if the place does not have the sensor."""
        paths = [self._path(raster.folder, unit) for raster in sensor.rasters]
        if not any(path.exists() for path in paths):
            return []
        layers = []
        for layout, path in zip(sensor.rasters, paths, strict=True):
            raster = geotiff.read_raster(path, bands=len(layout.bands), dtype=layout.dtype)
            geotiff.check_registered(raster, mask, layout.ratio)
            layers.append(Layer(raster, layout.ratio, sensor.nodata))
        return layers

    def _path(self, folder: str, unit: Unit) -> Path:
        return self.root / folder / f"{unit.name}.tif"


def open_tiles(layout: TileLayout, root: Path, options: Options) -> TileSource:
    """A folder of tiles as a source.

    Raises:
        ArchiveError: an option out of range, or a sensor that the layout does not know.
    """
    sensors = layout.choose(options.sensors)
    options.check_cutting(math.lcm(*(raster.ratio for s in sensors for raster in s.rasters)))
    return TileSource(root, layout, sensors, options)


def _read_places(path: Path) -> dict[str, Unit]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path}: not a readable CSV file ({error})") from error
    places: dict[str, Unit] = {}
    for number, row in enumerate(rows, start=2):
        name, region, date = row.get("place"), row.get("region"), row.get("date")
        if not name or not region or date is None:
            raise ArchiveError(
                f"{path}, line {number}: needs the columns place,region,date with a place and a "
                f"region, found {row}"
            )
        if name in places:
            raise ArchiveError(f"{path}, line {number}: place {name} stands twice; keep one")
        places[name] = Unit(name, "", region, date)
    return places
