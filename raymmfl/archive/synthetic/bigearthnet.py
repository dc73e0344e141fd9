"""Synthetic archives in the exact layouts of BigEarthNet-MM v1 and of BigEarthNet v2.0 (reBEN).

Names, sizes, dtypes, tags, JSON keys (with v1's quirks: ``lly`` in S1, hours without leading
zero) and tables are those of the real archives; the pixels are those of ``synthetic_patches.py``.
A file ``SYNTHETIC.txt`` says so, and the readers pass it on.
"""

import bz2
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.crs import CRS

from raymmfl.archive.rasters.geotiff import environment, write_raster
from raymmfl.archive.readers import bigearthnet_lists, bigearthnet_v1, reben, reben_metadata
from raymmfl.archive.readers.nomenclature import BY_CODE, labels_of
from raymmfl.archive.readers.patch_files import SENSORS, SYNTHETIC_FILE, SYNTHETIC_PROVENANCE
from raymmfl.archive.splits import SPLITS
from raymmfl.archive.synthetic.patches import PATCH_M, DrawnPatch, draw_patches
from raymmfl.archive.synthetic.signatures import REGIONS
from raymmfl.archive.tables import write_table
from raymmfl.archive.writer import whole_folder

SPLIT_NAMES = {ours: theirs for theirs, ours in reben_metadata.SPLIT_NAMES.items()}
SEASON_NAMES = {"summer": "Summer", "autumn": "Fall", "winter": "Winter", "spring": "Spring"}


def synthesise_bigearthnet_mm(
    out: Path, *, patches: int = 1000, seed: int = 0, countries: Sequence[str] | None = None
) -> None:
    """Write a folder that the layout ``bigearthnet_mm`` packs, with lists and countries.

    Args:
        out: the folder; must not exist.
        patches: pairs of an S1 and an S2 patch; each 25th is under snow or cloud, in no split.
        seed: of every pixel.
        countries: names in :data:`raymmfl.archive.synthetic.signatures.REGIONS`; all by default.

    Raises:
        ArchiveError: an existing folder, an unknown country, too few or too many patches.
    """
    lists: dict[str, list[tuple[str, ...]]] = {name: [] for name in SPLITS}
    lists |= {name: [] for name in bigearthnet_lists.COVERED}
    lists[bigearthnet_lists.COUNTRIES] = [("s1_name", "s2_name", "country", "season")]
    snow, cloud = bigearthnet_lists.COVERED
    with whole_folder(Path(out)) as root, environment():
        _say_synthetic(root)
        for patch in draw_patches(patches, seed, countries):
            names = {"S1": _s1_name(patch), "S2": _s2v1_name(patch)}
            for sensor, name in names.items():
                folder = root / bigearthnet_v1.FOLDERS[sensor] / name
                _write_bands(folder, sensor, patch, nodata=None)
                path = folder / f"{name}_labels_metadata.json"
                path.write_text(json.dumps(_json(sensor, names, patch)), encoding="utf-8")
            if patch.covered_by:
                lists[snow if patch.covered_by == "snow" else cloud].append((names["S2"],))
            else:
                lists[patch.split].append((names["S2"], names["S1"]))
            lists[bigearthnet_lists.COUNTRIES].append(
                (names["S1"], names["S2"], patch.country, SEASON_NAMES[patch.season.name])
            )
        (root / "splits").mkdir()
        for name, rows in lists.items():
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows(rows)
            content, suffix = text.getvalue().encode(), ".csv"
            if name == bigearthnet_lists.COUNTRIES:
                content, suffix = bz2.compress(content), ".csv.bz2"
            (root / "splits" / f"{name}{suffix}").write_bytes(content)


def synthesise_reben(
    out: Path, *, patches: int = 1000, seed: int = 0, countries: Sequence[str] | None = None
) -> None:
    """Write a folder that the layout ``reben`` packs, with reference maps and metadata tables.

    Args:
        out: the folder; must not exist.
        patches: rows of both tables; each 25th is under snow or cloud and in the second.
        seed: of every pixel.
        countries: names in :data:`raymmfl.archive.synthetic.signatures.REGIONS`; all by default.

    Raises:
        ArchiveError: as :func:`synthesise_bigearthnet_mm`.
    """
    tables: dict[str, list[dict[str, Any]]] = {
        reben_metadata.MAIN_FILE: [], reben_metadata.COVERED_FILE: [],
    }  # fmt: skip
    with whole_folder(Path(out)) as root, environment():
        _say_synthetic(root)
        for patch in draw_patches(patches, seed, countries):
            s1, tile = _s1_name(patch), _s2v2_tile(patch)
            name = f"{tile}_{patch.square[0]:02d}_{patch.square[1]:02d}"
            scene = s1.rsplit("_", 3)[0]
            _write_bands(root / reben.FOLDERS["S1"] / scene / s1, "S1", patch, nodata=None)
            _write_bands(root / reben.FOLDERS["S2"] / tile / name, "S2", patch, nodata=0)
            folder = root / reben.MAPS / tile / name
            folder.mkdir(parents=True)
            write_raster(
                folder / f"{name}_reference_map.tif", patch.codes_HW[None], epsg=patch.epsg,
                transform=_transform(patch, 10), nodata=0, compress="deflate",
            )  # fmt: skip
            table = reben_metadata.COVERED_FILE if patch.covered_by else reben_metadata.MAIN_FILE
            tables[table].append(
                {
                    "patch_id": name,
                    "labels": sorted(labels_of(_level_3_names(patch))),
                    "split": SPLIT_NAMES[patch.split],
                    "country": patch.country,
                    "s1_name": s1,
                    "s2v1_name": _s2v1_name(patch),
                    "contains_seasonal_snow": patch.covered_by == "snow",
                    "contains_cloud_or_shadow": patch.covered_by == "cloud",
                }
            )
        for file, rows in tables.items():
            write_table(root / file, _columns(rows))


