"""BigEarthNet v2.0: real patches and the real table, and every bad input."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.transform import Affine

from raymmfl.archive.catalogue import Catalogue
from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.nomenclature import LABELS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.reben import catalogue, open_reben
from raymmfl.archive.readers.source import Scene
from raymmfl.archive.synthetic.bigearthnet import synthesise_reben
from raymmfl.errors import ArchiveError

TILE = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
S1_SCENE = "S1A_IW_GRDH_1SDV_20170613T165043"
# The three real patches lie on different squares of one tile.
S2_PATCH, S1_PATCH, MAP_PATCH = f"{TILE}_75_43", f"{S1_SCENE}_33UUP_70_48", f"{TILE}_26_57"
# As published; the first four rows of numbers are those of the splits.
COUNTRIES = {
    "Finland": 155_227, "Portugal": 89_792, "Serbia": 73_385, "Lithuania": 48_365,
    "Ireland": 48_326, "Austria": 43_797, "Belgium": 11_196, "Switzerland": 4_874,
    "Luxembourg": 3_460, "Kosovo": 1_616,
}  # fmt: skip
LABEL_COUNTS = {
    "Arable land": 188_025, "Mixed forest": 165_780, "Coniferous forest": 154_941,
    "Transitional woodland, shrub": 141_150, "Broad-leaved forest": 135_928,
    "Land principally occupied by agriculture, with significant areas of natural vegetation":
        122_709,
    "Complex cultivation patterns": 99_598, "Pastures": 95_605, "Urban fabric": 63_758,
    "Inland waters": 63_212, "Marine waters": 61_832, "Agro-forestry areas": 33_181,
    "Permanent crops": 29_588, "Inland wetlands": 20_919,
    "Moors, heathland and sclerophyllous vegetation": 13_894,
    "Natural grassland and sparsely vegetated areas": 11_882,
    "Industrial or commercial units": 11_142, "Coastal wetlands": 1_397,
    "Beaches, dunes, sands": 1_316,
}  # fmt: skip
MONTHS = {
    2: 38_092, 3: 10_467, 4: 48_414, 5: 106_217, 6: 17_797, 7: 33_557, 8: 51_043, 9: 77_889,
    10: 36_171, 11: 26_673, 12: 33_033, 1: 685,
}  # fmt: skip


def row(patch: str, **changes: Any) -> dict[str, Any]:
    square = "_".join(patch.rsplit("_", 2)[1:])
    return {
        "patch_id": patch,
        "labels": ["Arable land", "Broad-leaved forest", "Mixed forest", "Pastures"],
        "split": "train",
        "country": "Austria",
        "s1_name": f"{S1_SCENE}_33UUP_{square}",
        "s2v1_name": f"S2A_MSIL2A_20170613T101031_{square}",
        "contains_seasonal_snow": False,
        "contains_cloud_or_shadow": False,
        **changes,
    }


def write_metadata(root: Path, rows: Sequence[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows)), root / "metadata.parquet")


@pytest.fixture
def real_root(real_data: Path, tmp_path: Path) -> Path:
    """The real patches, linked into a folder of their own, still without a table."""
    root = tmp_path / "reben"
    for part in (
        f"BigEarthNet-S2/{TILE}/{S2_PATCH}",
        f"BigEarthNet-S1/{S1_SCENE}/{S1_PATCH}",
        f"Reference_Maps/{TILE}/{MAP_PATCH}",
    ):
        (root / part).parent.mkdir(parents=True)
        (root / part).symlink_to(real_data / "reben_v2" / part)
    return root


def draw_like(path: Path, like: Path, dtype: str, value: float) -> None:
    """A raster of one value on the ground of another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(like) as file:
        profile = {**file.profile, "dtype": dtype, "nodata": None}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.full((1, 120, 120), value, dtype))


def read_all(root: Path, **options: Any) -> tuple[list[Scene], dict[str, int]]:
    source = open_reben(root, Options(**options))
    readings = [source.read(unit) for unit in source.units()]
    left_out: Counter[str] = Counter()
    for reading in readings:
        left_out.update(reading.left_out)
    return [scene for reading in readings for scene in reading.scenes], dict(left_out)


