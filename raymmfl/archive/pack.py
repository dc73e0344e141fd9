"""Packing: a folder of co-registered GeoTIFFs is checked, cut, split and written once.

B bands, H W pixels.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raymmfl.archive import geotiff
from raymmfl.archive.layouts import Layout, Place, SensorLayout, find_places
from raymmfl.archive.splits import SPLITS, patch_windows, split_blocks
from raymmfl.archive.store import FORMAT_VERSION, IGNORED, MASK, SCENES_FILE, Archive, Column
from raymmfl.archive.store import mask_column as make_mask_column
from raymmfl.archive.tables import write_table
from raymmfl.archive.writer import TensorFile, whole_folder, write_index
from raymmfl.errors import ArchiveError

STATISTICS = (
    "mean and population standard deviation per band over every pixel of the train patches of all "
    "regions, in float64; no validation or test pixel; a constant band has deviation 1"
)


@dataclass(frozen=True)
class Options:
    """How a source is cut; all sizes in pixels of the finest raster.

    Attributes:
        patch: side of a patch.
        stride: step between patches.
        min_share: share of a patch's pixels a class must cover to be one of its labels.
        seed: of the spatial split.
        block: side of a block of the split.
        min_labelled: share of labelled pixels below which a patch is left out.
    """

    patch: int
    stride: int
    min_share: float
    seed: int
    block: int
    min_labelled: float


def pack(
    source: Path,
    out: Path,
    layout: Layout,
    *,
    patch: int,
    stride: int | None = None,
    min_share: float = 0.1,
    sensors: Sequence[str] | None = None,
    seed: int = 0,
    block: int | None = None,
    min_labelled: float = 0.5,
    progress: Callable[[int, int], None] | None = None,
) -> Archive:
    """Pack a source folder into an archive; on any error nothing is left behind.

    Args:
        source: folder described by ``layout``; only read.
        out: the archive's folder; must not exist.
        layout: one of :data:`raymmfl.archive.layouts.LAYOUTS`, or your own.
        patch: side of a patch in pixels of the finest raster.
        stride: step between patches (default: the patch).
        min_share: share of its pixels a class must cover to label a patch, in (0, 1].
        sensors: names to pack (default: the layout's own choice).
        seed: of the spatial split.
        block: side of a block of the spatial split (default: the patch).
        min_labelled: share of labelled pixels below which a patch is left out.
        progress: called with (places done, places in all).

    Returns:
        The new archive, opened.

    Raises:
        ArchiveError: an existing ``out``, an argument out of range, or a source that is missing,
            damaged or contradictory, naming the file.
    """
    source, out = Path(source), Path(out)
    options = Options(
        patch, patch if stride is None else stride, min_share, seed,
        patch if block is None else block, min_labelled,
    )  # fmt: skip
    chosen = layout.choose(sensors)
    _check_options(options, chosen)
    with whole_folder(out) as folder, geotiff.environment():
        places = find_places(source, layout, chosen)
        packing = _Packing(folder, source, layout, chosen, options)
        for done, place in enumerate(places, start=1):
            packing.add(place)
            if progress is not None:
                progress(done, len(places))
        packing.finish()
    return Archive.open(out)


def _check_options(options: Options, sensors: Sequence[SensorLayout]) -> None:
    coarsest = math.lcm(*(raster.ratio for sensor in sensors for raster in sensor.rasters))
    for name in ("patch", "stride", "block"):
        value = getattr(options, name)
        if value < 1 or value % coarsest:
            raise ArchiveError(
                f"{name}={value}: must be a positive multiple of {coarsest}, so that the windows "
                "of coarser bands begin and end on whole pixels"
            )
    for name in ("min_share", "min_labelled"):
        value = getattr(options, name)
        if not 0 < value <= 1:
            raise ArchiveError(f"{name}={value}: must be above 0 and at most 1")


class _Packing:
    """The files being written and what has been counted so far."""

    def __init__(
        self,
        folder: Path,
        source: Path,
        layout: Layout,
        sensors: Sequence[SensorLayout],
        options: Options,
    ) -> None:
        self.folder, self.source, self.layout = folder, source, layout
        self.sensors, self.options = sensors, options
        self.columns = {
            sensor.name: [
                Column(
                    raster.column, raster.bands, options.patch // raster.ratio, raster.dtype,
                    layout.pixel_m * raster.ratio,
                )
                for raster in sensor.rasters
            ]
            for sensor in sensors
        }  # fmt: skip
        self.mask_column = make_mask_column(options.patch, layout.pixel_m)
        self.files = {
            name: TensorFile(folder / f"{name}.arrow", columns)
            for name, columns in [*self.columns.items(), (MASK, [self.mask_column])]
        }
        self.moments = {
            sensor.name: _Moments(sum(len(raster.bands) for raster in sensor.rasters))
            for sensor in sensors
        }
        self.scenes: list[dict[str, Any]] = []
        self.left_out: Counter[str] = Counter()
        # GeoTIFF classes as label numbers: a table of 256, -1 where the value is unknown.
        self.lookup = np.full(256, -1, dtype=np.int16)
        self.lookup[list(layout.ignored)] = IGNORED
        self.lookup[sorted(layout.classes)] = np.arange(len(layout.classes))

    def add(self, place: Place) -> None:
        """Read, check, cut and write one place."""
        mask = geotiff.read_raster(
            self.source / self.layout.mask_folder / f"{place.name}.tif", bands=1, dtype="uint8"
        )
        classes = self._classes(mask)
        rasters = {sensor.name: self._read(sensor, place, mask) for sensor in self.sensors}
        rasters = {name: found for name, found in rasters.items() if found}
        sources = [
            {"path": raster.path.relative_to(self.source).as_posix(), "sha256": raster.sha256}
            for raster in [mask, *(raster for found in rasters.values() for raster in found)]
        ]
        block, height, width = self.options.block, *mask.shape
        areas = split_blocks(height // block, width // block, self.options.seed, place.name)
        for split in SPLITS:
            area = areas[split].scaled(block)
            windows = patch_windows(area, self.options.patch, self.options.stride)
            if not len(windows):
                raise ArchiveError(
                    f"{mask.path}: no patch of {self.options.patch} pixels fits into the {split} "
                    f"area of {area.height}x{area.width} pixels; use larger blocks"
                )
            for top, left in windows.tolist():
                self._add_patch(place, split, (top, left), classes, mask, rasters, sources)

    def finish(self) -> None:
        """Write the scene table and the index.

        Raises:
            ArchiveError: no train scene, in all or of a sensor.
        """
        for file in self.files.values():
            file.close()
        if not any(scene["split"] == "train" for scene in self.scenes):
            raise ArchiveError(
                f"{self.source}: no train patch has a label; left out: {dict(self.left_out)}; "
                "lower min_share or check the masks"
            )
        names = list(self.scenes[0])
        columns = {name: [scene[name] for scene in self.scenes] for name in names}
        write_table(self.folder / SCENES_FILE, columns)
        write_index(self.folder, self._index())

    def _read(
        self, sensor: SensorLayout, place: Place, mask: geotiff.Raster
    ) -> list[geotiff.Raster]:
        """The sensor's rasters of a place; none if the place does not have the sensor."""
        paths = [self.source / r.folder / f"{place.name}.tif" for r in sensor.rasters]
        if not any(path.exists() for path in paths):
            return []
        found = []
        for path, raster in zip(paths, sensor.rasters, strict=True):
            data = geotiff.read_raster(path, bands=len(raster.bands), dtype=raster.dtype)
            geotiff.check_registered(data, mask, raster.ratio)
            found.append(data)
        return found

    def _classes(self, mask: geotiff.Raster) -> np.ndarray:
        """The mask as label numbers, uint8 (H, W), 255 ignored."""
        classes = self.lookup[mask.data_BHW[0]]
        if (classes < 0).any():
            unknown = np.unique(mask.data_BHW[0][classes < 0]).tolist()
            known = sorted([*self.layout.classes, *self.layout.ignored])
            raise ArchiveError(
                f"{mask.path}: values {unknown} are in no class of layout {self.layout.name}, "
                f"which knows {known}; correct the mask or the layout"
            )
        labels_HW: np.ndarray = classes.astype(np.uint8)
        return labels_HW

    def _add_patch(
        self,
        place: Place,
        split: str,
        corner: tuple[int, int],
        classes: np.ndarray,
        mask: geotiff.Raster,
        rasters: Mapping[str, Sequence[geotiff.Raster]],
        sources: Sequence[Mapping[str, str]],
    ) -> None:
        patch, (top, left) = self.options.patch, corner
        window = np.ascontiguousarray(classes[top : top + patch, left : left + patch])
        counts = np.bincount(window.ravel(), minlength=IGNORED + 1)[: len(self.layout.labels)]
        if counts.sum() < self.options.min_labelled * patch * patch:
            self.left_out[f"{split}: too few labelled pixels"] += 1
            return
        labels = [
            label
            for label, count in zip(self.layout.labels, counts.tolist(), strict=True)
            if count >= self.options.min_share * patch * patch
        ]
        if not labels:
            self.left_out[f"{split}: no class covers enough"] += 1
            return
        corner_x, corner_y = mask.position(left, top)
        x, y = mask.position(left + patch / 2, top + patch / 2)
        longitude, latitude = geotiff.longitude_latitude(mask.crs, [x], [y])[:, 0].tolist()
        t = mask.transform
        scene: dict[str, Any] = {
            "scene_id": f"{place.name}_r{top:04d}_c{left:04d}",
            "split": split,
            "labels": labels,
            "region": place.region,
            "place": place.name,
            "date": place.date,
            "lon": longitude,
            "lat": latitude,
            "epsg": mask.crs.to_epsg() or 0,
            "transform": [t.a, t.b, corner_x, t.d, t.e, corner_y],
        }
        for sensor in self.sensors:
            row, digest = -1, ""
            if sensor.name in rasters:
                arrays = [
                    geotiff.check_window(
                        raster,
                        (top // layout.ratio, left // layout.ratio, patch // layout.ratio),
                        sensor.nodata,
                    )
                    for raster, layout in zip(rasters[sensor.name], sensor.rasters, strict=True)
                ]
                row, digest = self.files[sensor.name].append(arrays)
                if split == "train":
                    self.moments[sensor.name].add(arrays)
            scene |= {f"row_{sensor.name}": row, f"sha256_{sensor.name}": digest}
        row, digest = self.files[MASK].append([window[None]])
        scene |= {f"row_{MASK}": row, f"sha256_{MASK}": digest, "sources": list(sources)}
        self.scenes.append(scene)

    def _index(self) -> dict[str, Any]:
        sensors = {}
        for sensor in self.sensors:
            mean, std = self.moments[sensor.name].result(f"{self.source}: {sensor.name}")
            sensors[sensor.name] = {
                "unit": sensor.unit,
                "columns": [
                    {
                        "name": column.name, "bands": list(column.bands), "size": column.size,
                        "dtype": column.dtype, "pixel_m": column.pixel_m,
                    }
                    for column in self.columns[sensor.name]
                ],
                "mean": mean,
                "std": std,
                "statistics": STATISTICS,
            }  # fmt: skip
        options = self.options
        return {
            "version": FORMAT_VERSION,
            "synthetic": self.layout.synthetic,
            "labels": list(self.layout.labels),
            "sensors": sensors,
            "licence": self.layout.licence,
            "provenance": {
                "source": self.layout.provenance,
                "layout": self.layout.name,
                "patch": options.patch,
                "stride": options.stride,
                "min_share": options.min_share,
                "min_labelled": options.min_labelled,
                "block": options.block,
                "seed": options.seed,
                "left_out": dict(sorted(self.left_out.items())),
            },
        }


class _Moments:
    """Running mean and squared deviations per band (Chan, Golub, LeVeque 1983, eq. 2.1)."""

    def __init__(self, bands: int) -> None:
        self.count = np.zeros(bands, dtype=np.float64)
        self.mean = np.zeros(bands, dtype=np.float64)
        self.squares = np.zeros(bands, dtype=np.float64)

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        flat = [array.reshape(len(array), -1).astype(np.float64) for array in arrays]
        count = np.concatenate([np.full(len(values), values.shape[1]) for values in flat])
        mean = np.concatenate([values.mean(axis=1) for values in flat])
        squares = np.concatenate([values.var(axis=1) * values.shape[1] for values in flat])
        delta, total = mean - self.mean, self.count + count
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total

    def result(self, name: str) -> tuple[list[float], list[float]]:
        if not self.count.all():
            raise ArchiveError(f"{name} has no train patch; leave the sensor out or add places")
        std = np.sqrt(self.squares / self.count)
        return self.mean.tolist(), np.where(std > 0, std, 1.0).tolist()
