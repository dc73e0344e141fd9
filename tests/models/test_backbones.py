"""Tests of the encoders: sizes, shapes, cost, and what stands at each position."""

from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from raymmfl.config import WhiteningConfig
from raymmfl.errors import ConfigError
from raymmfl.models.backbones import BACKBONES, Bottleneck, norm_factory, pyramid
from raymmfl.models.multimodal import build
from raymmfl.models.whitening import GroupWhitening

NORMS = (nn.BatchNorm2d, nn.GroupNorm, GroupWhitening)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, image: Tensor) -> int:
    total = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += output[0].numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(add)
    model(image)
    return total


@pytest.mark.parametrize(
    ("backbone", "bands", "classes", "parameters"),
    [
        ("resnet18", 3, 1000, 11_689_512),  # the published number
        ("resnet18", 10, 19, 11_208_211),
        ("resnet50", 3, 1000, 25_557_032),  # the published number
        ("resnet50", 2, 19, 23_543_827),
        ("resnet50", 10, 19, 23_568_915),
        ("cnn", 2, 10, 96_858),
        ("resnet_small", 10, 10, 79_050),
    ],
)
def test_number_of_parameters(backbone: str, bands: int, classes: int, parameters: int) -> None:
    assert count(build({"S": bands}, classes, backbone)) == parameters


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("bands", [1, 2, 12])
def test_any_number_of_bands_and_patch_size(name: str, bands: int) -> None:
    backbone = BACKBONES[name]
    norm = norm_factory("group", None)
    stem, trunk = backbone.stem(bands, norm), backbone.trunk(norm)
    for size in (16, 33):
        maps = trunk(stem(torch.zeros(2, bands, size, size)))
        assert maps.shape[:2] == (2, backbone.features)
        assert maps.dim() == 4


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 32)])
def test_the_pyramid_is_what_the_backbone_declares(name: str, size: tuple[int, int]) -> None:
    backbone = BACKBONES[name]
    norm = norm_factory("group", None)
    stem, trunk = backbone.stem(2, norm), backbone.trunk(norm)
    image = torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(0))
    maps = pyramid(stem, trunk, image)
    height, width = size
    assert [tuple(each.shape[1:]) for each in maps] == [
        (channels, -(-height // stride), -(-width // stride))
        for stride, channels in backbone.scales
    ]
    assert torch.equal(maps[-1], trunk(stem(image)))
    assert (backbone.stride, backbone.features) == backbone.scales[-1]


def test_the_pyramid_takes_the_last_map_before_each_halving() -> None:
    norm = norm_factory("group", None)
    backbone = BACKBONES["resnet18"]
    stem, trunk = backbone.stem(2, norm), backbone.trunk(norm)
    image = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = pyramid(stem, trunk, image)
    before_pooling = stem.relu(stem.norm(stem.conv(image)))  # type: ignore[operator]
    assert torch.equal(maps[0], before_pooling)
    assert torch.equal(maps[1], trunk.stage1(stem(image)))  # type: ignore[operator]


def test_a_bottleneck_halves_in_its_3x3_convolution() -> None:
    stages = BACKBONES["resnet50"].trunk(norm_factory("group", None))
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]  # type: ignore[arg-type]
    block = stages.get_submodule("stage2.0")
    assert isinstance(block, Bottleneck)
    assert [block.conv1.stride, block.conv2.stride, block.conv3.stride] == [(1, 1), (2, 2), (1, 1)]
    assert block.conv2.weight.shape == (128, 128, 3, 3)


def test_cost_of_a_small_patch() -> None:
    backbone = BACKBONES["resnet_small"]
    norm = norm_factory("batch", None)
    encoder = nn.Sequential(backbone.stem(10, norm), backbone.trunk(norm))
    assert multiply_adds(encoder, torch.zeros(2, 10, 32, 32)) == 3_383_296


def test_resnet18_halves_the_grid_five_times() -> None:
    norm = norm_factory("group", None)
    backbone = BACKBONES["resnet18"]
    stem = backbone.stem(3, norm)(torch.zeros(1, 3, 64, 64))
    assert stem.shape == (1, 64, 16, 16)
    assert backbone.trunk(norm)(stem).shape == (1, 512, 2, 2)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("positions", ["stem", "stem+stage1", "all", None])
def test_norm_by_position(
    name: str, norm: str, positions: Literal["stem", "stem+stage1", "all"] | None
) -> None:
    whitening = None if positions is None else WhiteningConfig(positions=positions)
    model = build({"S1": 2}, 3, name, norm, whitening)
    elsewhere = nn.BatchNorm2d if norm == "batch" else nn.GroupNorm
    seen = set()
    for path, module in model.named_modules():
        if isinstance(module, NORMS):
            parts = path.split(".")
            position = "stem" if parts[0] == "stems" else parts[2]
            seen.add(position)
            expected = positions is not None and (positions == "all" or position in positions)
            assert isinstance(module, GroupWhitening if expected else elsewhere), path
    assert {"stem", "stage1", "stage2"} <= seen


def test_shortcut_norm_belongs_to_its_stage() -> None:
    seen: list[tuple[str, int]] = []

    def norm(position: str, channels: int) -> nn.Module:
        seen.append((position, channels))
        return nn.Identity()

    BACKBONES["resnet_small"].trunk(norm)
    assert seen == [
        *[("stage1", 16)] * 2,
        *[("stage2", 32)] * 3,
        *[("stage3", 64)] * 3,
    ]


def test_group_norm_takes_eight_groups_or_the_most_that_divide() -> None:
    make = norm_factory("group", None)
    groups = []
    for channels in (64, 36, 7, 22, 1):
        layer = make("stem", channels)
        assert isinstance(layer, nn.GroupNorm)
        groups.append(layer.num_groups)
    assert groups == [8, 6, 7, 2, 1]


def test_whitening_takes_its_settings() -> None:
    config = WhiteningConfig(positions="stem", group_size=8, eps=0.01, momentum=0.5, affine=False)
    layer = norm_factory("batch", config)("stem", 16)
    assert isinstance(layer, GroupWhitening)
    assert (layer.group_size, layer.eps, layer.momentum, layer.weight) == (8, 0.01, 0.5, None)


def test_wrong_settings_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"model\.norm: 'layer' is not"):
        norm_factory("layer", None)
    with pytest.raises(ConfigError, match=r"whitening\.group_size: 5 does not divide the 16"):
        norm_factory("batch", WhiteningConfig(group_size=5))("stem", 16)
