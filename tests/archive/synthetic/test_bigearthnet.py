"""The synthetic archives have the real ones' layouts, split their ground, and can be learnt."""

import bz2
import csv
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from raymmfl.archive.catalogue import season
from raymmfl.archive.readers.nomenclature import BY_CODE, LABELS, labels_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.reben import open_reben
from raymmfl.archive.synthetic.bigearthnet import synthesise_bigearthnet_mm, synthesise_reben
from raymmfl.archive.synthetic.patches import SEASONS, draw_patches
from raymmfl.errors import ArchiveError

PATCHES = 26  # the 25th is covered
COUNTRIES = ("Finland", "Portugal")


@pytest.fixture(scope="module")
def v1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be read."""
    folder = tmp_path_factory.mktemp("v1") / "archive"
    synthesise_bigearthnet_mm(folder, patches=PATCHES, seed=5, countries=COUNTRIES)
    return folder


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be read."""
    folder = tmp_path_factory.mktemp("v2") / "archive"
    synthesise_reben(folder, patches=PATCHES, seed=5, countries=COUNTRIES)
    return folder


def same_form(path: Path, real: Path) -> None:
    """Everything that rasterio tells of two files but where they are."""
    with rasterio.open(path) as ours, rasterio.open(real) as theirs:
        assert (ours.count, ours.shape, ours.dtypes) == (theirs.count, theirs.shape, theirs.dtypes)
        assert (ours.nodata, ours.compression) == (theirs.nodata, theirs.compression)
        assert (ours.res, ours.block_shapes) == (theirs.res, theirs.block_shapes)
        assert (ours.descriptions, ours.tags()) == (theirs.descriptions, theirs.tags())
        assert ours.crs.to_epsg() // 100 == theirs.crs.to_epsg() // 100 == 326


@pytest.mark.parametrize("part", ["BigEarthNet-v1.0", "BigEarthNet-S1-v1.0"])
def test_v1_files_have_the_form_of_real_ones(v1: Path, real_data: Path, part: str) -> None:
    real = next((real_data / "bigearthnet_v1" / part).iterdir())
    ours = next((v1 / part).iterdir())
    names = [path.name.removeprefix(real.name) for path in sorted(real.iterdir())]
    assert names == [path.name.removeprefix(ours.name) for path in sorted(ours.iterdir())]
    for name in names[:-1]:
        same_form(ours / f"{ours.name}{name}", real / f"{real.name}{name}")
    mine, true = (
        json.loads((folder / f"{folder.name}{names[-1]}").read_text()) for folder in (ours, real)
    )
    assert list(mine) == list(true)
    assert list(mine["coordinates"]) == list(true["coordinates"])
    for key in ("labels", "projection"):
        assert isinstance(mine[key], type(true[key]))


def test_v2_files_have_the_form_of_real_ones(v2: Path, real_data: Path) -> None:
    for part in ("BigEarthNet-S1", "BigEarthNet-S2", "Reference_Maps"):
        (real,) = (real_data / "reben_v2" / part).glob("*/*")
        ours = next((v2 / part).glob("*/*"))
        names = [path.name.removeprefix(real.name) for path in sorted(real.iterdir())]
        assert names == [path.name.removeprefix(ours.name) for path in sorted(ours.iterdir())]
        for name in names:
            same_form(ours / f"{ours.name}{name}", real / f"{real.name}{name}")
    for name in ("metadata", "metadata_for_patches_with_snow_cloud_or_shadow"):
        mine = pq.read_schema(v2 / f"{name}.parquet")
        true = pq.read_schema(real_data / "reben_v2" / "catalogue" / f"{name}.parquet")
        assert {field.name: field.type for field in mine} == {
            field.name: field.type for field in true
        }


def test_v1_names_lists_and_json_agree(v1: Path) -> None:
    names = {
        part: {path.name for path in (v1 / part).iterdir()}
        for part in ("BigEarthNet-v1.0", "BigEarthNet-S1-v1.0")
    }
    lists = {
        path.stem: [tuple(line.split(",")) for line in path.read_text().splitlines()]
        for path in (v1 / "splits").glob("*.csv")
    }
    listed = [row[0] for rows in lists.values() for row in rows]
    assert len(listed) == len(set(listed)) == PATCHES
    assert set(listed) == names["BigEarthNet-v1.0"]
    assert len(lists["patches_with_seasonal_snow"] + lists["patches_with_cloud_and_shadow"]) == 1
    shown = {}
    for path in (v1 / "BigEarthNet-S1-v1.0").glob("*/*.json"):
        content = json.loads(path.read_text())
        shown[content["corresponding_s2_patch"]] = path.parent.name
        with rasterio.open(path.parent / f"{path.parent.name}_VV.tif") as file:
            box = content["coordinates"]
            assert file.bounds == (box["ulx"], box["lly"], box["lrx"], box["uly"])
            assert rasterio.CRS.from_wkt(content["projection"]) == file.crs
    assert set(shown.values()) == names["BigEarthNet-S1-v1.0"]
    for split in ("train", "val", "test"):
        assert lists[split]
        assert all(shown[s2] == s1 for s2, s1 in lists[split])
    table = bz2.decompress((v1 / "splits/s1_s2_name_country_season.csv.bz2").read_bytes())
    rows = list(csv.DictReader(table.decode().splitlines()))
    assert {row["s2_name"]: row["s1_name"] for row in rows} == shown
    assert {row["country"] for row in rows} == set(COUNTRIES)
    assert {row["season"] for row in rows} == {"Winter", "Spring", "Summer", "Fall"}
    times = {re.findall(r"T(\d+)_", name)[0] for name in names["BigEarthNet-v1.0"]}
    assert {len(time) for time in times} == {5, 6}  # hours without leading zero


