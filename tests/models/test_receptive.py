"""Tests of the margin a network needs."""

import pytest
import torch
from torch import Tensor

from raymmfl.config import WhiteningConfig
from raymmfl.models.multimodal import MultiModalNet, build
from raymmfl.models.receptive import margin


def test_the_margin_of_the_plain_network_worked_out_by_hand() -> None:
    """How far to the right of a line at pixel 0 something on its left is felt.

    A 3x3 convolution or pooling looks one pixel of its grid to the left. From the scores of pixel
    p down to the grid of 8: q = ((((p-1)//2) - 1)//2 - 1)//2. Up again through pooling and
    convolution of each grid to the image: 8q -> 2(2(2q-2)-2)-2 = 8q - 14. That lies left of 0 up
    to q = 1, which is up to p = 22: 23 pixels, 24 as a multiple of the stride. To the other side
    the same sum gives 15 pixels.
    """
    assert margin(build({"A": 2}, 3, "cnn", task="pixels").eval()) == 24


def changed(net: MultiModalNet, columns: slice) -> Tensor:
    """Bool per column: whose scores change when some columns of the image do."""
    random = torch.Generator().manual_seed(0)
    image = torch.randn(4, 3, 16, 192, generator=random, dtype=torch.float64)
    other = image.clone()
    other[..., columns] = torch.randn(
        other[..., columns].shape, generator=random, dtype=torch.float64
    )
    with torch.inference_mode():
        change = net.answer("B", image)[1] - net.answer("B", other)[1]
    return change.abs().amax((0, 1, 2)) > 0


@pytest.mark.parametrize("backbone", ["cnn", "resnet_small"])
@pytest.mark.parametrize("whitening", [False, True])
def test_a_change_is_felt_within_the_margin_and_not_beyond(backbone: str, whitening: bool) -> None:
    settings = WhiteningConfig() if whitening else None
    net = build({"A": 2, "B": 3}, 3, backbone, whitening=settings, task="pixels").eval()
    needed = margin(net)
    assert needed is not None
    net.double()
    felt_left = changed(net, slice(96, 192))[:96].flip(0)  # counted from the line
    felt_right = changed(net, slice(0, 96))[96:]
    assert not felt_left[needed:].any()
    assert not felt_right[needed:].any()
    within = slice(needed - net.stride, needed)
    assert felt_left[within].any() or felt_right[within].any()


def test_group_normalisation_looks_everywhere() -> None:
    assert margin(build({"A": 2}, 3, "cnn", norm="group", task="pixels").eval()) is None
