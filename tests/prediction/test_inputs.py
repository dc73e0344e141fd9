"""Tests of what a network is fed with: which pixels count as seen, and what is odd."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymmfl.archive.rasters.mosaic import open_mosaic
from raymmfl.models.export import Trained
from raymmfl.prediction.inputs import Images, Inputs
from raymmfl.prediction.windows import Box

Make = Callable[..., Trained]
Cut = Callable[..., Path]


def read(trained: Trained, sensor: str, paths: list[Path]) -> tuple[Images, list[str]]:
    bands = {name: each.bands for name, each in trained.description.sensors.items()}
    with open_mosaic({sensor: paths}, bands) as mosaic:
        inputs = Inputs(mosaic, trained.description)
        images = inputs.window(sensor, Box(0, 0, mosaic.height, mosaic.width))
        return images, inputs.warnings()


@pytest.fixture
def radar(tile: Path, cut: Cut, tmp_path: Path) -> Callable[..., Path]:
    def make(data: np.ndarray, **changes: Any) -> Path:
        return cut(tile / "S1.tif", tmp_path / "radar.tif", 8, 8, data=data, **changes)

    return make


def test_values_that_are_missing_hide_their_pixel_and_become_the_mean(
    trained: Make, radar: Callable[..., Path]
) -> None:
    data = np.full((2, 8, 8), -10.0, np.float32)
    data[0, 0, 0] = np.nan
    data[1, 1, 1] = np.inf
    data[0, 2, 2] = -99.0
    data[:, 3, 3] = 0.0  # a backscatter like any other
    images, warnings = read(trained(), "S1", [radar(data, nodata=-99.0)])
    hidden = [tuple(each) for each in np.argwhere(~images.seen[0].numpy()).tolist()]
    assert hidden == [(0, 0), (1, 1), (2, 2)]
    # (-10 - -12) / 4 and (-10 - -18) / 4
    assert images.bands[0, :, 5, 5].tolist() == [0.5, 2.0]
    assert images.bands[0, :, 0, 0].tolist() == [0.0, 2.0]
    assert images.bands[0, :, 1, 1].tolist() == [0.5, 0.0]
    assert images.bands[0, :, 2, 2].tolist() == [0.0, 2.0]
    assert images.bands[0, :, 3, 3].tolist() == [3.0, 4.5]
    assert warnings == []


def test_zero_is_no_data_where_it_is_declared_or_reflected_by_no_band(
    trained: Make, radar: Callable[..., Path], tile: Path, cut: Cut, tmp_path: Path
) -> None:
    data = np.full((2, 8, 8), -10.0, np.float32)
    data[:, 3, 3] = 0.0
    data[0, 4, 4] = 0.0
    images, _ = read(trained(), "S1", [radar(data, nodata=0.0)])
    assert np.argwhere(~images.seen[0].numpy()).tolist() == [[3, 3]]

    fine = np.full((4, 8, 8), 900, np.uint16)
    coarse = np.full((6, 4, 4), 900, np.uint16)
    fine[:, 0:4, 0:4] = 0
    coarse[:, 0, 0] = 0  # under fine rows and columns 0 and 1
    coarse[:, 3, 3] = 0  # fine bands have values here
    paths = [
        cut(tile / "S2_10m.tif", tmp_path / "fine.tif", 8, 8, data=fine),
        cut(tile / "S2_20m.tif", tmp_path / "coarse.tif", 4, 4, data=coarse),
    ]
    images, _ = read(trained(), "S2", paths)
    assert np.argwhere(~images.seen[0].numpy()).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_values_in_another_unit_are_told(trained: Make, radar: Callable[..., Path]) -> None:
    power = np.full((2, 8, 8), 0.05, np.float32)
    assert read(trained(), "S1", [radar(power)])[1] == []  # 0.05 dB is odd, but possible
    counts = np.full((2, 8, 8), 300.0, np.float32)
    _, warnings = read(trained(), "S1", [radar(counts)])
    assert len(warnings) == 2
    # (300 + 12) / 4
    assert warnings[0].startswith("S1 VV: values lie 78 standard deviations from those trained")
    assert "around -12 dB" in warnings[0]
