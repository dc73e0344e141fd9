"""BigEarthNet v2.0 (reBEN): Sentinel-1 and Sentinel-2 patches with pixel labels, 19 classes.

```
metadata.parquet                                                      (here or in catalogue/)
BigEarthNet-S2/<tile>/<patch>/<patch>_{B01 ... B12}.tif               tile = patch without _<h>_<v>
BigEarthNet-S1/<scene>/<patch>/<patch>_{VV,VH}.tif                    scene without _<MGRS>_<h>_<v>
Reference_Maps/<tile>/<patch>/<patch>_reference_map.tif               CORINE level-3 codes
```
Labels, split and country are those of the table; pixel labels come from the reference maps, where
codes outside the 19 classes are ignored.
(Clasen et al., "reBEN: Refined BigEarthNet Dataset for Remote Sensing Image Analysis",
arXiv:2407.03653.)
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raymmfl.archive.catalogue import Catalogue
from raymmfl.archive.rasters.geotiff import Raster, check_registered, read_raster
from raymmfl.archive.readers.nomenclature import LABELS, classes_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.patch_files import (
    PATCH_PIXELS,
    PIXEL_M,
    SENSORS,
    SYNTHETIC_FILE,
    SYNTHETIC_LICENCE,
    SYNTHETIC_PROVENANCE,
    choose_sensors,
    folder_names,
    on_earth,
    read_patch,
)
from raymmfl.archive.readers.reben_metadata import metadata_files, read_metadata
from raymmfl.archive.readers.source import Format, Reading, Scene, Unit
from raymmfl.archive.store import mask_column
from raymmfl.errors import ArchiveError

FOLDERS = {"S1": "BigEarthNet-S1", "S2": "BigEarthNet-S2"}
MAPS = "Reference_Maps"
TILE = re.compile(r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}")
SCENE = re.compile(r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{6}")
NAMES = {"S1": SCENE, "S2": TILE, MAPS: TILE}
LICENCE = "CDLA-Permissive-1.0"
PROVENANCE = (
    "BigEarthNet v2.0 / reBEN (TU Berlin, BIFOLD); contains modified Copernicus Sentinel data "
    "2017-2018, labels and reference maps of CORINE Land Cover 2018"
)


@dataclass(frozen=True)
class Row:
    """What the table tells of a patch beside its unit: where its files are, and its labels."""

    s1: str
    tile: str
    labels: tuple[str, ...]


def catalogue(root: Path, include_snow_cloud: bool = False) -> Catalogue:
    """The scenes of the archive by its table alone; no other file is needed or looked at.

    Args:
        root: holds ``metadata.parquet``, or a folder ``catalogue`` with it.
        include_snow_cloud: with the patches of the second file.

    Raises:
        ArchiveError: a table that is missing, damaged or contradictory.
    """
    table = read_metadata(Path(root), include_snow_cloud)
    everywhere = np.ones(len(table.patch_ids), dtype=np.bool_)
    return Catalogue(
        path=table.path,
        labels=LABELS,
        sensors=tuple(SENSORS),
        scene_ids=table.patch_ids,
        splits=table.splits,
        targets=table.targets,
        attributes={
            "region": table.countries, "season": table.seasons, "place": table.tiles,
        },
        presence=dict.fromkeys(SENSORS, everywhere),
    )  # fmt: skip


def open_reben(root: Path, options: Options) -> "ReBEN":
    """The archive in a folder; nothing of it is read yet.

    Args:
        root: holds ``BigEarthNet-S1``, ``BigEarthNet-S2``, ``Reference_Maps`` and
            ``metadata.parquet``.
        options: ``sensors`` (default both) and ``include_snow_cloud``.

    Raises:
        ArchiveError: an unknown sensor.
    """
    synthetic = (root / SYNTHETIC_FILE).is_file()
    return ReBEN(
        root,
        Format(
            layout="reben",
            sensors=choose_sensors(options.sensors),
            labels=LABELS,
            mask=mask_column(PATCH_PIXELS, PIXEL_M),
            attributes=(),
            licence=SYNTHETIC_LICENCE if synthetic else LICENCE,
            provenance=SYNTHETIC_PROVENANCE if synthetic else PROVENANCE,
            synthetic=synthetic,
            options={"include_snow_cloud": options.include_snow_cloud},
        ),
        options.include_snow_cloud,
    )


@dataclass(frozen=True)
class ReBEN:
    """A :class:`raymmfl.archive.readers.source.Source`."""

    root: Path
    format: Format
    include_snow_cloud: bool

    def units(self) -> list[Unit]:
        """One unit per row of the table, in its order; the region is the country.

        Raises:
            ArchiveError: a table as in :func:`catalogue`; a folder that is missing as a whole, or
                that holds what belongs into another.
        """
        for part in (*(sensor.name for sensor in self.format.sensors), MAPS):
            folder_names(
                self.root / FOLDERS.get(part, part),
                NAMES[part],
                {"a Sentinel-1 scene": SCENE, "a Sentinel-2 tile": TILE},
            )
        table = read_metadata(self.root, self.include_snow_cloud)
        labels = _label_names(table.targets)
        columns = zip(
            table.patch_ids, table.splits.tolist(), table.countries.tolist(),
            table.dates.tolist(), table.s1_names, table.tiles.tolist(), labels, strict=True,
        )  # fmt: skip
        units = [
            Unit(patch, split, country, date, Row(s1, tile, names))
            for patch, split, country, date, s1, tile, names in columns
        ]
        if table.covered:
            left_out = {"marked with snow, cloud or shadow": table.covered}
            units.append(Unit("patches that the table leaves out", "", "", "", left_out))
        return units

    def tables(self) -> list[Path]:
        """The metadata tables that were read."""
        return metadata_files(self.root, self.include_snow_cloud)

    def read(self, unit: Unit) -> Reading:
        """Read a patch's rasters and reference map; without a label it is left out.

        Raises:
            ArchiveError: a row without files; a raster that is missing, damaged or contradictory.
        """
        if isinstance(unit.details, dict):
            return Reading([], Counter(unit.details))
        row: Row = unit.details
        if not row.labels:
            return Reading([], Counter(["no label among the 19 classes"]))
        of_sensor = {
            "S1": Path(FOLDERS["S1"], row.s1.rsplit("_", 3)[0], row.s1),
            "S2": Path(FOLDERS["S2"], row.tile, unit.name),
        }
        folders = {
            sensor.name: self.root / of_sensor[sensor.name] for sensor in self.format.sensors
        }
        file = self.root / MAPS / row.tile / unit.name / f"{unit.name}_reference_map.tif"
        for folder in (*folders.values(), file.parent):
            if not folder.is_dir():
                raise ArchiveError(
                    f"the metadata table has {unit.name}, but there is no folder {folder}; unpack "
                    "the archive again, or take the row out of the table"
                )
        patch = read_patch(self.root, folders)
        mask, digest = _read_map(file, patch.grid)
        scene = Scene(
            scene_id=unit.name,
            split=unit.split,
            labels=row.labels,
            region=unit.region,
            place=row.tile,
            date=unit.date,
            images=patch.images,
            mask=mask,
            sources={**patch.sources, str(file.relative_to(self.root)): digest},
            **on_earth(patch.grid),
        )
        return Reading([scene])


def _label_names(targets: np.ndarray) -> list[tuple[str, ...]]:
    """Label names of every row of (n, K) targets, in label order."""
    distinct, kind = np.unique(targets @ (1 << np.arange(len(LABELS))), return_inverse=True)
    names = [
        tuple(label for bit, label in enumerate(LABELS) if code >> bit & 1)
        for code in distinct.tolist()
    ]
    return [names[number] for number in kind.tolist()]


def _read_map(path: Path, grid: Raster) -> tuple[np.ndarray, str]:
    """Pixel labels uint8 (H, W), 255 ignored, and the sha256 of the file."""
    raster = read_raster(path, bands=1, dtype="uint16")
    check_registered(raster, grid, 1)
    return classes_of(raster.data_BHW[0]), raster.sha256
