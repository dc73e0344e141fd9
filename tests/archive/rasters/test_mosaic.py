"""Tests of rasters opened together: ground, bands, windows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from raymmfl.archive.rasters.mosaic import count_bands, open_mosaic
from raymmfl.errors import PredictionError

CORNER = (5e5, 5e6)
Raster = Callable[..., Path]


@pytest.fixture
def raster(tmp_path: Path) -> Raster:
    """Writes a GeoTIFF whose values are 1000 * band + 100 * row + column."""

    def write(
        name: str,
        height: int,
        width: int,
        bands: Sequence[str | None] = (None,),
        pixel: float = 10.0,
        corner: tuple[float, float] = CORNER,
        **changes: Any,
    ) -> Path:
        path = tmp_path / name
        settings: dict[str, Any] = {
            "dtype": "uint16",
            "crs": "EPSG:32633",
            "transform": Affine(pixel, 0, corner[0], 0, -pixel, corner[1]),
        }
        rows, columns = np.indices((height, width))
        with rasterio.open(
            path, "w", driver="GTiff", count=len(bands), height=height, width=width,
            **(settings | changes),
        ) as dataset:  # fmt: skip
            for number, band in enumerate(bands, start=1):
                values = 1000 * number + 100 * rows + columns
                dataset.write(values.astype(dataset.dtypes[0]), number)
                if band:
                    dataset.set_band_description(number, band)
        return path

    return write


def test_windows_of_files_of_two_pixel_sizes(raster: Raster) -> None:
    fine = raster("fine.tif", 12, 8, ["B02", "B03"], nodata=7)
    coarse = raster("coarse.tif", 6, 4, ["B05"], pixel=20.0)
    with open_mosaic({"S2": [coarse, fine]}, {"S2": ["B02", "B03", "B05"]}) as mosaic:
        assert (mosaic.height, mosaic.width) == (12, 8)
        assert mosaic.crs.to_epsg() == 32633
        assert mosaic.pixel_m == 10.0
        assert mosaic.pixel_area_m2 == 100.0
        assert mosaic.coarser(16)[:6] == (160.0, 0.0, 5e5, 0.0, -160.0, 5e6)
        one, two = mosaic.layers["S2"]
        assert (one.path, one.ratio, one.positions, one.nodata) == (coarse, 2, (2,), (None,))
        assert (two.path, two.ratio, two.positions, two.nodata) == (fine, 1, (0, 1), (7.0, 7.0))
        data = mosaic.read(two, 3, 2, 5, 8)
        assert data.shape == (2, 2, 6)
        assert data.dtype == np.uint16
        assert data[1, 0].tolist() == [2302, 2303, 2304, 2305, 2306, 2307]
        assert mosaic.read(one, 1, 0, 2, 1).tolist() == [[[1100]]]


def test_bands_are_found_by_name_and_others_left_out(raster: Raster) -> None:
    path = raster("s2.tif", 4, 4, ["b08", "B01", "B03", "B02"])
    with open_mosaic({"S2": [path]}, {"S2": ["B02", "B03", "B08"]}) as mosaic:
        (layer,) = mosaic.layers["S2"]
        found = dict(zip(layer.positions, layer.numbers, strict=True))
        assert found == {0: 4, 1: 3, 2: 1}
        assert mosaic.read(layer, 0, 0, 1, 1)[list(layer.positions).index(0)] == 4000


def test_bands_without_names_are_taken_in_order(raster: Raster) -> None:
    paths = [raster(f"{name}.tif", 4, 4) for name in ("one", "two")]
    paths.append(raster("three.tif", 4, 4, [None, "what"]))
    with open_mosaic({"S2": paths}, {"S2": ["B02", "B03", "B04", "B08"]}) as mosaic:
        layers = mosaic.layers["S2"]
        assert [(layer.path.stem, layer.numbers, layer.positions) for layer in layers] == [
            ("one", (1,), (0,)),
            ("two", (1,), (1,)),
            ("three", (1, 2), (2, 3)),
        ]


@pytest.mark.parametrize(
    ("bands", "parts"),
    [
        ([None, None, None], ["3 band(s)", "S2 has 4", "B02, B03, B04, B08"]),
        (["B02", "B03", "B04"], ["3 band(s)", "not found by name: B08"]),
        (["B03", "B02", None, None], ["band 1 is named B03", "has B02 there"]),
        (["B02", "B02", "B04", "B08"], ["band 2 is named B02", "has B03 there"]),
    ],
)
def test_wrong_bands_are_refused(
    bands: list[str | None], parts: list[str], raster: Raster
) -> None:
    path = raster("s2.tif", 4, 4, bands)
    with (
        pytest.raises(PredictionError) as error,
        open_mosaic({"S2": [path]}, {"S2": ["B02", "B03", "B04", "B08"]}),
    ):
        pass
    for part in [str(path), *parts]:
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"crs": "EPSG:32632"}, ["CRS", "EPSG:32632", "EPSG:32633"]),
        ({"width": 7}, ["12x7 and 12x8 pixels"]),
        ({"height": 5, "width": 4}, ["5x4 and 12x8 pixels"]),
        ({"corner": (5e5 + 10, 5e6)}, ["corners", "500010.0"]),
        ({"pixel": 20.0}, ["corners"]),
    ],
)
def test_other_ground_is_refused_naming_both_files(
    changes: dict[str, Any], parts: list[str], raster: Raster
) -> None:
    one = raster("one.tif", 12, 8)
    two = raster("two.tif", **{"height": 12, "width": 8, **changes})
    with (
        pytest.raises(PredictionError) as error,
        open_mosaic({"A": [one], "B": [two]}, {"A": ["a"], "B": ["b"]}),
    ):
        pass
    for part in ["one.tif", "two.tif", *parts]:
        assert part in str(error.value)


def test_a_rounding_error_of_the_corner_is_none(raster: Raster) -> None:
    one = raster("one.tif", 12, 8)
    two = raster("two.tif", 12, 8, corner=(5e5 + 0.05, 5e6))
    with open_mosaic({"A": [one], "B": [two]}, {"A": ["a"], "B": ["b"]}) as mosaic:
        assert set(mosaic.layers) == {"A", "B"}


def test_files_that_are_no_rasters(raster: Raster, tmp_path: Path) -> None:
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    bare = raster("bare.tif", 4, 4, crs=None)
    waves = raster("waves.tif", 4, 4, dtype="complex64")
    whole = raster("whole.tif", 4, 4)
    for path, part in (
        (tmp_path / "none.tif", "no such file"),
        (text, "not a raster that GDAL reads"),
        (bare, "no coordinate reference system"),
        (waves, "complex64"),
    ):
        with (
            pytest.raises(PredictionError, match=part) as error,
            open_mosaic({"A": [whole], "B": [path]}, {"A": ["a"], "B": ["b"]}),
        ):
            pass
        assert str(path) in str(error.value)
    assert count_bands(whole) == 1


def test_a_cut_file_is_named_with_the_window(raster: Raster) -> None:
    path = raster("cut.tif", 64, 64)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with (
        pytest.raises(PredictionError, match=r"cut.tif, rows 32-63, columns 0-63: cannot be read"),
        open_mosaic({"A": [path]}, {"A": ["a"]}) as mosaic,
    ):
        mosaic.read(mosaic.layers["A"][0], 32, 0, 64, 64)


def test_degrees_have_no_metres(raster: Raster) -> None:
    path = raster("degrees.tif", 4, 4, pixel=0.001, corner=(10, 50), crs="EPSG:4326")
    with open_mosaic({"A": [path]}, {"A": ["a"]}) as mosaic:
        assert mosaic.pixel_area_m2 is None
        assert mosaic.pixel_m is None
    feet = raster("feet.tif", 4, 4, crs="EPSG:2263")  # US survey feet
    with open_mosaic({"A": [feet]}, {"A": ["a"]}) as mosaic:
        assert mosaic.pixel_m == pytest.approx(10 * 1200 / 3937)


def test_files_of_one_band_are_known_by_the_end_of_their_names(raster: Raster) -> None:
    files = [raster(f"patch_{band}.tif", 4, 4) for band in ("B01", "B03", "B02")]
    with open_mosaic({"S2": files}, {"S2": ["B02", "B03"]}) as mosaic:
        found = {layer.path.name: layer.positions for layer in mosaic.layers["S2"]}
    assert (found["patch_B02.tif"], found["patch_B03.tif"]) == ((0,), (1,))
