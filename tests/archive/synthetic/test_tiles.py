from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.archive.readers.tile_layouts import SYNTHETIC_CLASSES
from raymmfl.archive.synthetic.signatures import (
    BANDS,
    COVERS,
    EQUIVALENT_LOOKS,
    REGIONS,
    haze,
    illumination,
)
from raymmfl.archive.synthetic.tiles import mosaic, parcels, smooth, speckle, synthesise
from raymmfl.errors import ArchiveError
from raymmfl.seeds import generator


def test_speckle_is_multi_look() -> None:
    noise = speckle(generator(0, "speckle"), (1000, 1000))
    assert abs(noise.mean() - 1) < 5 / np.sqrt(EQUIVALENT_LOOKS * noise.size)
    assert noise.var() == pytest.approx(1 / EQUIVALENT_LOOKS, rel=0.01)
    assert (noise > 0).all()


def test_rasters_are_georeferenced(tiny_source: Path) -> None:
    for folder, bands, dtype, pixel in [
        ("S1", 2, "float32", 10), ("S2_10m", 4, "uint16", 10), ("S2_20m", 6, "uint16", 20),
        ("LULC", 1, "uint8", 10),
    ]:  # fmt: skip
        with rasterio.open(tiny_source / folder / "Austria_1.tif") as file:
            assert file.crs.to_epsg() == 32633
            assert tuple(file.transform)[:6] == (pixel, 0, 460e3, 0, -pixel, 5280e3)
            assert (file.count, file.width, file.height) == (bands, 1280 // pixel, 1280 // pixel)
            assert set(file.dtypes) == {dtype}
            if folder == "S2_20m":
                assert file.descriptions == ("B05", "B06", "B07", "B8A", "B11", "B12")


def test_the_seed_decides_every_pixel(tiny_source: Path, tmp_path: Path) -> None:
    synthesise(tmp_path / "again", seed=3, regions=["Portugal"], tiles=1, size=128)
    synthesise(tmp_path / "other", seed=4, regions=["Portugal"], tiles=1, size=128)
    for folder in ("S1", "S2_10m", "S2_20m", "LULC"):
        first, again, other = (
            rasterio.open(source / folder / "Portugal_1.tif").read()
            for source in (tiny_source, tmp_path / "again", tmp_path / "other")
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.3


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_areas_follow_the_shares(seed: int) -> None:
    shares = np.array([50.0, 30.0, 15.0, 5.0])
    cells = parcels(generator(seed, "p"), 192)
    covers = mosaic(generator(seed, "m"), cells, shares)
    found = np.bincount(covers.ravel(), minlength=4) / covers.size
    # The tile's own shares are a draw around these: their spread is about 0.06.
    assert np.abs(found - shares / 100).max() < 0.3
    assert all(len(np.unique(covers[cells == cell])) == 1 for cell in np.unique(cells)[::20])


def test_a_class_looks_like_its_signature(tiny_source: Path) -> None:
    with rasterio.open(tiny_source / "LULC" / "Austria_1.tif") as file:
        classes = file.read(1)
    with rasterio.open(tiny_source / "S1" / "Austria_1.tif") as file:
        vv = 10 ** (file.read(1) / 10)
    with rasterio.open(tiny_source / "S2_10m" / "Austria_1.tif") as file:
        near_infrared = file.read(4).astype(float)
    region, seen = REGIONS["Austria"], 0
    for value, name in SYNTHETIC_CLASSES.items():
        inside = classes == value
        if inside.sum() < 1000:
            continue
        seen += 1
        cover = COVERS[name]
        assert 10 * np.log10(vv[inside].mean()) == pytest.approx(cover.backscatter_db[0], abs=3)
        expected = cover.reflectance[BANDS.index("B08")] * illumination(region.zenith_deg)
        assert np.median(near_infrared[inside]) == pytest.approx(expected, rel=0.4)
    assert seen >= 3


def test_countries_differ_by_physics() -> None:
    assert illumination(35.0) == pytest.approx(1.0)
    assert illumination(60.0) == pytest.approx(0.5 / np.cos(np.radians(35)))
    path = haze(100.0)
    assert path[0] == pytest.approx(100.0)
    assert (np.diff(path) < 0).all()


def test_the_tables_are_whole() -> None:
    assert list(COVERS) == [SYNTHETIC_CLASSES[value] for value in sorted(SYNTHETIC_CLASSES)]
    for cover in COVERS.values():
        assert len(cover.reflectance) == len(BANDS)
        assert cover.backscatter_db[0] > cover.backscatter_db[1], "VV above VH on land and water"
    for name, region in REGIONS.items():
        assert sum(region.shares) == 100, name
        assert len(region.shares) == len(COVERS)


def test_blur_keeps_the_sum() -> None:
    field = generator(0, "field").random((32, 48))
    blurred = smooth(field, 1.5)
    assert blurred.sum() == pytest.approx(field.sum())
    assert blurred.std() < field.std()


@pytest.mark.parametrize(
    "options",
    [{"regions": ["Atlantis"]}, {"regions": []}, {"size": 33}, {"size": 16}, {"tiles": 0}],
)
def test_bad_arguments(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ArchiveError):
        synthesise(tmp_path / "out", seed=0, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="exists already"):
        synthesise(tmp_path, seed=0)