def test_the_real_s2_patch_is_read_as_rasterio_reads_it(real_root: Path) -> None:
    folder = real_root / "BigEarthNet-S2" / TILE / S2_PATCH
    reference_map = f"Reference_Maps/{TILE}/{S2_PATCH}/{S2_PATCH}_reference_map.tif"
    draw_like(real_root / reference_map, folder / f"{S2_PATCH}_B02.tif", "uint16", 999)
    write_metadata(real_root, [row(S2_PATCH)])
    ((scene,), left_out) = read_all(real_root, sensors=("S2",))
    assert left_out == {}
    assert (scene.scene_id, scene.place, scene.epsg) == (S2_PATCH, TILE, 32633)
    assert (scene.split, scene.region, scene.date) == ("train", "Austria", "2017-06-13")
    assert scene.labels == ("Arable land", "Pastures", "Broad-leaved forest", "Mixed forest")
    assert scene.transform == (10, 0, 390_000, 0, -10, 5_348_400)
    assert list(scene.images) == ["S2"]
    for array, bands in zip(
        scene.images["S2"],
        [
            ("B02", "B03", "B04", "B08"),
            ("B05", "B06", "B07", "B8A", "B11", "B12"),
            ("B01", "B09"),
        ],
        strict=True,
    ):
        paths = [folder / f"{S2_PATCH}_{band}.tif" for band in bands]
        expected = np.concatenate([rasterio.open(path).read() for path in paths])
        assert array.dtype == "uint16"
        np.testing.assert_array_equal(array, expected)
    assert scene.mask is not None
    assert (scene.mask == 255).all()


def test_the_real_s1_patch_is_read_as_rasterio_reads_it(real_root: Path) -> None:
    patch = f"{TILE}_70_48"
    folder = real_root / "BigEarthNet-S1" / S1_SCENE / S1_PATCH
    draw_like(
        real_root / f"Reference_Maps/{TILE}/{patch}/{patch}_reference_map.tif",
        folder / f"{S1_PATCH}_VV.tif", "uint16", 523,
    )  # fmt: skip
    write_metadata(real_root, [row(patch, split="validation")])
    ((scene,), _) = read_all(real_root, sensors=("S1",))
    assert scene.split == "val"
    (array,) = scene.images["S1"]
    expected = [rasterio.open(folder / f"{S1_PATCH}_{band}.tif").read(1) for band in ("VV", "VH")]
    assert array.dtype == "float32"
    np.testing.assert_array_equal(array, np.stack(expected))
    assert scene.mask is not None
    assert (scene.mask == LABELS.index("Marine waters")).all()


def test_the_real_reference_map_becomes_label_numbers(real_root: Path) -> None:
    map_file = real_root / f"Reference_Maps/{TILE}/{MAP_PATCH}/{MAP_PATCH}_reference_map.tif"
    s1 = f"{S1_SCENE}_33UUP_26_57"
    for band, value in (("VV", -12.5), ("VH", -19.25)):
        draw_like(
            real_root / f"BigEarthNet-S1/{S1_SCENE}/{s1}/{s1}_{band}.tif", map_file, "float32",
            value,
        )  # fmt: skip
    write_metadata(real_root, [row(MAP_PATCH)])
    ((scene,), _) = read_all(real_root, sensors=("S1",))
    assert scene.mask is not None
    assert scene.mask.dtype == np.uint8
    numbers, counts = np.unique(scene.mask, return_counts=True)
    # 211 non-irrigated arable land, 231 pastures, 311 and 313 broad-leaved and mixed forest
    assert dict(zip(numbers.tolist(), counts.tolist(), strict=True)) == {
        2: 7_075, 4: 1_154, 8: 4_131, 10: 2_040,
    }  # fmt: skip
    with rasterio.open(map_file) as file:
        np.testing.assert_array_equal(scene.mask == 8, file.read(1) == 311)


def test_patches_of_different_ground_are_no_pair(real_root: Path) -> None:
    folder = real_root / "BigEarthNet-S2" / TILE / S2_PATCH
    draw_like(
        real_root / f"Reference_Maps/{TILE}/{S2_PATCH}/{S2_PATCH}_reference_map.tif",
        folder / f"{S2_PATCH}_B02.tif", "uint16", 211,
    )  # fmt: skip
    write_metadata(real_root, [row(S2_PATCH, s1_name=S1_PATCH)])
    with pytest.raises(ArchiveError, match=r"75_43_B02.tif beside .*70_48_VV.tif: bounds"):
        read_all(real_root)


@pytest.fixture(scope="module")
def published(real_data: Path) -> Catalogue:
    return catalogue(real_data / "reben_v2")


def test_the_real_table_has_the_published_counts(published: Catalogue) -> None:
    assert len(published) == 480_038
    assert dict(zip(*np.unique(published.splits, return_counts=True), strict=True)) == {
        "train": 237_871, "val": 122_342, "test": 119_825,
    }  # fmt: skip
    regions, counts = np.unique(published.attributes["region"], return_counts=True)
    assert dict(zip(regions, counts, strict=True)) == COUNTRIES
    assert published.labels == LABELS
    assert dict(zip(LABELS, published.targets.sum(axis=0), strict=True)) == LABEL_COUNTS
    assert published.targets.sum(axis=1).max() == 11
    of_season = {
        "winter": MONTHS[12] + MONTHS[1] + MONTHS[2],
        "spring": MONTHS[3] + MONTHS[4] + MONTHS[5],
        "summer": MONTHS[6] + MONTHS[7] + MONTHS[8],
        "autumn": MONTHS[9] + MONTHS[10] + MONTHS[11],
    }
    seasons, counts = np.unique(published.attributes["season"], return_counts=True)
    assert dict(zip(seasons, counts, strict=True)) == of_season
    belgium = (published.regions == "Belgium") & (published.splits == "test")
    assert belgium.sum() == 142
    assert published.present("S1").all()
    assert published.present("S2").all()


