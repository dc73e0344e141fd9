"""Tests of maps of pixels: windows give what the whole image gives."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from raymmfl.archive.rasters.geotiff import read_raster
from raymmfl.archive.rasters.mosaic import open_mosaic
from raymmfl.errors import PredictionError
from raymmfl.models.export import Trained
from raymmfl.models.multimodal import build
from raymmfl.models.receptive import margin
from raymmfl.prediction.inputs import Inputs
from raymmfl.prediction.pixels import AUTO_MARGIN, choose_margin, score
from raymmfl.prediction.windows import Box, tile

Make = Callable[..., Trained]
Cut = Callable[..., Path]


def windows_of(
    trained: Trained, rasters: Mapping[str, Sequence[Path]], side: int, around: int
) -> tuple[Tensor, Tensor]:
    """Logits (K, H, W) and what was seen (H, W), put together from windows."""
    bands = {name: sensor.bands for name, sensor in trained.description.sensors.items()}
    with open_mosaic(rasters, bands) as mosaic:
        inputs = Inputs(mosaic, trained.description)
        logits = torch.full((trained.net.classes, mosaic.height, mosaic.width), torch.nan)
        seen = torch.zeros(mosaic.height, mosaic.width, dtype=torch.bool)
        for window in tile(mosaic.height, mosaic.width, side, around):
            where = window.core.inside(Box(0, 0, mosaic.height, mosaic.width))
            logits[:, *where], seen[where] = score(trained.net, inputs, window)
    return logits, seen


def whole_image(trained: Trained, images: Mapping[str, Sequence[np.ndarray]]) -> Tensor:
    """Logits (K, H, W) of the model's own forward pass over the whole image."""
    ready = {}
    for name, arrays in images.items():
        sensor = trained.description.sensors[name]
        mean = np.array(sensor.mean, np.float32)[:, None, None]
        std = np.array(sensor.std, np.float32)[:, None, None]
        size = max(array.shape[1] for array in arrays), max(array.shape[2] for array in arrays)
        parts, start = [], 0
        for array in arrays:
            stop = start + len(array)
            part = torch.from_numpy((array - mean[start:stop]) / std[start:stop])[None].float()
            if part.shape[2:] != size:
                look: dict[str, Any] = {"mode": "nearest"}
                if trained.description.resample == "bilinear":
                    look = {"mode": "bilinear", "align_corners": False}
                part = functional.interpolate(part, size=size, **look)
            parts.append(part)
            start = stop
        ready[name] = torch.cat(parts, dim=1)
    with torch.inference_mode():
        logits: Tensor = trained.net(ready)[0]
    return logits


def pixels(path: Path, bands: int, dtype: str) -> np.ndarray:
    return read_raster(path, bands=bands, dtype=dtype).data_BHW.astype(np.float32)


@pytest.mark.parametrize(
    ("side", "settings"),
    [
        (32, {"backbone": "cnn"}),
        (64, {"backbone": "cnn", "resample": "nearest"}),
        (48, {"backbone": "resnet_small"}),
        (32, {"backbone": "resnet_small", "whitening": True}),
    ],
    ids=["cnn", "nearest", "resnet_small", "whitening"],
)
def test_windows_with_the_exact_margin_equal_the_whole_image(
    side: int, settings: dict[str, Any], trained: Make, tile: Path, cut: Cut, tmp_path: Path
) -> None:
    model = trained(**settings)
    fine = cut(tile / "S2_10m.tif", tmp_path / "fine.tif", 118, 134)
    coarse = cut(tile / "S2_20m.tif", tmp_path / "coarse.tif", 59, 67)
    radar = cut(tile / "S1.tif", tmp_path / "radar.tif", 118, 134)
    expected = whole_image(
        model,
        {
            "S1": [pixels(radar, 2, "float32")],
            "S2": [pixels(fine, 4, "uint16"), pixels(coarse, 6, "uint16")],
        },
    )
    around = choose_margin(model.net, "exact")
    rasters = {"S1": [radar], "S2": [fine, coarse]}
    found, seen = windows_of(model, rasters, side, around)
    assert seen.all()
    assert (found - expected).abs().max() < 1e-4
    short, _ = windows_of(model, rasters, side, around - 8)
    assert (short - expected).abs().max() > 1e-4  # the margin is needed


@pytest.mark.parametrize("size", [(149, 131), (145, 8), (33, 160)])
def test_images_of_any_size_are_seamless(
    size: tuple[int, int], trained: Make, tile: Path, cut: Cut, tmp_path: Path
) -> None:
    model = trained(backbone="resnet_small")
    radar = cut(tile / "S1.tif", tmp_path / "radar.tif", *size)
    expected = whole_image(model, {"S1": [pixels(radar, 2, "float32")]})
    found, _ = windows_of(model, {"S1": [radar]}, 48, choose_margin(model.net, "exact"))
    assert found.shape == expected.shape == (4, *size)
    assert (found - expected).abs().max() < 1e-4


def test_group_normalisation_has_no_exact_margin(trained: Make) -> None:
    net = trained(norm="group").net
    with pytest.raises(PredictionError, match="group normalisation"):
        choose_margin(net, "exact")
    assert choose_margin(net, "auto") == AUTO_MARGIN


def test_the_default_margin_is_the_exact_one_of_small_networks(trained: Make) -> None:
    for backbone in ("cnn", "resnet_small"):
        net = trained(backbone=backbone).net
        assert choose_margin(net, "auto") == choose_margin(net, "exact") == margin(net)
    deep = build({"S1": 2}, 4, "resnet18", task="pixels").eval()
    assert choose_margin(deep, "auto") == AUTO_MARGIN < choose_margin(deep, "exact")


def test_a_pixel_that_one_sensor_missed_is_scored_by_the_other(
    trained: Make, tile: Path, cut: Cut, tmp_path: Path
) -> None:
    model = trained(backbone="cnn")
    data = read_raster(tile / "S1.tif", bands=2, dtype="float32").data_BHW[:, :96, :96].copy()
    data[:, 20:40, 30:60] = np.nan
    data[0, 70, 70] = -9999.0
    radar = cut(tile / "S1.tif", tmp_path / "radar.tif", 96, 96, data=data, nodata=-9999.0)
    fine = cut(tile / "S2_10m.tif", tmp_path / "fine.tif", 96, 96)
    coarse = cut(tile / "S2_20m.tif", tmp_path / "coarse.tif", 48, 48)
    around = choose_margin(model.net, "exact")
    hole = np.zeros((96, 96), bool)
    hole[20:40, 30:60] = True
    hole[70, 70] = True

    alone, seen = windows_of(model, {"S1": [radar]}, 32, around)
    assert np.array_equal(~seen.numpy(), hole)
    mean = np.array(model.description.sensors["S1"].mean, np.float32)[:, None, None]
    filled = np.where(np.isnan(data) | (data == -9999.0), mean, data)
    expected = whole_image(model, {"S1": [filled]})
    assert torch.isfinite(alone).all()
    assert (alone - expected)[:, seen].abs().max() < 1e-4

    optical = whole_image(model, {"S2": [pixels(fine, 4, "uint16"), pixels(coarse, 6, "uint16")]})
    both, seen = windows_of(model, {"S1": [radar], "S2": [fine, coarse]}, 32, around)
    assert seen.all()
    assert (both - optical)[:, hole].abs().max() < 1e-4
    assert (both - (optical + expected) / 2)[:, ~hole].abs().max() < 1e-4
