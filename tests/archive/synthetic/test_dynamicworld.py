"""The synthetic expert tiles lie as the real ones do, and say that they are synthetic."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from raymmfl.archive.readers.dynamicworld import LABELS, STEM, open_dynamicworld
from raymmfl.archive.readers.options import Options
from raymmfl.archive.synthetic.dynamicworld import SITES, TILE_PIXELS, synthesise_dynamicworld
from raymmfl.archive.synthetic.signatures import BANDS
from raymmfl.errors import ArchiveError


def masks(root: Path) -> dict[Path, np.ndarray]:
    found = {}
    for path in sorted((root / "Experts").rglob("*.tif")):
        with rasterio.open(path) as file:
            found[path] = file.read(1)
    return found


def test_tiles_lie_by_hemisphere_and_biome(dynamicworld: Path) -> None:
    paths = [path.relative_to(dynamicworld) for path in masks(dynamicworld)]
    assert {path.parts[1:3] for path in paths} == {(s.hemisphere, s.biome) for s in SITES}
    for path in paths:
        match = STEM.fullmatch(path.stem)
        assert match
        with rasterio.open(dynamicworld / path) as file:
            assert (file.count, file.dtypes) == (1, ("uint8",))
            assert file.crs.is_projected
            assert (file.transform.a, file.transform.e) == (10, -10)
            zone = file.crs.to_epsg() % 100
            assert file.crs.to_epsg() // 100 == (326 if float(match[2]) > 0 else 327)
            grid = (file.crs, file.transform, file.shape)
        assert zone * 6 - 186 <= float(match[1]) <= zone * 6 - 180
        for folder, bands, dtype in (("s2", BANDS, "uint16"), ("s1", ("VV", "VH"), "float32")):
            with rasterio.open(dynamicworld / folder / Path(*path.parts[1:])) as file:
                assert (file.crs, file.transform, file.shape) == grid
                assert file.descriptions == bands
                assert set(file.dtypes) == {dtype}


def test_marking_is_sparse_and_covers_differ(dynamicworld: Path) -> None:
    found = masks(dynamicworld)
    values = np.concatenate([mask.ravel() for mask in found.values()])
    assert set(np.unique(values)) <= set(range(11))
    assert 0.3 < (values == 0).mean() < 0.7
    assert (values == 10).any(), "a cloud"
    snowy = {
        path.parent.name
        for path, mask in found.items()
        if (mask == 1 + LABELS.index("snow/ice")).any()
    }
    assert snowy == {site.biome for site in SITES if site.snow}
    shares = {}
    for path, mask in found.items():
        counts = np.bincount(mask.ravel(), minlength=11)[1:10]
        shares[path.parts[-3:-1]] = counts / counts.sum()
    assert shares["WH", "1"][LABELS.index("trees")] > shares["WH", "8"][LABELS.index("trees")]
    assert shares["WH", "8"][LABELS.index("crops")] > shares["WH", "1"][LABELS.index("crops")]


def test_a_cloud_is_bright_in_optics_alone(dynamicworld: Path) -> None:
    clouded = {path: mask for path, mask in masks(dynamicworld).items() if (mask == 10).any()}
    for path, mask in clouded.items():
        inside = path.relative_to(dynamicworld / "Experts")
        with rasterio.open(dynamicworld / "s2" / inside) as file:
            blue = file.read(1)
        with rasterio.open(dynamicworld / "s1" / inside) as file:
            vv = file.read(1)
        assert np.median(blue[mask == 10]) > 4000 > 2 * np.median(blue[mask != 10])
        assert abs(np.median(vv[mask == 10]) - np.median(vv[mask != 10])) < 5


def test_it_says_that_it_is_synthetic(dynamicworld: Path) -> None:
    form = open_dynamicworld(dynamicworld, Options()).format
    assert form.synthetic
    assert form.provenance.startswith("SYNTHETIC")


def test_the_seed_decides_every_pixel(dynamicworld: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 5), ("other", 6)):
        synthesise_dynamicworld(tmp_path / name, tiles=6, seed=seed, size=32)
    synthesise_dynamicworld(tmp_path / "first", tiles=6, seed=5, size=32)
    names = sorted(
        path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*.tif")
    )
    assert len(names) == 18
    for file in names:
        first, again, other = (
            (tmp_path / folder / file).read_bytes() for folder in ("first", "again", "other")
        )
        assert first == again != other


def test_a_tile_has_the_size_of_the_real_ones() -> None:
    assert TILE_PIXELS == 510


@pytest.mark.parametrize("options", [{"tiles": 5}, {"size": 33}, {"size": 16}])
def test_bad_arguments(tmp_path: Path, options: dict[str, int]) -> None:
    with pytest.raises(ArchiveError, match="at least"):
        synthesise_dynamicworld(tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []
