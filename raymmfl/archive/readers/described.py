"""Reader of archives that a person describes in a small YAML file (``description.py``).

A file is a scene of its own, or a tile that is cut as the built-in tiles are (``cutting.py``). A
scene may lack a sensor, never its mask, and never a part of a sensor. B bands, H W pixels.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.cutting import Layer, Tile, cut, has_gap, label_patch, split_windows
from raymmfl.archive.readers.described_labels import json_labels, mask_labels, read_json
from raymmfl.archive.readers.described_scenes import Details, list_units
from raymmfl.archive.readers.description import Description, SensorPart, read_description
from raymmfl.archive.readers.file_patterns import FilePattern, fill, parts_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.patch_files import SYNTHETIC_FILE
from raymmfl.archive.readers.source import Format, Reading, Scene, SensorFormat, Unit
from raymmfl.archive.splits import Rectangle, patch_windows
from raymmfl.archive.store import Column, mask_column
from raymmfl.archive.writer import file_digest
from raymmfl.errors import ArchiveError

PIXEL_TOLERANCE = 0.05  # archives round the size of their pixels


@dataclass(frozen=True)
class DescribedSource:
    """A source read by its description, the file ``told``; a unit is a scene or a tile."""

    root: Path
    format: Format
    description: Description
    options: Options
    told: Path

    @property
    def sensors(self) -> Mapping[str, SensorPart]:
        """Those that are packed."""
        return {each.name: self.description.sensors[each.name] for each in self.format.sensors}

    @property
    def _side(self) -> int:
        """Pixels per side of a scene, in pixels of the finest size."""
        column = self.format.sensors[0].columns[0]
        return column.size * round(column.pixel_m / self.description.pixel_m)

    def units(self) -> list[Unit]:
        """The scenes or tiles, sorted by id.

        Raises:
            ArchiveError: as :func:`raymmfl.archive.readers.described_scenes.list_units`.
        """
        return list_units(self.root, self.description, self.sensors, self.options, self.told)

    def tables(self) -> list[Path]:
        """The table, the split lists, and the JSON file if one holds the labels of all scenes."""
        told, labels = self.description, self.description.labels
        names = [] if told.table is None else [told.table.csv]
        names += told.split.values() if isinstance(told.split, dict) else []
        if labels.kind == "json" and labels.files and not parts_of(labels.files):
            names.append(labels.files)
        return [self.root / name for name in names]

    def read(self, unit: Unit) -> Reading:
        """Read, check and label one scene or tile.

        Raises:
            ArchiveError: a raster that is missing, damaged, not as described or on another grid, a
                label in no class, values that are not finite.
        """
        details: Details = unit.details
        if details.left_out:
            return Reading([], Counter({details.left_out: 1}))
        sources: dict[str, str] = {}
        layers: dict[str, list[Layer]] = {}
        for form in self.format.sensors:
            found = self._layers(form, details.values, sources)
            layers |= {form.name: found} if found else {}
        if not layers:
            return Reading([], Counter({"no sensor has a file": 1}))
        finest = min(
            (layer for found in layers.values() for layer in found), key=lambda x: x.ratio
        )
        grid, labels_HW = _grid(finest), np.empty((0, 0), dtype=np.uint8)
        if self.description.labels.kind == "mask":
            grid = self._mask(details.values)
            labels_HW = mask_labels(grid, self.description.labels)
            sources = {grid.path.relative_to(self.root).as_posix(): grid.sha256, **sources}
        pixel, pixel_m = abs(grid.transform.a), self.description.pixel_m
        if grid.crs.is_projected and abs(pixel / pixel_m - 1) > PIXEL_TOLERANCE:
            raise ArchiveError(
                f"{grid.path}: pixels of {pixel:g} m on the finest grid, described as "
                f"{pixel_m:g} m; correct pixel_m or the sizes of the bands"
            )
        for layer in (layer for found in layers.values() for layer in found):
            geotiff.check_registered(layer.raster, grid, layer.ratio)
        tile = Tile(unit.name, unit.region, unit.date, grid, labels_HW, layers, details.attributes)
        if self.description.patch == "cut":
            return self._cut(tile, unit, sources)
        return self._whole(tile, unit, sources)

    def _layers(
        self, form: SensorFormat, values: Mapping[str, str], sources: dict[str, str]
    ) -> list[Layer]:
        """The rasters of a sensor in column order; none if it has no file of this scene."""
        sensor = self.description.sensors[form.name]
        paths = {
            column.name: [
                FilePattern(sensor.files).path(
                    self.root, {**values, "band": band, "pixel_m": f"{column.pixel_m:g}"}
                )
                for band in (column.bands if "band" in parts_of(sensor.files) else [""])
            ]
            for column in form.columns
        }
        if not any(path.exists() for files in paths.values() for path in files):
            return []
        layers = []
        for column in form.columns:
            files = paths[column.name]
            rasters = [
                geotiff.read_raster(
                    path, bands=len(column.bands) // len(files), dtype=column.dtype
                )
                for path in files
            ]
            for raster in rasters:
                geotiff.check_registered(raster, rasters[0], 1)
                sources[raster.path.relative_to(self.root).as_posix()] = raster.sha256
            if len(files) == 1:
                geotiff.check_band_order(rasters[0], column.bands)
            data_BHW = np.concatenate([raster.data_BHW for raster in rasters])
            ratio = round(column.pixel_m / self.description.pixel_m)
            layers.append(Layer(replace(rasters[0], data_BHW=data_BHW), ratio, sensor.nodata))
        return layers

    def _mask(self, values: Mapping[str, str]) -> geotiff.Raster:
        labels = self.description.labels
        assert labels.files is not None
        path = FilePattern(labels.files).path(self.root, values)
        header = geotiff.read_header(path)
        return geotiff.read_raster(path, bands=header.bands, dtype=header.dtype)

    def _cut(self, tile: Tile, unit: Unit, sources: Mapping[str, str]) -> Reading:
        options, whole = self.options, Rectangle(0, 0, *tile.mask.shape)
        if self.description.split == "spatial":
            windows = list(split_windows(tile.mask, options, unit.name))
        else:
            corners = patch_windows(whole, options.patch, options.step).tolist()
            windows = [(unit.split, top, left) for top, left in corners]
        if not windows:
            raise ArchiveError(
                f"{tile.mask.path}: {whole.height}x{whole.width} pixels hold no patch of "
                f"{options.patch}; use smaller patches"
            )
        reading = cut(
            tile, windows, self.format.labels, options, sources,
            sparse=self.description.labels.sparse, gaps=True,
        )  # fmt: skip
        scenes = [replace(scene, place=unit.details.place) for scene in reading.scenes]
        return Reading(scenes, reading.left_out)

    def _whole(self, tile: Tile, unit: Unit, sources: dict[str, str]) -> Reading:
        grid, side = tile.mask, self._side
        if grid.shape != (side, side):
            raise ArchiveError(
                f"{grid.path}: covers {grid.shape[0]}x{grid.shape[1]} pixels of "
                f"{self.description.pixel_m:g} m, the first scene {side}x{side}; whole scenes are "
                "of one size: cut the files to it, or use patch: cut"
            )
        left_out: Counter[str] = Counter()
        sensors = {}
        for name, layers in tile.layers.items():
            if any(has_gap(layer, 0, 0, side) for layer in layers):
                left_out[f"{unit.split}: {name} with a pixel without data"] += 1
            else:
                sensors[name] = layers
        labels, reason = self._scene_labels(tile, unit, sources)
        reason = reason or ("" if sensors else "no sensor has data")
        if reason:
            left_out[f"{unit.split}: {reason}"] += 1
            return Reading([], left_out)
        x, y = grid.position(side / 2, side / 2)
        lon, lat = geotiff.longitude_latitude(grid.crs, [x], [y])[:, 0].tolist()
        scene = Scene(
            scene_id=unit.name, split=unit.split, labels=labels, region=unit.region,
            place=unit.details.place, date=unit.date, lon=lon, lat=lat,
            epsg=grid.crs.to_epsg() or 0, transform=tuple(grid.transform)[:6],
            images={
                name: tuple(
                    geotiff.check_window(
                        layer.raster, (0, 0, side // layer.ratio), layer.nodata
                    )
                    for layer in layers
                )
                for name, layers in sensors.items()
            },
            mask=tile.labels_HW if self.format.mask is not None else None,
            sources=sources, attributes=tile.attributes,
        )  # fmt: skip
        return Reading([scene], left_out)

    def _scene_labels(
        self, tile: Tile, unit: Unit, sources: dict[str, str]
    ) -> tuple[tuple[str, ...], str]:
        """Labels of a whole scene, and why it is left out ("" if it is not); notes their file."""
        described, details = self.description.labels, unit.details
        if described.kind == "mask":
            return label_patch(
                tile.labels_HW, self.format.labels, self.options, sparse=described.sparse
            )
        labels = details.labels
        if labels is None:
            assert described.files is not None and described.key is not None
            path = self.root / fill(described.files, details.values)
            key = fill(described.key, details.values)
            labels = json_labels(read_json(path), key, described, self.options.min_share, path)
            sources[path.relative_to(self.root).as_posix()] = file_digest(path)
        return labels, "" if labels else "no label"


def open_described(path: Path, root: Path, options: Options) -> DescribedSource:
    """An archive as its description says.

    Args:
        path: the YAML file.
        root: the archive's folder.
        options: ``patch``, ``stride`` and ``block`` count where tiles are cut.

    Raises:
        ArchiveError: a description that is damaged or contradicts itself, an option out of range,
            a sensor that it does not know, or a first file that is not there.
    """
    description = read_description(path)
    if not root.is_dir():
        raise ArchiveError(f"{root}: no such folder; give the folder that holds the archive")
    unknown = [name for name in options.sensors if name not in description.sensors]
    if unknown:
        raise ArchiveError(
            f"{path}: sensors {list(options.sensors)}; choose from {list(description.sensors)}"
        )
    sensors = {
        name: sensor
        for name, sensor in description.sensors.items()
        if not options.sensors or name in options.sensors
    }
    ratios = [
        round(size / description.pixel_m)
        for sensor in sensors.values()
        for size in sensor.by_size(description.pixel_m)
    ]
    cutting = description.patch == "cut"
    options.check_cutting(math.lcm(*ratios) if cutting else 1)
    side = options.patch if cutting else _first_side(root, description, sensors)
    told: dict[str, Any] = {
        "description": path.name,
        "description_sha256": file_digest(path),
        "min_share": options.min_share,
        "min_labelled": options.min_labelled,
        "seed": options.seed,
    }
    if cutting:
        told |= {"patch": side, "stride": options.step, "block": options.block_side}
    form = Format(
        layout=description.name,
        sensors=tuple(
            SensorFormat(
                name,
                tuple(
                    Column(
                        f"{size:g}m", bands, side // round(size / description.pixel_m),
                        sensor.dtype, size,
                    )
                    for size, bands in sensor.by_size(description.pixel_m).items()
                ),
                sensor.unit,
            )
            for name, sensor in sensors.items()
        ),
        labels=description.labels.labels,
        mask=mask_column(side, description.pixel_m) if description.labels.kind == "mask" else None,
        attributes=tuple(description.attributes),
        licence=description.licence,
        provenance=description.provenance,
        synthetic=description.synthetic or (root / SYNTHETIC_FILE).exists(),
        options=told,
    )  # fmt: skip
    return DescribedSource(root, form, description, options, path)


def _first_side(root: Path, description: Description, sensors: Mapping[str, SensorPart]) -> int:
    """Pixels per side of the first scene, in pixels of the finest size."""
    name, sensor = next(iter(sensors.items()))
    size, bands = next(iter(sensor.by_size(description.pixel_m).items()))
    pattern = FilePattern(sensor.files).narrowed({"band": bands[0], "pixel_m": f"{size:g}"})
    found = pattern.find(root)
    if not found:
        raise ArchiveError(
            f"{root}: no file is named as {sensor.files}; correct sensors.{name}.files, or copy "
            "the files"
        )
    path = pattern.path(root, found[0])
    header = geotiff.read_header(path)
    side = header.width * round(size / description.pixel_m)
    ratios = [
        round(size / description.pixel_m)
        for sensor in sensors.values()
        for size in sensor.by_size(description.pixel_m)
    ]
    if header.width != header.height or side % math.lcm(*ratios):
        raise ArchiveError(
            f"{path}: {header.height}x{header.width} pixels of {size:g} m; a whole scene must be "
            "square and hold whole pixels of every size: use patch: cut"
        )
    return side


def _grid(layer: Layer) -> geotiff.Raster:
    """A raster without bands on the finest grid under a layer."""
    r, ratio = layer.raster, layer.ratio
    height, width = r.shape
    return replace(
        r,
        data_BHW=np.empty((0, height * ratio, width * ratio), dtype=np.uint8),
        transform=r.transform @ r.transform.scale(1 / ratio),
    )
