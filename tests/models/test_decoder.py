"""Tests of pixel scores: sizes, sharing, position of norms, equivariance, one training step."""

from typing import Literal

import pytest
import torch
from torch import nn
from torch.nn import functional

from raymmfl.config import WhiteningConfig
from raymmfl.models.backbones import BACKBONES, norm_factory
from raymmfl.models.decoder import Decoder, Up
from raymmfl.models.multimodal import MultiModalNet, build, sensor_of
from raymmfl.models.whitening import GroupWhitening

SENSORS = {"S1": 2, "S2": 5}
CLASSES = 4


def model_of(
    backbone: str,
    norm: str = "batch",
    whitening: WhiteningConfig | None = None,
    sensors: dict[str, int] | None = None,
) -> MultiModalNet:
    sensors = SENSORS if sensors is None else sensors
    return build(sensors, CLASSES, backbone, norm, whitening, projection=8, task="pixels")


def images(height: int, width: int, batch: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {
        sensor: torch.randn(batch, bands, height, width, generator=random)
        for sensor, bands in SENSORS.items()
    }


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_pixel_of_any_image_is_scored(backbone: str) -> None:
    model = model_of(backbone, sensors={"S1": 2}).eval()
    stride = model.stride
    with torch.inference_mode():
        for size in ((stride, stride), (stride + 1, 2 * stride - 1), (3 * stride + 5, stride)):
            assert model({"S1": torch.zeros(1, 2, *size)}).shape == (1, CLASSES, *size)


def test_logit_maps_are_averaged_over_the_sensors() -> None:
    model, both = model_of("resnet_small").eval(), images(17, 24)
    alone = [model({sensor: image}) for sensor, image in both.items()]
    torch.testing.assert_close(model(both), (alone[0] + alone[1]) / 2)
    feature, logits = model.answer("S1", both["S1"])
    assert torch.equal(logits, alone[0])
    assert torch.equal(feature, model.features("S1", both["S1"]))


def test_a_client_of_one_sensor_scores_as_the_full_model_does() -> None:
    full, image = model_of("resnet_small").eval(), images(16, 16)["S2"]
    part = model_of("resnet_small", sensors={"S2": 5}).eval()
    assert torch.equal(part({"S2": image}), full({"S2": image}))


def test_the_decoder_belongs_to_everyone() -> None:
    names = [name for name in model_of("cnn").state_dict() if name.startswith("head.")]
    assert "head.up.0.conv.weight" in names
    assert "head.classify.bias" in names
    assert {sensor_of(name) for name in names} == {None}


def test_doubling_repeats_each_pixel_and_crops_to_the_finer_map() -> None:
    up = Up(3, 1, lambda position, channels: nn.Identity())
    coarse = torch.arange(4.0).view(1, 1, 2, 2)
    finer = torch.full((1, 2, 3, 4), 9.0)
    with torch.no_grad():
        up.conv.weight.zero_()
        up.conv.weight[0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])  # the pixel itself
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]) + 990
    assert torch.equal(up(coarse, finer, (3, 4))[0, 0], expected)


@pytest.mark.parametrize("backbone", ["cnn", "resnet_small", "resnet18"])
def test_a_moved_image_gives_the_moved_scores(backbone: str) -> None:
    """Away from the borders; so a large image may be scored window by window."""
    model = model_of(backbone, whitening=WhiteningConfig(), sensors={"S1": 2}).eval()
    _unlike_fresh(model)
    stride = model.stride
    reach = 15 * stride
    random = torch.Generator().manual_seed(1)
    image = torch.randn(1, 2, stride, 2 * reach + 4 * stride, generator=random)
    with torch.inference_mode():
        whole = model({"S1": image})
        for shift, equal in ((2 * stride, True), (1, False)):
            moved = model({"S1": image[..., shift:]})
            apart = (moved - whole[..., shift:])[..., reach:-reach].abs().max()
            assert (apart < 1e-4) == equal


@torch.no_grad()
def _unlike_fresh(model: nn.Module) -> None:
    """Statistics and scales that leave no layer the identity."""
    random = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | GroupWhitening):
            assert module.weight is not None
            assert module.running_mean is not None
            module.weight.uniform_(0.5, 1.5, generator=random)
            module.running_mean.normal_(0, 0.1, generator=random)


@pytest.mark.parametrize("positions", ["stem+stage1", "all"])
def test_the_decoder_is_a_position_of_its_own(
    positions: Literal["stem+stage1", "all"],
) -> None:
    model = model_of("resnet_small", whitening=WhiteningConfig(positions=positions))
    kinds = {type(block.norm) for block in model.head.modules() if isinstance(block, Up)}
    assert kinds == ({GroupWhitening} if positions == "all" else {nn.BatchNorm2d})


CASES = [
    (backbone, norm, positions)
    for backbone in BACKBONES
    for norm in ("batch", "group")
    for positions in (None, "stem", "stem+stage1", "all")
    if backbone != "resnet50" or (norm, positions) in (("batch", "stem+stage1"), ("group", None))
]


@pytest.mark.parametrize(("backbone", "norm", "positions"), CASES)
def test_one_step_of_training_moves_every_weight(
    backbone: str, norm: str, positions: Literal["stem", "stem+stage1", "all"] | None
) -> None:
    whitening = None if positions is None else WhiteningConfig(positions=positions)
    model = model_of(backbone, norm, whitening, {"S1": 2}).train()
    image = images(33, 32)["S1"]
    truth = torch.randint(0, CLASSES, (2, 33, 32), generator=torch.Generator().manual_seed(0))
    loss = functional.cross_entropy(model({"S1": image}), truth)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        if not name.startswith("projection"):
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name


def widths(decoder: Decoder) -> list[tuple[int, int]]:
    """Channels out of and into each block's convolution."""
    convs = [block.conv for block in decoder.modules() if isinstance(block, Up)]
    return [(conv.out_channels, conv.in_channels) for conv in convs]


def test_the_widths_of_a_decoder() -> None:
    norm = norm_factory("batch", None)
    deep = Decoder(BACKBONES["resnet50"].scales, 3, norm)
    assert widths(deep) == [
        (256, 3072),
        (256, 768),
        (256, 512),
        (64, 320),
        (32, 64),
    ]
    fine = Decoder(BACKBONES["cnn"].scales, 3, norm)
    assert widths(fine) == [
        (128, 256),
        (64, 192),
        (36, 100),
    ]
