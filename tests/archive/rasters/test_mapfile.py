"""Tests of the map as a file: what GDAL finds in it, and that it is whole or absent."""

import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from raymmfl.archive.rasters.mapfile import names_file, read_small, write_map

TRANSFORM = Affine(10, 0, 5e5, 0, -10, 5e6)
NAMES = ["water", "trees & shrubs", "crops"]
COLOURS = [(1, 2, 3), (40, 50, 60), (200, 210, 220)]


def settings(height: int, width: int) -> dict[str, Any]:
    return {
        "height": height, "width": width, "block": 32, "crs": CRS.from_epsg(32633),
        "transform": TRANSFORM, "names": NAMES, "colours": COLOURS, "tags": {"RUN": "demo"},
    }  # fmt: skip


@pytest.fixture
def classes() -> np.ndarray:
    """One third water, then noise, a corner without data; odd sizes."""
    found = np.random.default_rng(0).integers(1, 3, (601, 530)).astype(np.uint8)
    found[:200] = 0
    found[-50:, -50:] = 255
    return found


@pytest.fixture
def path(tmp_path: Path, classes: np.ndarray) -> Path:
    path = tmp_path / "map.tif"
    with write_map(path, **settings(*classes.shape)) as writer:
        for top in range(0, 601, 64):
            for left in range(0, 530, 64):
                writer.write(classes[top : top + 64, left : left + 64], top, left)
    assert writer.counts.tolist() == np.bincount(classes.ravel(), minlength=256).tolist()
    return path


def test_gdal_finds_ground_colours_names_overviews_and_tags(
    path: Path, classes: np.ndarray
) -> None:
    with rasterio.open(path) as dataset:
        assert np.array_equal(dataset.read(1), classes)
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == TRANSFORM
        assert dataset.nodata == 255
        assert dataset.dtypes == ("uint8",)
        assert dataset.colorinterp == (ColorInterp.palette,)
        table = dataset.colormap(1)
        assert [table[number][:3] for number in range(3)] == COLOURS
        assert [table[number][3] for number in (0, 1, 2, 255)] == [255, 255, 255, 0]
        assert dataset.block_shapes == [(32, 32)]
        assert dataset.profile["compress"] == "deflate"
        assert dataset.overviews(1) == [2, 4]
        assert dataset.tags()["RUN"] == "demo"
        assert dataset.tags(1)["CLASS_1"] == "trees & shrubs"
        assert dataset.descriptions == ("class",)
    assert sorted(each.name for each in path.parent.iterdir()) == ["map.tif", "map.tif.aux.xml"]


def test_gdal_reads_the_category_names(path: Path, tmp_path: Path) -> None:
    """A virtual raster lists what GDAL's GetCategoryNames gives, which is what QGIS asks."""
    rasterio.shutil.copy(path, tmp_path / "copy.vrt", driver="VRT")
    text = (tmp_path / "copy.vrt").read_text()
    assert "<Category>water</Category>" in text
    assert "<Category>trees &amp; shrubs</Category>" in text
    assert text.count("<Category>") == len(NAMES)


def test_overviews_hold_the_most_frequent_class(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    block = np.array([[0, 1], [1, 255]], np.uint8)
    classes = np.tile(block, (160, 160))
    with write_map(path, **settings(*classes.shape)) as writer:
        writer.write(classes, 0, 0)
    small = read_small(path, 160)
    assert small.shape == (160, 160)
    assert (small == 1).all()
    assert read_small(path, 1000).shape == classes.shape


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow beyond 20 kB, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_no_part_of_a_map(
    existing: bool, tmp_path: Path, small_disk: None
) -> None:
    path = tmp_path / "map.tif"
    if existing:
        path.write_text("an older map")
        names_file(path).write_text("its names")
    noise = np.random.default_rng(0).integers(0, 3, (512, 512)).astype(np.uint8)
    with pytest.raises(OSError, match=r"map.tif"), write_map(path, **settings(512, 512)) as writer:
        writer.write(noise, 0, 0)
    names = [each.name for each in sorted(tmp_path.iterdir())]
    assert names == (["map.tif", "map.tif.aux.xml"] if existing else [])
    if existing:
        assert path.read_text() == "an older map"
        assert names_file(path).read_text() == "its names"


def test_an_interrupted_map_is_absent(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with pytest.raises(KeyboardInterrupt), write_map(path, **settings(64, 64)) as writer:
        writer.write(np.zeros((64, 64), np.uint8), 0, 0)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_a_map_that_was_not_written_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.tif"
    with pytest.raises(OSError, match="read back"), write_map(path, **settings(64, 64)) as writer:
        writer.write(np.zeros((32, 64), np.uint8), 0, 0)
    assert not list(tmp_path.iterdir())
