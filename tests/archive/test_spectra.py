"""Tests of the values of classes: whose pixels they are."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from raymmfl.archive.readers.source import Scene
from raymmfl.archive.spectra import class_values, coarsen
from raymmfl.archive.store import Archive, Column

COLUMNS = (
    Column("10m", ("B02", "B03"), 4, "uint16", 10.0),
    Column("20m", ("B05",), 2, "uint16", 20.0),
)
LABELS = ("left", "right", "nowhere")
LEFT, RIGHT = 0, 1
MASK = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [255, 0, 1, 1]], np.uint8)


def scene(number: int, split: str, labels: tuple[str, ...], masked: bool) -> Scene:
    """Left pixels are 10, 20, and 30 at 20 m; right ones are 100 more."""
    fine = np.where(MASK == RIGHT, 100, 0)
    images = (
        np.stack([fine + 10, fine + 20]).astype(np.uint16),
        np.array([[[30, 130], [30, 130]]], np.uint16),
    )
    return Scene(
        f"s{number}", split, labels, "here", "tile", "", 0.0, 0.0, 32633,
        (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), {"eye": images}, MASK if masked else None, {},
    )  # fmt: skip


def values(archive: Archive) -> Mapping[str, list[list[float]]]:
    found = class_values(archive, "eye")
    return {
        label: [sorted(band.tolist()) for band in bands] for label, bands in found.values.items()
    }


@pytest.fixture
def make(handmade: Callable[..., Archive]) -> Callable[[list[Scene]], Archive]:
    return lambda scenes: handmade(scenes, {"eye": COLUMNS}, LABELS, {"eye": "DN"})


def test_with_a_mask_a_pixel_belongs_to_its_class(make: Callable[..., Archive]) -> None:
    archive = make([scene(0, "train", ("left", "right"), True), scene(1, "val", ("left",), True)])
    # of the coarse pixels one is all left and one all right; the validation scene is not read
    assert values(archive) == {
        "left": [[10.0] * 8, [20.0] * 8, [30.0]],
        "right": [[110.0] * 7, [120.0] * 7, [130.0]],
    }
    assert class_values(archive, "eye").by_mask


def test_without_a_mask_a_class_has_all_of_its_scenes(make: Callable[..., Archive]) -> None:
    archive = make([scene(0, "train", ("left",), False), scene(1, "train", ("right",), False)])
    everything = [[10.0] * 9 + [110.0] * 7, [20.0] * 9 + [120.0] * 7, [30.0, 30.0, 130.0, 130.0]]
    assert values(archive) == {"left": everything, "right": everything}
    assert not class_values(archive, "eye").by_mask


def test_a_coarser_mask_knows_only_what_is_alike() -> None:
    np.testing.assert_array_equal(coarsen(MASK[None], 2), [[[0, 1], [255, 255]]])
    np.testing.assert_array_equal(coarsen(MASK[None], 4)[0], MASK)
    np.testing.assert_array_equal(coarsen(MASK[None], 8)[0, ::2, ::2], MASK)
    assert (coarsen(MASK[None], 3) == 255).all()


def test_the_same_seed_gives_the_same_pixels(archive: Archive) -> None:
    first, again, other = (class_values(archive, "S1", seed) for seed in (0, 0, 1))
    for label, bands in first.values.items():
        for band, same in zip(bands, again.values[label], strict=True):
            np.testing.assert_array_equal(band, same)
    assert any(
        not np.array_equal(bands[0], other.values[label][0])
        for label, bands in first.values.items()
    )