def _say_synthetic(root: Path) -> None:
    (root / SYNTHETIC_FILE).write_text(SYNTHETIC_PROVENANCE + "\n", encoding="utf-8")


def _write_bands(folder: Path, sensor: str, patch: DrawnPatch, nodata: float | None) -> None:
    folder.mkdir(parents=True)
    for column in SENSORS[sensor].columns:
        transform = _transform(patch, column.pixel_m)
        for band in column.bands:
            write_raster(
                folder / f"{folder.name}_{band}.tif", patch.bands[band][None], epsg=patch.epsg,
                transform=transform, nodata=nodata,
            )  # fmt: skip


def _transform(patch: DrawnPatch, pixel_m: float) -> tuple[float, ...]:
    return (pixel_m, 0.0, float(patch.corner[0]), 0.0, -pixel_m, float(patch.corner[1]))


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    names = [*reben_metadata.COLUMNS, "s2v1_name"]
    return {name: [row[name] for row in rows] for name in names}


def _level_3_names(patch: DrawnPatch) -> list[str]:
    return [BY_CODE[code].name for code in np.unique(patch.codes_HW).tolist()]


def _satellite(patch: DrawnPatch) -> str:
    return "S2A" if patch.season.name in ("summer", "winter") else "S2B"


def _time(patch: DrawnPatch) -> str:
    """Sentinel-2 crosses about 20 minutes earlier per zone to the east: 11:30 in zone 29.

    The seconds tell countries of one zone apart, as a v1 name does not hold the tile.
    """
    hours, minutes = divmod(690 - 20 * (patch.epsg % 100 - 29), 60)
    return f"{hours:02d}{minutes:02d}{20 + list(REGIONS).index(patch.country)}"


def _s2v1_name(patch: DrawnPatch) -> str:
    time = _time(patch).removeprefix("0") if _satellite(patch) == "S2B" else _time(patch)
    column, row = patch.square
    return f"{_satellite(patch)}_MSIL2A_{patch.season.date}T{time}_{column}_{row}"


def _s2v2_tile(patch: DrawnPatch) -> str:
    date = patch.season.date
    return f"{_satellite(patch)}_MSIL2A_{date}T{_time(patch)}_N9999_R022_T{patch.tile}"


def _s1_name(patch: DrawnPatch) -> str:
    column, row = patch.square
    date = int(patch.season.date) + 1  # no season's date ends a month
    return f"S1A_IW_GRDH_1SDV_{date}T165043_{patch.tile}_{column}_{row}"


def _json(sensor: str, names: Mapping[str, str], patch: DrawnPatch) -> dict[str, Any]:
    east, north = patch.corner
    bottom = "lly" if sensor == "S1" else "lry"
    content: dict[str, Any] = {
        "labels": _level_3_names(patch),
        "coordinates": {
            "ulx": east, "uly": north, "lrx": east + PATCH_M, bottom: north - PATCH_M,
        },
        "projection": CRS.from_epsg(patch.epsg).to_wkt(),
    }  # fmt: skip
    day, time = patch.season.date, _time(patch)
    date, clock = f"{day[:4]}-{day[4:6]}-{day[6:]}", f"{time[:2]}:{time[2:4]}:{time[4:]}"
    if sensor == "S2":
        source = f"{_satellite(patch)}_MSIL1C_{day}T{time}_N0205_R022_T{patch.tile}_{day}T{time}"
        return {**content, "tile_source": f"{source}.SAFE", "acquisition_date": f"{date} {clock}"}
    scene = names["S1"].rsplit("_", 3)[0]
    start = scene.rsplit("_", 1)[1]
    return {
        **content,
        "corresponding_s2_patch": names["S2"],
        "scene_source": f"{scene}_{start[:8]}T165108_017018_01C579_7EEC",
        "acquisition_time": f"{start[:4]}-{start[4:6]}-{start[6:8]}T16:50:43",
    }
