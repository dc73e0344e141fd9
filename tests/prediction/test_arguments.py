"""Tests of how rasters are named on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raymmfl.errors import PredictionError
from raymmfl.prediction.arguments import parse

BANDS = {"S1": ("VV", "VH"), "S2": ("B02", "B03", "B04", "B08")}
SAME = {"S1": ("VV", "VH"), "Palsar": ("HH", "HV")}


def test_sensors_files_and_bare_paths(
    tile: Path, cut: Callable[..., Path], tmp_path: Path
) -> None:
    found = parse(["S2=a.tif,b/c=1.tif", "S1=x.tif"], BANDS)
    assert found == {"S1": [Path("x.tif")], "S2": [Path("a.tif"), Path("b/c=1.tif")]}
    assert list(found) == ["S1", "S2"]  # the model's order
    assert parse([str(tile / "S2_10m.tif")], BANDS) == {"S2": [tile / "S2_10m.tif"]}
    odd = cut(tile / "S1.tif", tmp_path / "a,b=c.tif", 16, 16)
    assert parse([str(odd)], BANDS) == {"S1": [odd]}
    assert parse([f"S1={odd}"], BANDS) == {"S1": [odd]}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["no raster", "S1 (2 bands)", "S2 (4 bands)"]),
        (["S3=a.tif"], ["no sensor 'S3'", "S1 (2 bands)"]),
        (["S1=a.tif", "S1=b.tif"], ["S1 is given twice", "S1=a.tif,b.tif"]),
        (["S1="], ["empty path"]),
        (["S1=a.tif,"], ["empty path"]),
        (["S1=a.tif,a.tif"], ["a.tif", "twice"]),
        (["nothing.tif"], ["nothing.tif", "no such file"]),
    ],
)
def test_what_is_refused(arguments: list[str], parts: list[str]) -> None:
    with pytest.raises(PredictionError) as error:
        parse(arguments, BANDS)
    for part in parts:
        assert part in str(error.value)


def test_a_bare_path_must_fit_one_sensor(tile: Path) -> None:
    with pytest.raises(PredictionError, match=r"2 band.s., which fits S1 and Palsar"):
        parse([str(tile / "S1.tif")], SAME)
    with pytest.raises(PredictionError, match=r"6 band.s., which fits no sensor"):
        parse([str(tile / "S2_20m.tif")], BANDS)
