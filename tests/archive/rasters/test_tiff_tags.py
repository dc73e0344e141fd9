"""Our reading of a TIFF's tags against GDAL's."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.transform import Affine

from raymmfl.archive.rasters import geotiff
from raymmfl.archive.rasters.tiff_tags import read_tags

PLAIN = Affine(10, 0, 500_000.5, 0, -10, 5_000_000.25)


def write(path: Path, transform: Affine | None = PLAIN, **profile: Any) -> Path:
    data = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(2, 40, 30)
    given = {"crs": "EPSG:32633", "transform": transform, **profile}
    given = {name: value for name, value in given.items() if value is not None}
    with rasterio.open(
        path, "w", driver="GTiff", count=2, height=40, width=30, dtype="uint16", **given
    ) as file:
        file.write(data)
        file.set_band_description(1, "a long name that does not fit into the entry")
    return path


@pytest.mark.parametrize(
    "profile",
    [{}, {"compress": "deflate"}, {"tiled": True, "blockxsize": 16, "blockysize": 16},
     {"ENDIANNESS": "BIG"}, {"nodata": 7}, {"interleave": "band"}, {"crs": "EPSG:4326"},
     {"transform": Affine(20, 0, -3.5, 0, -30, 8.25)}, {"blockysize": 1}],
)  # fmt: skip
def test_transform_and_length_are_gdals(tmp_path: Path, profile: dict[str, Any]) -> None:
    path = write(tmp_path / "a.tif", **profile)
    content = path.read_bytes()
    tags = read_tags(content)
    assert tags is not None
    with rasterio.open(path) as file:
        assert tags.transform == tuple(file.transform)[:6]
    assert tags.length == len(content)
    for cut in range(len(content)):
        short = read_tags(content[:cut])
        assert short is None or short.length > cut


@pytest.mark.parametrize(
    "profile",
    [
        {"transform": Affine(10, 1, 5, 1, -10, 5)},
        {"transform": Affine(10, 0, 5, 0, 10, 5)},
        {"transform": None},
        {"transform": None, "gcps": [GroundControlPoint(i, i * i, i, -i) for i in range(4)]},
        {"BIGTIFF": "YES"},
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_what_is_not_plain_is_left_to_gdal(tmp_path: Path, profile: dict[str, Any]) -> None:
    tags = read_tags(write(tmp_path / "a.tif", **profile).read_bytes())
    assert tags is None or tags.transform is None


def test_a_pixel_that_is_a_point_is_left_to_gdal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(AREA_OR_POINT="Point")
    tags = read_tags(path.read_bytes())
    assert tags is not None
    assert tags.transform is None
    assert geotiff.read_raster(path, bands=2, dtype="uint16").transform == PLAIN


def test_a_raster_is_the_same_read_first_or_later(tmp_path: Path) -> None:
    """The second time its coordinate system is known, and GDAL is not asked."""
    profiles: list[dict[str, Any]] = [
        {},
        {"nodata": 3},
        {"crs": "EPSG:3035"},
        {"crs": "EPSG:32634"},
        {"transform": Affine(20, 0, 1, 0, -20, 2)},
    ]
    paths = [write(tmp_path / f"{i}.tif", **each) for i, each in enumerate(profiles)]
    for path, again in itertools.product(paths, (False, True)):
        raster = geotiff.read_raster(path, bands=2, dtype="uint16")
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(raster.data_BHW, file.read())
            assert raster.crs == file.crs, again
            assert raster.transform == file.transform, again
            assert raster.nodata == file.nodata
            assert raster.crs.to_epsg() == file.crs.to_epsg()


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"<html>", b"MM\0*"])
def test_what_is_no_tiff(content: bytes) -> None:
    tags = read_tags(content)
    assert tags is None or tags.length > len(content)


def test_no_damage_makes_it_fail(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = write(tmp_path / "a.tif", tiled=True, blockxsize=16, blockysize=16).read_bytes()
    for _ in range(2000):
        content = bytearray(whole)
        for place in random.integers(0, 500, 3):
            content[place] = random.integers(256)
        read_tags(bytes(content))


def test_directories_in_a_circle_end() -> None:
    circle = b"II*\0" + (8).to_bytes(4, "little") + b"\0\0" + (8).to_bytes(4, "little")
    tags = read_tags(circle)
    assert tags is not None
    assert tags.length == len(circle)


def test_the_real_files_are_read_as_gdal_reads_them(real_data: Path) -> None:
    files = sorted(real_data.rglob("*.tif"))[:400]
    plain = 0
    for path in files:
        tags = read_tags(path.read_bytes())
        if tags is None:
            continue
        assert tags.length <= path.stat().st_size, path
        if tags.transform is not None:
            plain += 1
            with rasterio.open(path) as file:
                assert tags.transform == tuple(file.transform)[:6], path
    assert plain > len(files) / 2
