"""Tests of coarse maps: a pixel of the map is what the model says of that patch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from raymmfl.archive.rasters.geotiff import environment, read_raster, write_raster
from raymmfl.archive.rasters.mapfile import write_map
from raymmfl.archive.rasters.mosaic import open_mosaic
from raymmfl.archive.store import Archive
from raymmfl.errors import PredictionError
from raymmfl.learning.batches import Images
from raymmfl.models.export import Trained
from raymmfl.prediction import scenes
from raymmfl.prediction.inputs import Inputs
from raymmfl.prediction.windows import Box

Make = Callable[..., Trained]
Cut = Callable[..., Path]


def ignore(done: int, total: int) -> None:
    """No progress is shown."""


def draw(trained: Trained, rasters: dict[str, list[Path]], out: Path) -> np.ndarray:
    bands = {name: sensor.bands for name, sensor in trained.description.sensors.items()}
    with open_mosaic(rasters, bands) as mosaic:
        inputs = Inputs(mosaic, trained.description)
        side = scenes.patch_side(inputs, mosaic, trained.description)
        with write_map(
            out, height=-(-mosaic.height // side), width=-(-mosaic.width // side), block=16,
            crs=mosaic.crs, transform=mosaic.coarser(side), names=["a"], colours=[(1, 2, 3)],
            tags={},
        ) as writer:  # fmt: skip
            scenes.draw(trained.net, inputs, mosaic, side, writer, ignore)
    classes: np.ndarray = read_raster(out, bands=1, dtype="uint8").data_BHW[0]
    return classes


def test_each_pixel_is_the_class_of_its_patch(
    trained: Make, tile: Path, cut: Cut, tmp_path: Path
) -> None:
    model = trained(task="scenes", backbone="resnet_small")
    data = read_raster(tile / "S1.tif", bands=2, dtype="float32").data_BHW[:, :70, :57].copy()
    data[:, 16:32, :16] = np.nan  # one patch without data
    data[:, :7, 16:32] = np.nan  # less than half of another
    radar = cut(tile / "S1.tif", tmp_path / "radar.tif", 70, 57, data=data)
    found = draw(model, {"S1": [radar]}, tmp_path / "map.tif")
    assert found.shape == (5, 4)

    sensor = model.description.sensors["S1"]
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (sensor.mean, sensor.std))
    image = np.nan_to_num((data - mean) / std, nan=0.0)
    for row, top in enumerate((0, 16, 32, 48, 54)):
        for column, left in enumerate((0, 16, 32, 41)):
            if (row, column) == (1, 0):
                assert found[row, column] == 255
                continue
            patch = torch.from_numpy(image[:, top : top + 16, left : left + 16])[None]
            with torch.inference_mode():
                assert found[row, column] == int(model.net({"S1": patch})[0].argmax())
    assert len(np.unique(found)) > 2, "a map of one class would prove nothing"


def test_a_packed_patch_gets_the_images_and_scores_that_evaluation_gives_it(
    archive: Archive, trained: Make, tmp_path: Path
) -> None:
    template = trained(task="scenes")
    description = replace(
        template.description,
        sensors={
            name: replace(each, mean=archive.sensors[name].mean, std=archive.sensors[name].std)
            for name, each in template.description.sensors.items()
        },
    )
    assert {name: each.bands for name, each in description.sensors.items()} == {
        name: each.bands for name, each in archive.sensors.items()
    }
    both = archive.present("S1") & archive.present("S2")
    row = np.flatnonzero(both & (archive.splits == "test"))[:1]
    rasters: dict[str, list[Path]] = {}
    with environment():
        for name, sensor in archive.sensors.items():
            for column, data in zip(sensor.columns, archive.read(name, row), strict=True):
                path = tmp_path / f"{name}_{column.name}.tif"
                pixel = column.pixel_m
                write_raster(path, data[0], epsg=32633, transform=(pixel, 0, 5e5, 0, -pixel, 5e6))
                rasters.setdefault(name, []).append(path)
    bands = {name: sensor.bands for name, sensor in archive.sensors.items()}
    images = Images(archive, description.resample, torch.device("cpu"))
    box = Box(0, 0, 16, 16)
    with open_mosaic(rasters, bands) as mosaic, torch.inference_mode():
        inputs = Inputs(mosaic, description)
        for name in archive.sensors:
            expected = images.load(name, row)
            for found in (inputs.patches(name, [box]), inputs.window(name, box)):
                assert found.seen.all()
                assert torch.equal(found.bands, expected)
            assert torch.equal(
                template.net.answer(name, inputs.patches(name, [box]).bands)[1],
                template.net.answer(name, expected)[1],
            )


def test_coarse_bands_are_resampled_patch_by_patch(
    trained: Make, tile: Path, tmp_path: Path
) -> None:
    model = trained(task="scenes")
    bands = {name: sensor.bands for name, sensor in model.description.sensors.items()}
    rasters = {"S2": [tile / "S2_10m.tif", tile / "S2_20m.tif"]}
    boxes = [Box(32, left, 48, left + 16) for left in (0, 16, 128, 144)]
    with open_mosaic(rasters, bands) as mosaic:
        inputs = Inputs(mosaic, model.description)
        together = inputs.patches("S2", boxes).bands
        alone = torch.cat([inputs.patches("S2", [box]).bands for box in boxes])
        windows = torch.cat([inputs.window("S2", box).bands for box in boxes])
    assert torch.equal(together, alone)
    assert torch.equal(together[:, :4], windows[:, :4])
    inner = slice(1, -1)  # a window looks beyond its border for the coarse bands, a patch cannot
    assert torch.allclose(together[..., inner, inner], windows[..., inner, inner], atol=1e-6)
    assert not torch.allclose(together, windows, atol=1e-3)


def test_rasters_that_do_not_fit_the_patch_are_refused(
    trained: Make, tile: Path, cut: Cut, tmp_path: Path
) -> None:
    model = trained(task="scenes")
    bands = {name: sensor.bands for name, sensor in model.description.sensors.items()}
    small = cut(tile / "S1.tif", tmp_path / "small.tif", 15, 40)
    with open_mosaic({"S1": [small]}, bands) as mosaic:
        inputs = Inputs(mosaic, model.description)
        with pytest.raises(PredictionError, match="15x40 pixels, less than one patch of 16x16"):
            scenes.patch_side(inputs, mosaic, model.description)
