"""Every bad source ends in an ArchiveError that names the file, and leaves nothing behind."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Source
from raymmfl.errors import ArchiveError

S1, S2, MASK = "S1/Portugal_1.tif", "S2_20m/Portugal_1.tif", "LULC/Portugal_1.tif"


def opened(folder: Path, **options: Any) -> Source:
    return LAYOUTS["synthetic"].open(folder, Options(**options))


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], **profile: Any) -> None:
    with rasterio.open(path) as file:
        data, kept = change(file.read()), file.profile
    kept.update(count=data.shape[0], height=data.shape[1], width=data.shape[2], dtype=data.dtype)
    kept.update(profile)
    path.unlink()
    with rasterio.open(path, "w", **kept) as file:
        file.write(data)


def same(data: np.ndarray) -> np.ndarray:
    return data


def moved(path: Path) -> None:
    with rasterio.open(path) as file:
        transform = file.transform
    t = transform
    rewrite(path, same, transform=Affine(t.a, t.b, t.c + 60, t.d, t.e, t.f))


def filled(value: float, rows: slice) -> Callable[[np.ndarray], np.ndarray]:
    def change(data: np.ndarray) -> np.ndarray:
        data[:, rows] = value
        return data

    return change


def emptied(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def unlabelled(folder: Path) -> None:
    for file in folder.iterdir():
        rewrite(file, filled(0, slice(None)))


def truncate(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing folder": ("S1", shutil.rmtree, "no such folder"),
    "missing mask folder": ("LULC", shutil.rmtree, "no such folder"),
    "folder without rasters": (
        "S1",
        emptied,
        "no *.tif",
    ),
    "missing mask": (MASK, Path.unlink, "cannot be read"),
    "half a sensor": (S2, Path.unlink, "cannot be read"),
    "empty file": (S1, lambda path: path.write_bytes(b""), "empty"),
    "no GeoTIFF": (S1, lambda path: path.write_text("<html>404</html>"), "not a whole GeoTIFF"),
    "cut in the header": (S1, lambda path: truncate(path, 100), "not a whole GeoTIFF"),
    "cut in half": (S1, lambda path: truncate(path, 60_000), "not a whole GeoTIFF"),
    "cut by 100 bytes": (
        S1,
        lambda path: truncate(path, path.stat().st_size - 100),
        "not a whole GeoTIFF",
    ),
    "other CRS": (S1, lambda path: rewrite(path, same, crs="EPSG:32633"), "CRS"),
    "no CRS": (S1, lambda path: rewrite(path, same, crs=None), "no coordinate reference system"),
    "other bounds": (S2, moved, "bounds"),
    "other size": (S1, lambda path: rewrite(path, lambda d: d[:, :120]), "120x128 pixels"),
    "full size where half is due": (
        S2,
        lambda path: rewrite(path, lambda d: d.repeat(2, 1).repeat(2, 2)),
        "expected 64x64",
    ),
    "wrong dtype": (S1, lambda path: rewrite(path, lambda d: d.astype("float64")), "float64"),
    "missing band": (S2, lambda path: rewrite(path, lambda d: d[:5]), "5 band(s)"),
    "NaN everywhere": (S1, lambda path: rewrite(path, filled(np.nan, slice(None))), "NaN"),
    "one NaN row": (S1, lambda path: rewrite(path, filled(np.nan, slice(60, 61))), "rows "),
    "infinite": (S1, lambda path: rewrite(path, filled(-np.inf, slice(None))), "infinite"),
    "nodata by the layout": (
        S2,
        lambda path: rewrite(path, filled(0, slice(None))),
        "nothing but nodata",
    ),
    "nodata by the file's tag": (
        S1,
        lambda path: rewrite(path, filled(-99, slice(None)), nodata=-99),
        "nothing but nodata (-99)",
    ),
    "label outside the list": (
        MASK,
        lambda path: rewrite(path, filled(77, slice(4, 5))),
        "values [77]",
    ),
    "nothing labelled": (
        "LULC",
        unlabelled,
        "no train scene was found",
    ),
    "places without a region": (
        "places.csv",
        lambda path: path.write_text("place,date\nPortugal_1,2020-01-01\n"),
        "line 2",
    ),
    "place listed twice": (
        "places.csv",
        lambda path: path.write_text("place,region,date\nPortugal_1,A,\nPortugal_1,B,\n"),
        "stands twice",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_source(name: str, source: Path, tmp_path: Path) -> None:
    file, spoil, message = BAD[name]
    spoil(source / file)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArchiveError) as caught:
        pack(opened(source, patch=16), tmp_path / "out")
    assert message in str(caught.value)
    named = source if name == "nothing labelled" else source / file
    assert str(named) in str(caught.value)
    left = set(tmp_path.iterdir()) - set(before)
    working = tmp_path / ".out.packing"
    assert left == ({working} if "is kept in" in str(caught.value) else set())


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="nowhere"):
        pack(opened(tmp_path / "nowhere", patch=16), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(tiny_source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(ArchiveError, match="exists already"):
        pack(opened(tiny_source, patch=16), out)
    assert (out / "precious").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


def test_an_interrupt_leaves_nothing(tiny_source: Path, tmp_path: Path) -> None:
    def interrupt(seen: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(opened(tiny_source, patch=16), tmp_path / "out", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 15}, "multiple of 2"),
        ({"patch": 16, "stride": 7}, "multiple of 2"),
        ({"patch": 0}, "patch=0"),
        ({"patch": 16, "min_share": 0.0}, "min_share=0.0"),
        ({"patch": 16, "min_share": 1.5}, "min_share=1.5"),
        ({"patch": 32}, "too small for a spatial split"),
        ({"patch": 64, "block": 16}, "no patch of 64 pixels fits"),
        ({"patch": 16, "sensors": ("S3",)}, "choose from"),
    ],
)
def test_options_out_of_range(
    tiny_source: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchiveError, match=message):
        pack(opened(tiny_source, **options), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
