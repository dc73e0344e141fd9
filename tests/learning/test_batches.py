"""Tests of reading images: normalised, on one grid, cut and turned by seed."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from raymmfl.archive.store import Archive, Column, Sensor
from raymmfl.learning.batches import Images, augment, split

CPU = torch.device("cpu")


@pytest.mark.parametrize("sensor", ["S1", "S2"])
def test_images_are_standardised_band_by_band(archive: Archive, sensor: str) -> None:
    rows = archive.rows("train")[[5, 0, 7]]
    image = Images(archive, "nearest", CPU).load(sensor, rows)
    described = archive.sensors[sensor]
    assert image.dtype == torch.float32
    assert image.shape == (3, len(described.bands), described.size, described.size)
    band = 0
    for column, native in zip(described.columns, archive.read(sensor, rows), strict=True):
        times = described.size // column.size
        for index in range(len(column.bands)):
            plain = native[:, index].astype(np.float64)
            plain = (plain - described.mean[band]) / described.std[band]
            plain = plain.repeat(times, axis=1).repeat(times, axis=2)
            np.testing.assert_allclose(image[:, band].numpy(), plain, rtol=1e-4, atol=1e-4)
            band += 1


def test_the_training_split_has_mean_zero_and_deviation_one(archive: Archive) -> None:
    images = Images(archive, "nearest", CPU)
    for sensor in archive.sensors:
        bands = images.load(sensor, archive.rows("train")).transpose(0, 1).flatten(1)
        assert bands.mean(1).abs().max() < 1e-3
        assert (bands.std(1) - 1).abs().max() < 1e-2


def test_coarse_bands_are_resampled_as_asked(archive: Archive) -> None:
    rows = archive.rows("train")[:2]
    nearest = Images(archive, "nearest", CPU).load("S2", rows)
    smooth = Images(archive, "bilinear", CPU).load("S2", rows)
    fine = [i for i, c in enumerate(archive.sensors["S2"].columns) for _ in c.bands]
    coarse = torch.tensor(
        [archive.sensors["S2"].columns[i].size < nearest.shape[-1] for i in fine]
    )
    assert coarse.any()
    assert (~coarse).any()
    assert torch.equal(nearest[:, ~coarse], smooth[:, ~coarse])
    assert not torch.equal(nearest[:, coarse], smooth[:, coarse])
    # bilinear without aligned corners: the corner pixel itself, a quarter of the way to the next
    left, right = nearest[:, coarse, 0, 0], nearest[:, coarse, 0, 2]
    torch.testing.assert_close(smooth[:, coarse, 0, 0], left)
    torch.testing.assert_close(smooth[:, coarse, 0, 1], 0.75 * left + 0.25 * right)


@pytest.mark.parametrize("resample", ["nearest", "bilinear"])
@pytest.mark.parametrize("sensor", ["S1", "S2"])
def test_reading_straight_to_float32_changes_no_bit(
    archive: Archive, sensor: str, resample: Literal["nearest", "bilinear"]
) -> None:
    rows = archive.rows("train")[[4, 1, 66, 1]]
    described = archive.sensors[sensor]
    parts, start = [], 0
    for column, native in zip(described.columns, archive.read(sensor, rows), strict=True):
        bands = slice(start, start := start + len(column.bands))
        mean = torch.tensor(described.mean[bands])[:, None, None]
        std = torch.tensor(described.std[bands])[:, None, None]
        part = (torch.from_numpy(native.astype(np.float32)) - mean) * (1 / std)
        if column.size != described.size:
            corners = {} if resample == "nearest" else {"align_corners": False}
            part = interpolate(
                part, scale_factor=described.size // column.size, mode=resample, **corners
            )
        parts.append(part)
    assert torch.equal(Images(archive, resample, CPU).load(sensor, rows), torch.cat(parts, dim=1))


class Constant:
    """An archive whose one band never changes."""

    def __init__(self) -> None:
        column = Column("10m", ("VV",), 2, "float32", 10.0)
        self.sensors = {"S1": Sensor("S1", (column,), "dB", mean=(3.0,), std=(0.0,))}

    def read(self, sensor: str, rows: Any, dtype: str) -> Any:
        return (np.full((len(rows), 1, 2, 2), 3, dtype),)


def test_a_band_that_never_changes_stays_finite() -> None:
    constant: Any = Constant()
    assert Images(constant, "nearest", CPU).load("S1", np.array([0])).abs().max() == 0


@settings(max_examples=100, deadline=None)
@given(count=st.integers(1, 200), size=st.integers(2, 40))
def test_batches_hold_every_scene_once_and_none_is_alone(count: int, size: int) -> None:
    order = np.random.default_rng(0).permutation(count)
    parts = list(split(order, size))
    np.testing.assert_array_equal(np.concatenate(parts), order)
    assert all(len(part) == size for part in parts[:-1])
    assert len(parts[-1]) <= size + 1
    assert count == 1 or len(parts[-1]) > 1


def test_batches_by_hand() -> None:
    assert [part.tolist() for part in split(np.arange(5), 2)] == [[0, 1], [2, 3, 4]]
    assert [part.tolist() for part in split(np.arange(6), 4)] == [[0, 1, 2, 3], [4, 5]]
    assert [part.tolist() for part in split(np.arange(3), 9)] == [[0, 1, 2]]


def test_augment_gives_the_eight_symmetries() -> None:
    image = torch.arange(18.0).reshape(1, 2, 3, 3).repeat(8, 1, 1, 1)
    turned = augment(image, np.arange(8))
    assert torch.equal(turned[0], image[0])
    assert torch.equal(turned[4], image[0].flip(2))  # columns mirrored
    assert torch.equal(turned[1], image[0].rot90(1, (1, 2)))
    assert torch.equal(turned[2], image[0].flip(1).flip(2))  # half a turn
    assert len({each.numpy().tobytes() for each in turned}) == 8
    assert torch.equal(turned.flatten(2).sort(2).values, image.flatten(2).sort(2).values)


def test_augment_turns_each_image_by_its_own_number() -> None:
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    turns = np.array([3, 0, 5, 3, 7, 0])
    together = augment(images, turns)
    for index, turn in enumerate(turns):
        alone = augment(images[index : index + 1], np.array([turn]))
        assert torch.equal(together[index], alone[0])