def test_a_real_row_is_kept_together(published: Catalogue) -> None:
    at = published.scene_ids.index(MAP_PATCH)
    assert (published.splits[at], published.regions[at]) == ("test", "Austria")
    assert published.attributes["place"][at] == TILE
    assert published.attributes["season"][at] == "summer"
    assert [label for label, has in zip(LABELS, published.targets[at], strict=True) if has] == [
        "Arable land", "Pastures", "Broad-leaved forest", "Mixed forest",
    ]  # fmt: skip


def test_the_patches_with_snow_and_cloud_can_be_added(
    real_data: Path, published: Catalogue
) -> None:
    every = catalogue(real_data / "reben_v2", include_snow_cloud=True)
    assert len(every) == 480_038 + 69_450
    assert every.scene_ids[:480_038] == published.scene_ids
    assert (every.regions[480_038:] == "Finland").sum() == 56_722


# Below: a synthetic archive in the same layout, so that it can be spoiled.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patches. Only to be read."""
    folder = tmp_path_factory.mktemp("reben") / "archive"
    synthesise_reben(folder, patches=4, seed=1, countries=["Ireland"])
    return folder


@pytest.fixture
def root(tiny: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(tiny, tmp_path / "archive"))


def rows(root: Path) -> list[dict[str, Any]]:
    table: list[dict[str, Any]] = pq.read_table(root / "metadata.parquet").to_pylist()
    return table


def change_row(root: Path, **changes: Any) -> None:
    first, *others = rows(root)
    write_metadata(root, [{**first, **changes}, *others])


def folder_of(root: Path, part: str) -> Path:
    first: dict[str, str] = rows(root)[0]
    tile = first["patch_id"].rsplit("_", 2)[0]
    if part == "BigEarthNet-S1":
        return root / part / first["s1_name"].rsplit("_", 3)[0] / first["s1_name"]
    return root / part / tile / first["patch_id"]


def band(root: Path, name: str) -> Path:
    part = {"V": "BigEarthNet-S1", "B": "BigEarthNet-S2", "r": "Reference_Maps"}[name[0]]
    folder = folder_of(root, part)
    return folder / f"{folder.name}_{name}.tif"


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


def test_units_follow_the_table(root: Path) -> None:
    units = open_reben(root, Options()).units()
    assert [unit.name for unit in units] == [row["patch_id"] for row in rows(root)]
    assert [unit.split for unit in units] == ["train", "val", "train", "test"]
    assert catalogue(root).scene_ids == [unit.name for unit in units]


def test_rows_marked_with_snow_are_left_out_and_counted(root: Path) -> None:
    change_row(root, contains_seasonal_snow=True)
    scenes, left_out = read_all(root)
    assert len(scenes) == 3
    assert left_out == {"marked with snow, cloud or shadow": 1}
    assert len(catalogue(root)) == 3
    assert len(read_all(root, include_snow_cloud=True)[0]) == 4


def test_a_row_without_label_is_left_out_and_counted(root: Path) -> None:
    change_row(root, labels=[])
    scenes, left_out = read_all(root)
    assert len(scenes) == 3
    assert left_out == {"no label among the 19 classes": 1}


def test_a_table_without_rows_is_an_empty_catalogue(root: Path) -> None:
    table = pq.read_table(root / "metadata.parquet")
    pq.write_table(table.slice(0, 0), root / "metadata.parquet")
    assert len(catalogue(root)) == 0
    assert open_reben(root, Options()).units() == []


def test_a_sensor_not_asked_for_is_not_needed(root: Path) -> None:
    shutil.rmtree(root / "BigEarthNet-S2")
    scenes, _ = read_all(root, sensors=("S1",))
    assert [list(scene.images) for scene in scenes] == [["S1"]] * 4


