import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from rasterio.windows import Window

from raymmfl.archive.packing.pack import Progress, pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Source
from raymmfl.archive.readers.tile_layouts import SYNTHETIC, TERRAMESH, TileLayout
from raymmfl.archive.store import Archive


def opened(folder: Path, layout: str = "synthetic", **options: Any) -> Source:
    return LAYOUTS[layout].open(folder, Options(**options))


def check_round_trip(archive: Archive, source: Path, layout: TileLayout, patch: int) -> None:
    """Every packed pixel equals what rasterio reads from the source at the scene's window."""
    table = pq.read_table(archive.path / "scenes.parquet").to_pydict()
    labels = list(archive.labels)
    for row, (name, place) in enumerate(zip(archive.scene_ids, archive.places, strict=True)):
        top, left = (int(part[1:]) for part in name.rsplit("_", 2)[1:])
        for sensor in layout.sensors:
            if sensor.name not in archive.sensors:
                continue
            arrays = archive.read(sensor.name, np.array([row]))
            for raster, array in zip(sensor.rasters, arrays, strict=True):
                size = patch // raster.ratio
                window = Window(left // raster.ratio, top // raster.ratio, size, size)
                with rasterio.open(source / raster.folder / f"{place}.tif") as file:
                    expected = file.read(window=window)
                assert array.dtype == expected.dtype == np.dtype(raster.dtype)
                np.testing.assert_array_equal(array[0], expected)
        with rasterio.open(source / layout.mask_folder / f"{place}.tif") as file:
            values = file.read(1, window=Window(left, top, patch, patch))
            assert file.crs.to_epsg() == table["epsg"][row]
            corner = (file.bounds.left + 10 * left, file.bounds.top - 10 * top)
        assert (table["transform"][row][2], table["transform"][row][5]) == pytest.approx(
            corner, abs=1e-6
        )
        mask = archive.read_mask(np.array([row]))[0]
        for value, label in layout.classes.items():
            share = (values == value).mean()
            assert archive.targets[row, labels.index(label)] == (share >= 0.1)
            np.testing.assert_array_equal(mask == labels.index(label), values == value)
        np.testing.assert_array_equal(mask == 255, np.isin(values, layout.ignored))


def test_round_trip_of_a_synthetic_source(tiny_source: Path, tiny_archive: Archive) -> None:
    check_round_trip(tiny_archive, tiny_source, SYNTHETIC, 16)
    assert len(tiny_archive) > 90
    assert tiny_archive.synthetic


def test_round_trip_of_the_real_tiles(terramesh: Path, tmp_path: Path) -> None:
    archive = pack(opened(terramesh, "terramesh", patch=28), tmp_path / "a")
    check_round_trip(archive, terramesh, TERRAMESH, 28)
    assert not archive.synthetic
    assert set(archive.places) == set(archive.regions)
    assert len(set(archive.places)) == 5, "the place of nothing but snow packs too"
    snow = archive.targets[archive.places == "609U_541L_3_0"]
    np.testing.assert_array_equal(
        snow.sum(axis=0) > 0, np.array(archive.labels) == "snow/ice", strict=True
    )


def test_elevation_is_packed_when_asked_for(terramesh: Path, tmp_path: Path) -> None:
    source = opened(terramesh, "terramesh", patch=32, sensors=("DEM", "S1"))
    archive = pack(source, tmp_path / "a")
    assert list(archive.sensors) == ["S1", "DEM"]
    assert archive.read("DEM", archive.rows("test"))[0].shape[1:] == (1, 32, 32)


def test_statistics_are_those_of_the_train_split(tiny_archive: Archive) -> None:
    rows = tiny_archive.rows("train")
    for sensor in tiny_archive.sensors.values():
        arrays = [a.astype(np.float64) for a in tiny_archive.read(sensor.name, rows)]
        mean = np.concatenate([array.mean(axis=(0, 2, 3)) for array in arrays])
        std = np.concatenate([array.std(axis=(0, 2, 3)) for array in arrays])
        np.testing.assert_allclose(sensor.mean, mean, rtol=1e-10)
        np.testing.assert_allclose(sensor.std, std, rtol=1e-8)
        everything = [a.mean() for a in tiny_archive.read(sensor.name, np.arange(len(rows)))]
        assert not np.allclose(everything[0], np.mean(sensor.mean), rtol=1e-12)


def test_regions_and_dates_come_from_places_csv(tiny_archive: Archive) -> None:
    assert set(zip(tiny_archive.places, tiny_archive.regions, strict=True)) == {
        ("Austria_1", "Austria"),
        ("Portugal_1", "Portugal"),
    }
    dates = pq.read_table(tiny_archive.path / "scenes.parquet")["date"].to_pylist()
    assert set(dates) == {"2018-06-20", "2017-08-14"}


def test_coordinates_are_in_the_utm_zone(tiny_archive: Archive) -> None:
    table = pq.read_table(tiny_archive.path / "scenes.parquet").to_pydict()
    for lon, lat, epsg in zip(table["lon"], table["lat"], table["epsg"], strict=True):
        zone = epsg - 32600
        assert (zone - 1) * 6 - 180 <= lon <= zone * 6 - 180
        assert 35 < lat < 50


def test_a_place_without_a_sensor_has_no_row_of_it(source: Path, tmp_path: Path) -> None:
    (source / "S1" / "Portugal_1.tif").unlink()
    archive = pack(opened(source, patch=16), tmp_path / "a")
    np.testing.assert_array_equal(archive.present("S1"), archive.regions == "Austria")
    assert archive.present("S2").all()
    train = archive.rows("train")
    both = train[archive.present("S1")[train] & archive.present("S2")[train]]
    assert 0 < len(both) < len(train)


@pytest.mark.parametrize(("patch", "stride"), [(16, 8), (16, 16), (8, 24)])
def test_patches_of_two_splits_share_no_pixel(
    tiny_source: Path, tmp_path: Path, patch: int, stride: int
) -> None:
    source = opened(tiny_source, patch=patch, stride=stride, block=16)
    archive = pack(source, tmp_path / "a")
    owner: dict[tuple[str, int, int], str] = {}
    for name, place, split in zip(archive.scene_ids, archive.places, archive.splits, strict=True):
        top, left = (int(part[1:]) for part in name.rsplit("_", 2)[1:])
        for row in range(top, top + patch):
            for column in range(left, left + patch):
                assert owner.setdefault((place, row, column), split) == split
    assert set(owner.values()) == {"train", "val", "test"}


def test_unlabelled_patches_are_left_out_and_counted(source: Path, tmp_path: Path) -> None:
    path = source / "LULC" / "Austria_1.tif"
    with rasterio.open(path, "r+") as file:
        mask = file.read(1)
        mask[:, :64] = 0
        file.write(mask, 1)
    archive = pack(opened(source, patch=16), tmp_path / "a")
    left_out = sum(archive.provenance["left_out"].values())
    kept = int((archive.places == "Austria_1").sum())
    full = int((archive.places == "Portugal_1").sum())
    assert 0 < kept < full
    assert left_out > 10
    columns = [int(n.rsplit("_c", 1)[1]) for n in archive.scene_ids if n.startswith("Austria")]
    assert min(columns) >= 64


def test_packing_twice_gives_equal_bytes(
    tiny_source: Path, tiny_archive: Archive, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    again = pack(
        opened(tiny_source, patch=16),
        tmp_path / "a",
        progress=seen.append,
    )
    assert again.digest == tiny_archive.digest
    assert [(each.stage, each.done, each.total) for each in seen[:3]] == [
        ("reading", done, 2) for done in (0, 1, 2)
    ]
    assert seen[2].scenes == len(again)
    assert {each.stage for each in seen[3:]} == {"merging S1", "merging S2", "merging mask"}
    for name in json.loads((again.path / "archive.json").read_text())["files"]:
        assert (again.path / name).read_bytes() == (tiny_archive.path / name).read_bytes()
