"""The expert tiles of Dynamic World: what is read, how it is split, and every bad folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.dynamicworld import (
    LABELS,
    S2_BANDS,
    DynamicWorldSource,
    open_dynamicworld,
)
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Reading
from raymmfl.errors import ArchiveError

PATCH = 28  # 96 = 3 x 28 + 12
OPTIONS = Options(patch=PATCH, min_labelled=0.25)
WEST, EAST = "dw_-57.5_-4.25-20190811", "dw_3_50.9-20190508"


def write(path: Path, data_BHW: np.ndarray, **profile: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = profile.pop("names", ())
    kept = {
        "driver": "GTiff", "crs": "EPSG:32721", "transform": Affine(10, 0, 5e5, 0, -10, 9.5e6),
        "count": len(data_BHW), "height": data_BHW.shape[1], "width": data_BHW.shape[2],
        "dtype": data_BHW.dtype, **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **kept) as file:
        file.write(data_BHW)
        for index, name in enumerate(names, start=1):
            file.set_band_description(index, name)
    return path


def numbers(bands: int, dtype: str, side: int = 60) -> np.ndarray:
    """Every band and pixel its own value, above 0."""
    return (1 + np.arange(bands * side * side).reshape(bands, side, side) % 30000).astype(dtype)


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    """Two tiles of 60 pixels with both sensors, all of it crops; written without descriptions."""
    root = tmp_path / "tiles"
    for stem, folder in ((WEST, "WH/1"), (EAST, "EH/4")):
        write(root / "Experts" / folder / f"{stem}.tif", np.full((1, 60, 60), 5, np.uint8))
        write(root / "s2" / f"{stem}.tif", numbers(12, "int16"))
        write(root / "s1" / folder / f"{stem}.tif", -numbers(2, "float64"))
    return root


def label(root: Path, stem: str = WEST) -> Path:
    return next((root / "Experts").rglob(f"{stem}.tif"))


def read(root: Path, options: Options = OPTIONS, stem: str = WEST) -> Reading:
    source = open_dynamicworld(root, options)
    return source.read(next(unit for unit in source.units() if unit.name == stem))


def test_pixels_arrive_unchanged(tiles: Path) -> None:
    source = open_dynamicworld(tiles, OPTIONS)
    assert [(s.name, s.unit) for s in source.format.sensors] == [
        ("S1", "dB"),
        ("S2", "reflectance x 10000"),
    ]
    assert source.format.sensors[1].columns[0].bands == S2_BANDS
    assert source.format.sensors[1].columns[0].dtype == "int16"
    assert not source.format.synthetic
    scenes = read(tiles).scenes
    assert [scene.scene_id for scene in scenes] == [
        f"{WEST}_r{top:04d}_c{left:04d}" for top in (0, 28) for left in (0, 28)
    ], "2 x 28 of 60 pixels; the last 4 are dropped"
    for scene, (top, left) in zip(scenes, [(0, 0), (0, 28), (28, 0), (28, 28)], strict=True):
        window = np.s_[:, top : top + 28, left : left + 28]
        np.testing.assert_array_equal(scene.images["S1"][0], -numbers(2, "float64")[window])
        np.testing.assert_array_equal(scene.images["S2"][0], numbers(12, "int16")[window])
        assert scene.images["S1"][0].dtype == np.float64
        assert scene.mask is not None
        assert (scene.mask == LABELS.index("crops")).all()
        assert scene.labels == ("crops",)
        assert scene.transform == (10, 0, 5e5 + 10 * left, 0, -10, 9.5e6 - 10 * top)
        assert set(scene.sources) == {
            f"Experts/WH/1/{WEST}.tif",
            f"s2/{WEST}.tif",
            f"s1/WH/1/{WEST}.tif",
        }
    (first, *_) = scenes
    assert (first.region, first.place, first.date, first.epsg) == (
        "WH/1", WEST, "2019-08-11", 32721,
    )  # fmt: skip
    assert first.attributes == {"hemisphere": "WH", "biome": "1"}
    # Easting 500 km is the zone's central meridian.
    assert first.lon == pytest.approx(-57, abs=2e-3)
    assert first.lat == pytest.approx(-4.5228, abs=1e-2)


def test_values_become_nine_classes(tiles: Path) -> None:
    values = np.arange(11, dtype=np.uint8).repeat(5)[None, :, None].repeat(55, axis=2)
    path = label(tiles)
    path.unlink()
    write(path, np.pad(values, ((0, 0), (0, 5), (0, 5))))
    (scene,) = read(tiles, Options(patch=60, min_share=0.01, min_labelled=0.5)).scenes
    assert scene.mask is not None
    found = scene.mask[::5, 0].tolist()
    assert found == [255, 0, 1, 2, 3, 4, 5, 6, 7, 8, 255, 255]
    assert (scene.mask[:, 55:] == 255).all()
    assert scene.labels == LABELS


def test_labels_are_shares_of_the_labelled_pixels(tiles: Path) -> None:
    mask = np.zeros((1, 60, 60), np.uint8)
    mask[0, :20], mask[0, :1, :30] = 2, 9  # a third of the tile is marked, 2.5 % of that snow
    label(tiles).unlink()
    write(tiles / "Experts" / "WH" / "1" / f"{WEST}.tif", mask)
    for min_share, labels in ((0.4, ("trees",)), (0.025, ("trees", "snow/ice"))):
        (scene,) = read(tiles, Options(60, min_share=min_share, min_labelled=0.25)).scenes
        assert scene.labels == labels
    left_out = read(tiles, Options(60, min_labelled=0.34)).left_out
    assert sum(left_out.values()) == 1
    assert "too few labelled" in next(iter(left_out))


@pytest.mark.parametrize(
    ("names", "bands", "how"),
    [
        ((), ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), "number"),
        (("", *["band"] * 9), ("B02", "B03"), "number"),
        (
            ("B4", "B3", "B2", "B8", "B5", "B6", "B7", "B8A", "B11", "B12"),
            ("B04", "B03", "B02", "B08"),
            "descriptions",
        ),
    ],
)
def test_bands_by_description_or_number(
    tiles: Path, names: tuple[str, ...], bands: tuple[str, ...], how: str
) -> None:
    for stem in (WEST, EAST):
        write(tiles / "s2" / f"{stem}.tif", numbers(10, "uint16"), names=names)
    form = open_dynamicworld(tiles, OPTIONS).format
    assert form.sensors[1].columns[0].bands[: len(bands)] == bands
    assert how in form.options["bands of S2"]
    assert len(read(tiles).scenes) == 4


def test_a_tile_may_lack_a_sensor_or_both(tiles: Path) -> None:
    (tiles / "s2" / f"{WEST}.tif").unlink()
    assert {tuple(scene.images) for scene in read(tiles).scenes} == {("S1",)}
    (tiles / "s1" / "WH" / "1" / f"{WEST}.tif").unlink()
    reading = read(tiles)
    assert reading.scenes == []
    assert sum(reading.left_out.values()) == 1, "counted, and its labels are not read"
    assert {tuple(scene.images) for scene in read(tiles, stem=EAST).scenes} == {("S1", "S2")}


@pytest.mark.parametrize(
    ("folder", "value", "tag"),
    [("s1/WH/1", np.nan, None), ("s1/WH/1", -9999, -9999), ("s2", 0, None)],
)
def test_a_patch_goes_without_a_sensor_that_has_a_gap(
    tiles: Path, folder: str, value: float, tag: float | None
) -> None:
    sensor, other = ("S1", "S2") if folder.startswith("s1") else ("S2", "S1")
    path = tiles / folder / f"{WEST}.tif"
    with rasterio.open(path) as file:
        data = file.read()
    data[:, 59, 59], data[:, 3, 40] = value, value  # the first lies in no patch
    write(path, data, nodata=tag)
    reading = read(tiles)
    assert [sensor in scene.images for scene in reading.scenes] == [True, False, True, True]
    assert all(other in scene.images for scene in reading.scenes)
    ((reason, count),) = reading.left_out.items()
    assert count == 1
    assert f"{sensor} with a pixel without data" in reason


def test_one_sensor_is_enough(tiles: Path) -> None:
    shutil.rmtree(tiles / "s1")
    assert [s.name for s in open_dynamicworld(tiles, OPTIONS).format.sensors] == ["S2"]
    assert len(read(tiles).scenes) == 4


def test_a_flat_folder_of_labels_has_no_region(tiles: Path) -> None:
    for path in list((tiles / "Experts").rglob("*.tif")):
        (tiles / "labels").mkdir(exist_ok=True)
        path.rename(tiles / "labels" / path.name)
    shutil.rmtree(tiles / "Experts")
    for path in list((tiles / "s1").rglob("*.tif")):
        path.rename(tiles / "s1" / path.name)
    (scene, *_) = read(tiles).scenes
    assert (scene.region, scene.attributes) == ("", {"hemisphere": "", "biome": ""})
    assert set(scene.images) == {"S1", "S2"}


def source_of(root: Path, seed: int) -> DynamicWorldSource:
    return open_dynamicworld(root, Options(patch=PATCH, min_labelled=0.25, seed=seed))


def test_a_tile_with_all_its_dates_is_in_one_split(dynamicworld: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(dynamicworld, tmp_path / "source"))
    for path in list((root / "Experts").rglob("*.tif")):
        shutil.copy(path, path.with_name(f"{path.stem[:-8]}20170102.tif"))
    units = source_of(root, 0).units()
    assert len(units) == 48
    regions = {unit.region for unit in units}
    assert len(regions) == 6
    for region in regions:
        splits = [unit.split for unit in units if unit.region == region]
        assert {split: splits.count(split) for split in splits} == {
            "train": 4,
            "val": 2,
            "test": 2,
        }
    by_ground: dict[str, set[str]] = {}
    for unit in units:
        by_ground.setdefault(unit.name[:-9], set()).add(unit.split)
    assert all(len(splits) == 1 for splits in by_ground.values())


def test_the_seed_decides_the_split(dynamicworld: Path) -> None:
    first, again, other = (source_of(dynamicworld, seed).units() for seed in (0, 0, 1))
    assert first == again
    assert [unit.split for unit in first] != [unit.split for unit in other]


def test_splits_csv_decides_instead(tiles: Path) -> None:
    (tiles / "splits.csv").write_text(f"stem,split\n{WEST},test\n{EAST},train\n")
    source = open_dynamicworld(tiles, OPTIONS)
    splits = {unit.name: unit.split for unit in source.units()}
    assert splits == {WEST: "test", EAST: "train"}
    assert [path.name for path in source.tables()] == ["splits.csv"]


def test_packing_the_synthetic_tiles(dynamicworld: Path, tmp_path: Path) -> None:
    archive = pack(open_dynamicworld(dynamicworld, OPTIONS), tmp_path / "archive")
    assert archive.synthetic
    assert archive.labels == LABELS
    assert set(archive.regions) == {"EH/4", "WH/1", "EH/6", "WH/8", "EH/12", "WH/13"}
    for region in set(archive.regions):
        here = archive.regions == region
        assert set(archive.splits[here]) == {"train", "val", "test"}
    assert (archive.catalogue.attributes["hemisphere"] == "WH").any()
    for place in set(archive.places):
        assert len(set(archive.splits[archive.places == place])) == 1


def spoiled(change: Callable[[np.ndarray], np.ndarray], **profile: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with rasterio.open(path) as file:
            data, kept = file.read(), {"crs": file.crs, "transform": file.transform}
        path.unlink()
        write(path, change(data), **{**kept, **profile})

    return spoil


def same(data: np.ndarray) -> np.ndarray:
    return data


def emptied(folder: Path) -> None:
    for path in folder.rglob("*.tif"):
        path.unlink()


def without_imagery(root: Path) -> None:
    for folder in ("s1", "s2"):
        shutil.rmtree(root / folder)


def swapped(root: Path) -> None:
    (root / "s1").rename(root / "kept")
    (root / "s2").rename(root / "s1")
    (root / "kept").rename(root / "s2")


def listed(text: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / "splits.csv").write_text(text)

    return spoil


# Not the first by name, which tells what the others must hold.
S1_FILE, S2_FILE = f"s1/EH/4/{EAST}.tif", f"s2/{EAST}.tif"
LABEL_FILE = f"Experts/WH/1/{WEST}.tif"
SHIFTED = Affine(10, 0, 5e5 + 10, 0, -10, 9.5e6)
ORDER = ("B12", *S2_BANDS[:-1])
FIRST_S2 = f"s2/{WEST}.tif"
BAD: dict[str, tuple[str, Callable[[Path], object], tuple[str, ...]]] = {
    "no labels": ("", lambda root: shutil.rmtree(root / "Experts"), ("Experts/", "neither")),
    "two folders of labels": ("", lambda root: (root / "labels").mkdir(), ("Experts and labels",)),
    "empty labels": (
        "Experts",
        emptied,
        ("no dw_*.tif",),
    ),
    "no imagery": (
        "",
        without_imagery,
        ("ships labels alone", "neither s1/ nor s2/"),
    ),
    "empty imagery": ("s2", emptied, ("ships labels",)),
    "a name without a date": (
        LABEL_FILE,
        lambda path: path.rename(path.with_name("dw_1_2.tif")),
        ("dw_1_2.tif", "is not named"),
    ),
    "a date that is none": (
        LABEL_FILE,
        lambda path: path.rename(path.with_name("dw_1_2-20191341.tif")),
        ("20191341.tif", "is not named"),
    ),
    "a stem twice": (
        "Experts",
        lambda path: shutil.copytree(path / "WH" / "1", path / "EH" / "1"),
        (f"EH/1/{WEST}.tif", f"WH/1/{WEST}.tif", "stands twice"),
    ),
    "imagery twice": (
        "s2",
        lambda path: write(path / "EH" / "4" / f"{EAST}.tif", numbers(12, "int16")),
        (f"s2/EH/4/{EAST}.tif", S2_FILE, "stands twice"),
    ),
    "imagery of no tile": (
        S2_FILE,
        lambda path: path.rename(path.with_name("dw_9_9-20190101.tif")),
        ("s2/dw_9_9-20190101.tif", "no tile"),
    ),
    "shifted imagery": (S2_FILE, spoiled(same, transform=SHIFTED), (S2_FILE, "bounds")),
    "another zone": (S1_FILE, spoiled(same, crs="EPSG:32722"), (S1_FILE, "CRS")),
    "another size": (S1_FILE, spoiled(lambda d: d[:, :50]), (S1_FILE, "50x60 pixels")),
    "a lost band": (S2_FILE, spoiled(lambda d: d[:10]), (S2_FILE, "10 band(s)")),
    "a number of bands that says nothing": (
        FIRST_S2,
        spoiled(lambda d: d[:4]),
        ("4 band(s)", "12 or 10"),
    ),
    "another dtype than the first": (
        S2_FILE,
        spoiled(lambda d: d.astype(np.uint16)),
        (S2_FILE, "uint16"),
    ),
    "bands in another order": (S2_FILE, spoiled(same, names=ORDER), (S2_FILE, "one order")),
    "half of the bands named": (S2_FILE, spoiled(same, names=("B01",)), (S2_FILE, "band 2")),
    "VH before VV": (S1_FILE, spoiled(same, names=("VH", "VV")), (S1_FILE, "in this order")),
    "swapped sensors": ("", swapped, ("s1/", "another sensor?")),
    "one value of no class": (
        LABEL_FILE,
        spoiled(lambda d: np.where(np.arange(60) == 7, 11, d).astype(np.uint8)),
        (LABEL_FILE, "values [11]"),
    ),
    "labels of another dtype": (
        LABEL_FILE,
        spoiled(lambda d: d.astype(np.int16)),
        (LABEL_FILE, "int16"),
    ),
    "labels in degrees": (
        LABEL_FILE,
        spoiled(same, crs="EPSG:4326", transform=Affine(1e-4, 0, 5, 0, -1e-4, 5)),
        (LABEL_FILE, "UTM"),
    ),
    "a cut label": (
        LABEL_FILE,
        lambda path: path.write_bytes(path.read_bytes()[:300]),
        (LABEL_FILE, "not a whole GeoTIFF"),
    ),
    "an infinite value": (
        S1_FILE,
        spoiled(lambda d: np.where(np.arange(60) == 7, np.inf, d)),
        (S1_FILE, "infinite"),
    ),
    "a split of no tile": (
        "",
        listed(f"stem,split\n{WEST},train\ndw_0_0-20190101,test\n"),
        ("line 3", "no tile"),
    ),
    "a split by another name": ("", listed(f"stem,split\n{WEST},dev\n"), ("line 2", "'dev'")),
    "a tile in two splits": (
        "",
        listed(f"stem,split\n{WEST},train\n{WEST},test\n"),
        ("line 3", "twice"),
    ),
    "a tile in no split": ("", listed(f"stem,split\n{WEST},train\n"), (EAST, "list every tile")),
    "a list without its header": ("", listed(f"{WEST},train\n"), ("line 1", "no column 'stem'")),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_named(name: str, tiles: Path, tmp_path: Path) -> None:
    where, spoil, said = BAD[name]
    spoil(tiles / where)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArchiveError) as caught:
        pack(open_dynamicworld(tiles, OPTIONS), tmp_path / "archive")
    for text in said:
        assert text in str(caught.value)
    left = [path for path in tmp_path.iterdir() if path not in before]
    assert not [path for path in left if path.name == "archive"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (Options(patch=0), "patch=0"),
        (Options(patch=61), "no patch of 61"),
        (Options(sensors=("S3",)), "choose from S1, S2"),
    ],
)
def test_options_out_of_range(tiles: Path, options: Options, said: str) -> None:
    with pytest.raises(ArchiveError, match=said):
        read(tiles, options)