def test_it_packs_with_masks_and_says_synthetic(tiny: Path, tmp_path: Path) -> None:
    archive = pack(open_reben(tiny, Options()), tmp_path / "packed")
    assert archive.synthetic
    assert "SYNTHETIC" in archive.provenance["source"]
    scenes = {scene.scene_id: scene for scene in read_all(tiny)[0]}
    for number, name in enumerate(archive.scene_ids):
        one = np.array([number])
        np.testing.assert_array_equal(archive.read_mask(one)[0], scenes[name].mask)
        for sensor in ("S1", "S2"):
            for array, expected in zip(
                archive.read(sensor, one), scenes[name].images[sensor], strict=True
            ):
                np.testing.assert_array_equal(array[0], expected)
    found = catalogue(tiny)
    assert found.scene_ids == archive.scene_ids
    for name, values in found.attributes.items():
        np.testing.assert_array_equal(values, archive.catalogue.attributes[name])
    np.testing.assert_array_equal(found.targets, archive.targets)


def swap(root: Path) -> None:
    (root / "BigEarthNet-S1").rename(root / "x")
    (root / "BigEarthNet-S2").rename(root / "BigEarthNet-S1")
    (root / "x").rename(root / "BigEarthNet-S2")


def empty_patch(root: Path) -> None:
    for path in folder_of(root, "BigEarthNet-S2").glob("*.tif"):
        rewrite(path, np.zeros_like)


def without_column(root: Path) -> None:
    write_metadata(root, [{k: v for k, v in r.items() if k != "country"} for r in rows(root)])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "row without S2 files": (
        lambda root: shutil.rmtree(folder_of(root, "BigEarthNet-S2")),
        "the metadata table has .*_00_00, but there is no folder .*BigEarthNet-S2",
    ),
    "row without S1 files": (
        lambda root: shutil.rmtree(folder_of(root, "BigEarthNet-S1")),
        "no folder .*BigEarthNet-S1",
    ),
    "row without map": (
        lambda root: shutil.rmtree(folder_of(root, "Reference_Maps")),
        "no folder .*Reference_Maps",
    ),
    "no S1 folder": (lambda root: shutil.rmtree(root / "BigEarthNet-S1"), "choose sensors"),
    "no maps": (lambda root: shutil.rmtree(root / "Reference_Maps"), "Reference_Maps: No such"),
    "swapped folders": (swap, "named like a Sentinel-2 tile"),
    "missing band": (lambda root: band(root, "B01").unlink(), "_B01.tif: cannot be read"),
    "shifted band": (lambda root: rewrite(band(root, "B8A"), lambda d: d, east=20), "bounds"),
    "shifted map": (
        lambda root: rewrite(band(root, "reference_map"), lambda d: d, east=10),
        "reference_map.tif beside .*: bounds",
    ),
    "map of another dtype": (
        lambda root: rewrite(band(root, "reference_map"), lambda d: (d // 100).astype("uint8")),
        "1 band.s. of uint8, expected 1 of uint16",
    ),
    "unreadable map": (
        lambda root: band(root, "reference_map").write_bytes(
            band(root, "reference_map").read_bytes()[:-60]
        ),
        "reference_map.tif: not a whole GeoTIFF",
    ),
    "no data at all": (empty_patch, "nothing but nodata"),
    "no table": (lambda root: (root / "metadata.parquet").unlink(), "metadata.parquet: not a"),
    "damaged table": (
        lambda root: (root / "metadata.parquet").write_bytes(b"PAR1 and no more"),
        "metadata.parquet: not a readable metadata table",
    ),
    "table without a column": (without_column, "metadata.parquet: no column country"),
    "patch twice": (lambda root: write_metadata(root, rows(root) * 2), "_00_00 stands twice"),
    "label outside": (
        lambda root: change_row(root, labels=["Pastures", "Pasture"]),
        "row 0 .*: label 'Pasture' is not among the 19",
    ),
    "unknown split": (lambda root: change_row(root, split="val"), "row 0 .*: has a split .*'val'"),
    "no country": (lambda root: change_row(root, country=None), "row 0 .*: has no country"),
    "no patch name": (
        lambda root: change_row(root, patch_id="../../etc"),
        "has a patch_id that is no patch name: '../../etc'",
    ),
    "no S1 name": (lambda root: change_row(root, s1_name="S1A_x"), "a s1_name that is no patch"),
    "labels of another kind": (lambda root: change_row_type(root), "not a readable metadata"),
}


def change_row_type(root: Path) -> None:
    write_metadata(root, [{**r, "labels": 7} for r in rows(root)])


@pytest.mark.parametrize("case", BAD)
def test_a_bad_archive_is_named(case: str, root: Path) -> None:
    spoil, message = BAD[case]
    spoil(root)
    with pytest.raises(ArchiveError, match=message):
        read_all(root)


def test_the_second_table_must_be_there_if_asked_for(root: Path) -> None:
    (root / "metadata_for_patches_with_snow_cloud_or_shadow.parquet").unlink()
    with pytest.raises(ArchiveError, match=r"snow_cloud_or_shadow\.parquet: not a readable"):
        catalogue(root, include_snow_cloud=True)
