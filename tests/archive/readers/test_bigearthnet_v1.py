"""BigEarthNet-MM v1: four real pairs value by value, pairing and lists, and every bad input."""

import bz2
import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import transform

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.rasters.geotiff import environment
from raymmfl.archive.readers.bigearthnet_v1 import open_bigearthnet_mm
from raymmfl.archive.readers.nomenclature import labels_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Scene, Unit
from raymmfl.archive.synthetic.bigearthnet import synthesise_bigearthnet_mm
from raymmfl.errors import ArchiveError

S1_FOLDER, S2_FOLDER = "BigEarthNet-S1-v1.0", "BigEarthNet-v1.0"
AGRICULTURE = (
    "Land principally occupied by agriculture, with significant areas of natural vegetation"
)
# By hand, from the JSONs and lists: S2 -> S1, split, MGRS tile, country, date, EPSG, labels.
REAL: dict[str, tuple[str, str, str, str, str, int, tuple[str, ...]]] = {
    "S2A_MSIL2A_20170613T101031_87_48": (
        "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48", "test", "33UUP", "Austria", "2017-06-13",
        32633, ("Arable land", AGRICULTURE),
    ),
    "S2A_MSIL2A_20170617T113321_36_85": (
        "S1A_IW_GRDH_1SDV_20170617T064724_29UPU_36_85", "train", "29UPU", "Ireland", "2017-06-17",
        32629, ("Arable land", "Pastures"),
    ),
    "S2A_MSIL2A_20171221T112501_56_35": (
        "S1A_IW_GRDH_1SDV_20171221T064238_29SND_56_35", "train", "29SND", "Portugal", "2017-12-21",
        32629,
        ("Complex cultivation patterns", AGRICULTURE, "Broad-leaved forest",
         "Transitional woodland, shrub"),
    ),
    "S2B_MSIL2A_20170924T93020_69_24": (
        "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24", "train", "35VPK", "Finland", "2017-09-24",
        32635,
        ("Coniferous forest", "Mixed forest", "Transitional woodland, shrub", "Inland wetlands",
         "Inland waters"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def real(real_data: Path) -> dict[str, tuple[Unit, Scene]]:
    source = open_bigearthnet_mm(real_data / "bigearthnet_v1", Options())
    units = source.units()
    # 269,695 + 123,723 + 125,866 patches are listed, four of them are here
    assert source.read(units[-1]).left_out == {"in a split list, but without a folder": 519_280}
    with environment():
        scenes = [source.read(unit).scenes for unit in units[:-1]]
    return {unit.name: (unit, scene) for unit, (scene,) in zip(units, scenes, strict=False)}


@pytest.mark.parametrize("name", REAL)
def test_a_real_pair_is_read_as_rasterio_reads_it(
    name: str, real: dict[str, tuple[Unit, Scene]], real_data: Path
) -> None:
    s1, split, tile, _, date, epsg, labels = REAL[name]
    assert len(real) == 4
    unit, scene = real[name]
    assert (unit.split, unit.region, unit.date) == (split, tile, date)
    assert (scene.scene_id, scene.split, scene.region, scene.date) == (name, split, tile, date)
    assert (scene.labels, scene.epsg, scene.mask) == (labels, epsg, None)
    assert scene.place == name.rsplit("_", 2)[0]
    root = real_data / "bigearthnet_v1"
    files = {
        "S1": [[f"{S1_FOLDER}/{s1}/{s1}_{band}.tif" for band in ("VV", "VH")]],
        "S2": [
            [f"{S2_FOLDER}/{name}/{name}_{band}.tif" for band in bands]
            for bands in (
                ("B02", "B03", "B04", "B08"),
                ("B05", "B06", "B07", "B8A", "B11", "B12"),
                ("B01", "B09"),
            )
        ],
    }
    for sensor, dtype, sizes in (("S1", "float32", [120]), ("S2", "uint16", [120, 60, 20])):
        for array, paths, size in zip(scene.images[sensor], files[sensor], sizes, strict=True):
            expected = np.concatenate([rasterio.open(root / path).read() for path in paths])
            assert array.dtype == dtype
            assert array.shape == (len(paths), size, size)
            np.testing.assert_array_equal(array, expected)
    with rasterio.open(root / files["S2"][0][0]) as file:
        assert scene.transform == tuple(file.transform)[:6]
        west, _, _, north = file.bounds
    lon, lat = transform(f"EPSG:{epsg}", "EPSG:4326", [west + 600], [north - 600])
    assert (scene.lon, scene.lat) == pytest.approx((lon[0], lat[0]), abs=1e-9)
    assert len(scene.sources) == 16  # 14 rasters and 2 JSONs
    assert all((root / path).is_file() for path in scene.sources)


def test_countries_of_reben_are_found_by_the_v1_name(real_data: Path, tmp_path: Path) -> None:
    root = tmp_path / "v1"
    root.mkdir()
    for folder in (S1_FOLDER, S2_FOLDER):
        (root / folder).symlink_to(real_data / "bigearthnet_v1" / folder)
    write_lists(root, {"train": [(name,) for name in REAL], "val": [], "test": []})
    table = real_data / "reben_v2" / "catalogue" / "metadata.parquet"
    units = open_bigearthnet_mm(root, Options(countries=table)).units()
    assert {unit.name: unit.region for unit in units} == {n: REAL[n][3] for n in REAL}
    assert {unit.name: unit.details.s1 for unit in units} == {n: REAL[n][0] for n in REAL}


# Below: a synthetic archive in the same layout, so that it can be spoiled.


def write_lists(root: Path, lists: dict[str, list[tuple[str, ...]]]) -> None:
    (root / "splits").mkdir(exist_ok=True)
    for name, rows in lists.items():
        with (root / "splits" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)


def read_lists(root: Path) -> dict[str, list[tuple[str, ...]]]:
    return {
        name: [
            tuple(line.split(",")) for line in (root / f"splits/{name}.csv").read_text().split()
        ]
        for name in ("train", "val", "test")
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs: two to train on, one each to validate and to test. Only to be read."""
    folder = tmp_path_factory.mktemp("v1") / "archive"
    synthesise_bigearthnet_mm(folder, patches=4, seed=1, countries=["Lithuania"])
    return folder


@pytest.fixture
def root(tiny: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "archive"))


def first_pair(root: Path) -> tuple[str, str]:
    """S2 and S1 name of the first pair to train on."""
    s2, s1 = read_lists(root)["train"][0]
    return s2, s1


def read_all(root: Path, **options: Any) -> tuple[list[Scene], dict[str, int]]:
    source = open_bigearthnet_mm(root, Options(**options))
    readings = [source.read(unit) for unit in source.units()]
    left_out: dict[str, int] = {}
    for reading in readings:
        for reason, count in reading.left_out.items():
            left_out[reason] = left_out.get(reason, 0) + count
    return [scene for reading in readings for scene in reading.scenes], left_out


def test_two_columns_give_the_pairs_without_any_json(root: Path) -> None:
    pairs = [pair for rows in read_lists(root).values() for pair in rows]
    for path in (root / S1_FOLDER).glob("*/*.json"):
        path.unlink()
    units = open_bigearthnet_mm(root, Options()).units()
    assert [(unit.details.s2, unit.details.s1) for unit in units] == sorted(pairs)
    assert {unit.region for unit in units} == {"Lithuania"}


@pytest.mark.parametrize("column", [0, 1])
def test_one_column_is_paired_by_the_json(root: Path, column: int) -> None:
    lists = read_lists(root)
    write_lists(root, {name: [(row[column],) for row in rows] for name, rows in lists.items()})
    (root / "splits/s1_s2_name_country_season.csv.bz2").unlink()
    units = open_bigearthnet_mm(root, Options()).units()
    expected = {row[0]: (row[1], split) for split, rows in lists.items() for row in rows}
    assert {unit.name: (unit.details.s1, unit.split) for unit in units} == expected
    assert {unit.region for unit in units} == {"34UEG"}


def test_without_a_partner_a_patch_is_a_scene_of_one_sensor(root: Path) -> None:
    (s2, s1), (other_s2, other_s1) = read_lists(root)["train"]
    shutil.rmtree(root / S1_FOLDER / s1)
    shutil.rmtree(root / S2_FOLDER / other_s2)
    (root / "splits/s1_s2_name_country_season.csv.bz2").unlink()
    scenes = {scene.scene_id: scene for scene in read_all(root)[0]}
    assert len(scenes) == 4
    assert list(scenes[s2].images) == ["S2"]
    assert scenes[s2].region == "unknown"
    assert list(scenes[other_s1].images) == ["S1"]
    assert (scenes[other_s1].split, scenes[other_s1].region) == ("train", "34UEG")
    day = other_s1.split("_")[4]
    assert scenes[other_s1].date == f"{day[:4]}-{day[4:6]}-{day[6:8]}"
    labels = json.loads(
        (root / S1_FOLDER / other_s1 / f"{other_s1}_labels_metadata.json").read_text()
    )["labels"]
    assert scenes[other_s1].labels == labels_of(labels)


def test_an_s1_patch_finds_its_split_by_the_json_where_its_s2_patch_is_absent(root: Path) -> None:
    lists = read_lists(root)
    write_lists(root, {name: [(row[0],) for row in rows] for name, rows in lists.items()})
    (root / "splits/s1_s2_name_country_season.csv.bz2").unlink()
    s2, s1 = lists["val"][0]
    shutil.rmtree(root / S2_FOLDER / s2)
    splits = {unit.name: unit.split for unit in open_bigearthnet_mm(root, Options()).units()}
    assert splits[s1] == "val"


@pytest.mark.parametrize(("sensor", "column"), [("S2", 0), ("S1", 1)])
def test_one_sensor_needs_the_other_folder_neither_for_pixels_nor_labels(
    root: Path, sensor: str, column: int
) -> None:
    both = {scene.scene_id: scene for scene in read_all(root)[0]}
    shutil.rmtree(root / (S1_FOLDER if sensor == "S2" else S2_FOLDER))
    scenes = {scene.scene_id: scene for scene in read_all(root, sensors=(sensor,))[0]}
    lists = read_lists(root)
    assert set(scenes) == {row[column] for rows in lists.values() for row in rows}
    for row in (row for rows in lists.values() for row in rows):
        scene, whole = scenes[row[column]], both[row[0]]
        assert list(scene.images) == [sensor]
        assert (scene.labels, scene.split, scene.region) == (
            whole.labels, whole.split, whole.region,
        )  # fmt: skip
        for array, expected in zip(scene.images[sensor], whole.images[sensor], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_snow_and_patches_in_no_list_are_left_out_and_counted(root: Path) -> None:
    lists = read_lists(root)
    (snowy, _), (unlisted, _) = lists["train"][0], lists["val"][0]
    write_lists(root, {**lists, "val": [], "patches_with_seasonal_snow": [(snowy,)]})
    scenes, left_out = read_all(root)
    assert {scene.scene_id for scene in scenes} == {lists["train"][1][0], lists["test"][0][0]}
    assert left_out == {"listed with snow, cloud or shadow": 1, "in no split list": 1}
    scenes, left_out = read_all(root, include_snow_cloud=True)
    assert snowy in {scene.scene_id for scene in scenes}
    assert unlisted not in {scene.scene_id for scene in scenes}
    assert left_out == {"in no split list": 1}


def test_a_patch_without_a_19_class_label_is_left_out_and_counted(root: Path) -> None:
    s2, _ = first_pair(root)
    spoil_json(root, S2_FOLDER, s2, {"labels": ["Airports", "Bare rock"]})
    scenes, left_out = read_all(root)
    assert s2 not in {scene.scene_id for scene in scenes}
    assert left_out == {"no label among the 19 classes": 1}


def test_lists_may_be_compressed_and_lie_in_the_root(root: Path) -> None:
    before = open_bigearthnet_mm(root, Options()).units()
    for name in ("train", "val", "test"):
        path = root / "splits" / f"{name}.csv"
        (root / f"{name}.csv.bz2").write_bytes(bz2.compress(path.read_bytes()))
        path.unlink()
    source = open_bigearthnet_mm(root, Options())
    assert source.units() == before
    lists = {path.name for path in source.tables()}
    assert lists >= {"train.csv.bz2", "val.csv.bz2", "test.csv.bz2"}


def test_a_country_list_may_lie_elsewhere_and_lack_a_patch(root: Path, tmp_path: Path) -> None:
    s2, s1 = first_pair(root)
    table = tmp_path / "countries.csv"
    table.write_text(f"s1_name,s2_name,country,season\n{s1},{s2},Kosovo,Summer\n")
    source = open_bigearthnet_mm(root, Options(countries=table))
    assert table in source.tables()
    regions = {unit.name: unit.region for unit in source.units()}
    assert regions.pop(s2) == "Kosovo"
    assert set(regions.values()) == {"unknown"}


def test_it_packs_and_says_synthetic(tiny: Path, tmp_path: Path) -> None:
    archive = pack(open_bigearthnet_mm(tiny, Options()), tmp_path / "packed")
    assert archive.synthetic
    assert "SYNTHETIC" in archive.provenance["source"]
    scenes = {scene.scene_id: scene for scene in read_all(tiny)[0]}
    for row, name in enumerate(archive.scene_ids):
        for sensor in ("S1", "S2"):
            found = archive.read(sensor, np.array([row]))
            for array, expected in zip(found, scenes[name].images[sensor], strict=True):
                np.testing.assert_array_equal(array[0], expected)


def spoil_json(root: Path, folder: str, name: str, change: dict[str, Any]) -> None:
    path = root / folder / name / f"{name}_labels_metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], east: float = 0) -> None:
    with rasterio.open(path) as file:
        data, profile = change(file.read()), file.profile
    t = profile["transform"]
    profile.update(
        transform=Affine(t.a, t.b, t.c + east, t.d, t.e, t.f), dtype=data.dtype,
        height=data.shape[1], width=data.shape[2],
    )  # fmt: skip
    path.unlink()
    with rasterio.open(path, "w", **profile) as file:
        file.write(data)


def same(data: np.ndarray) -> np.ndarray:
    return data


def band(root: Path, name: str) -> Path:
    s2, s1 = first_pair(root)
    folder, patch = (S1_FOLDER, s1) if name[0] == "V" else (S2_FOLDER, s2)
    return root / folder / patch / f"{patch}_{name}.tif"


def swap(root: Path) -> None:
    (root / S1_FOLDER).rename(root / "x")
    (root / S2_FOLDER).rename(root / S1_FOLDER)
    (root / "x").rename(root / S2_FOLDER)


def empty_folder(root: Path) -> None:
    shutil.rmtree(root / S2_FOLDER)
    (root / S2_FOLDER).mkdir()


def empty_patch(root: Path) -> None:
    for path in band(root, "B02").parent.glob("*.tif"):
        rewrite(path, np.zeros_like)


def move_patch(root: Path) -> None:
    for path in band(root, "B02").parent.glob("*.tif"):
        rewrite(path, same, east=1200)


def not_finite(data: np.ndarray) -> np.ndarray:
    data[0, 3, 4] = np.nan
    return data


def one_pair_less(root: Path, name: str, text: str) -> None:
    path = root / "splits" / f"{name}.csv"
    path.write_text(path.read_text() + text)


def contradict(root: Path) -> None:
    lists = read_lists(root)
    (a, b), (c, d) = lists["train"]
    write_lists(root, {**lists, "train": [(a, d), (c, b)]})
    (root / "splits/s1_s2_name_country_season.csv.bz2").unlink()


def second_s1(root: Path) -> None:
    (s2, _), (_, other) = read_lists(root)["train"]
    lists = read_lists(root)
    write_lists(root, {n: [(r[0],) for r in rows if r[0] != other] for n, rows in lists.items()})
    (root / "splits/s1_s2_name_country_season.csv.bz2").unlink()
    spoil_json(root, S1_FOLDER, other, {"corresponding_s2_patch": s2})


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing band": (lambda root: band(root, "B8A").unlink(), "_B8A.tif: cannot be read"),
    "missing polarisation": (lambda root: band(root, "VH").unlink(), "_VH.tif: cannot be read"),
    "band of another size": (
        lambda root: rewrite(band(root, "B09"), lambda data: data[:, :10, :10]),
        "_B09.tif",
    ),
    "band of another dtype": (
        lambda root: rewrite(band(root, "B02"), lambda data: data.astype("int32")),
        "int32, expected 1 of uint16",
    ),
    "shifted band": (lambda root: rewrite(band(root, "B11"), same, east=20), "bounds"),
    "S2 beside its S1 patch": (move_patch, "bounds"),
    "wrong grid": (
        lambda root: rewrite(band(root, "VV"), lambda data: data[:, :60, :60]),
        "60x60 pixels",
    ),
    "not finite": (lambda root: rewrite(band(root, "VH"), not_finite), "1 value"),
    "no data at all": (empty_patch, "nothing but nodata"),
    "cut raster": (
        lambda root: band(root, "B05").write_bytes(band(root, "B05").read_bytes()[:4000]),
        "not a whole GeoTIFF",
    ),
    "swapped folders": (swap, "named like an S2 patch"),
    "stray folder": (lambda root: (root / S2_FOLDER / "old").mkdir(), "no part of this layout"),
    "no S1 folder": (lambda root: shutil.rmtree(root / S1_FOLDER), "choose sensors"),
    "empty S2 folder": (empty_folder, "no folders in it"),
    "no lists": (lambda root: shutil.rmtree(root / "splits"), "train.csv, val.csv and test.csv"),
    "one list missing": (lambda root: (root / "splits/val.csv").unlink(), "no val.csv"),
    "two train lists": (
        lambda root: shutil.copy(root / "splits/train.csv", root / "train.csv"),
        "keep one",
    ),
    "patch twice in a list": (
        lambda root: one_pair_less(root, "train", ",".join(first_pair(root)) + "\n"),
        "train.csv, line 3: .* stands twice",
    ),
    "patch in two lists": (
        lambda root: one_pair_less(root, "val", ",".join(first_pair(root)) + "\n"),
        "val.csv, line 2: .* is also in the list train",
    ),
    "no patch name": (
        lambda root: one_pair_less(root, "val", "S2A_MSIL2A_2017,x\n"),
        "val.csv, line 2",
    ),
    "list that is no text": (
        lambda root: (root / "splits/test.csv").write_bytes(os.urandom(64) + b"\xff\xfe"),
        "test.csv: not a readable list",
    ),
    "damaged country list": (
        lambda root: (root / "splits/s1_s2_name_country_season.csv.bz2").write_bytes(b"BZh9 "),
        "season.csv.bz2: not a readable list",
    ),
    "pairs of list and JSON": (contradict, "its JSON says it shows"),
    "two S1 for one S2": (second_s1, "both show"),
    "label outside": (
        lambda root: spoil_json(root, S2_FOLDER, first_pair(root)[0], {"labels": ["Moon"]}),
        "'Moon' is not among the 43",
    ),
    "labels of another kind": (
        lambda root: spoil_json(root, S2_FOLDER, first_pair(root)[0], {"labels": "Pastures"}),
        "not a list of names",
    ),
    "no pairing key": (
        lambda root: spoil_json(
            root, S1_FOLDER, first_pair(root)[1], {"corresponding_s2_patch": None}
        ),
        "no S2 patch name",
    ),
    "damaged JSON": (
        lambda root: next((root / S2_FOLDER).glob("*/*.json")).write_text('{"labels": ['),
        "not readable as JSON",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_named(case: str, root: Path) -> None:
    spoil, message = BAD[case]
    spoil(root)
    with pytest.raises(ArchiveError, match=message):
        read_all(root)


def test_options_out_of_range_are_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"\['S3'\]: choose from S1, S2"):
        open_bigearthnet_mm(tiny, Options(sensors=("S3",)))
    table = tmp_path / "countries.csv"
    table.write_text("name,country\n")
    with pytest.raises(ArchiveError, match="expected s1_name, s2_name, country"):
        open_bigearthnet_mm(tiny, Options(countries=table)).units()
    with pytest.raises(ArchiveError, match="not a readable list"):
        open_bigearthnet_mm(tiny, Options(countries=tmp_path / "none.csv")).units()
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArchiveError, match="not a readable table"):
        open_bigearthnet_mm(tiny, Options(countries=tmp_path / "x.parquet")).units()