def test_both_archives_hold_the_same_pixels_and_labels(v1: Path, v2: Path) -> None:
    tables = ("metadata", "metadata_for_patches_with_snow_cloud_or_shadow")
    rows = [row for name in tables for row in pq.read_table(v2 / f"{name}.parquet").to_pylist()]
    assert len(rows) == PATCHES
    for row in rows:
        old = v1 / "BigEarthNet-v1.0" / row["s2v1_name"]
        new = v2 / "BigEarthNet-S2" / row["patch_id"].rsplit("_", 2)[0] / row["patch_id"]
        for band in ("B01", "B08", "B11"):
            with (
                rasterio.open(old / f"{old.name}_{band}.tif") as first,
                rasterio.open(new / f"{new.name}_{band}.tif") as second,
            ):
                np.testing.assert_array_equal(first.read(), second.read())
                assert first.transform == second.transform
        names = json.loads((old / f"{old.name}_labels_metadata.json").read_text())["labels"]
        assert row["labels"] == sorted(labels_of(names))  # the alphabet, as in the real table
        reference = v2 / "Reference_Maps" / new.relative_to(v2 / "BigEarthNet-S2")
        with rasterio.open(reference / f"{new.name}_reference_map.tif") as file:
            assert {BY_CODE[code].name for code in np.unique(file.read()).tolist()} == set(names)


def test_the_seed_decides_every_pixel() -> None:
    first, again, other = (list(draw_patches(4, seed, ["Ireland"])) for seed in (0, 0, 1))
    for mine, same, different in zip(first, again, other, strict=True):
        for band, pixels in mine.bands.items():
            np.testing.assert_array_equal(pixels, same.bands[band])
            assert (pixels != different.bands[band]).mean() > 0.3


def test_no_ground_is_drawn_twice_and_every_split_meets_every_season() -> None:
    patches = list(draw_patches(64, 0, ["Serbia"]))  # 16 blocks of 2x2
    assert len({patch.corner for patch in patches}) == 64
    assert len({patch.square for patch in patches}) == 64
    blocks = {(patch.square[0] // 2, patch.square[1] // 2): patch for patch in patches}
    met = Counter((patch.split, patch.season.name) for patch in blocks.values())
    shares = {"train": 2, "val": 1, "test": 1}
    assert met == {(s, season.name): n for s, n in shares.items() for season in SEASONS}
    for patch in patches:
        block = blocks[patch.square[0] // 2, patch.square[1] // 2]
        assert (patch.split, patch.season) == (block.split, block.season)
    for each in SEASONS:
        date = f"{each.date[:4]}-{each.date[4:6]}-{each.date[6:]}"
        assert season(date) == each.name


def test_tiles_have_their_mgrs_names() -> None:
    tiles = {
        patch.country: patch for patch in draw_patches(3, 0, ["Austria", "Portugal", "Serbia"])
    }
    # 460 km E, 5280 km N in zone 33; 520, 4310 in 29; 420, 4980 in 34
    assert [tiles[name].tile for name in ("Austria", "Portugal", "Serbia")] == [
        "33TVN", "29SND", "34TDQ",
    ]  # fmt: skip
    assert tiles["Austria"].corner == (400_000, 5_300_000)


def test_covers_can_be_told_apart_and_clouds_are_bright(v2: Path) -> None:
    source = open_reben(v2, Options(include_snow_cloud=True))
    rows = pq.read_table(v2 / "metadata_for_patches_with_snow_cloud_or_shadow.parquet").to_pylist()
    covered = {row["patch_id"] for row in rows}
    near_infrared: dict[str, list[np.ndarray]] = {"Inland waters": [], "Pastures": []}
    blue: dict[bool, list[float]] = {True: [], False: []}
    for unit in source.units():
        (scene,) = source.read(unit).scenes
        image = scene.images["S2"][0]
        blue[unit.name in covered].append(float(image[0].mean()))
        if unit.name not in covered:
            assert scene.mask is not None
            for label, pixels in near_infrared.items():
                pixels.append(image[3][scene.mask == LABELS.index(label)])
    water, pasture = (np.concatenate(pixels) for pixels in near_infrared.values())
    assert min(len(water), len(pasture)) > 1000
    assert np.median(water) * 4 < np.median(pasture)
    assert min(blue[True]) > 2 * np.mean(blue[False])


@pytest.mark.parametrize(
    ("patches", "countries", "message"),
    [
        (10, ["Atlantis"], "choose each once"),
        (10, ["Ireland", "Ireland"], "choose each once"),
        (1, ["Ireland", "Austria"], "at least one each"),
        (7745, ["Ireland"], "at most 7744"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    patches: int, countries: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=message):
        synthesise_reben(tmp_path / "out", patches=patches, countries=countries)
    assert list(tmp_path.iterdir()) == []
