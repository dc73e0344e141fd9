"""The encoders: a stem that takes any number of bands, and a trunk that ends in feature maps.

Every normalisation sits at a named position (``stem``, ``stage1``, ``stage2``, ...; the one of a
shortcut belongs to its stage), and a factory decides by the position what stands there. The stems
of a backbone all end in the same number of channels, so that sensors may share a trunk.

Sources: ResNet-18 and -50, He et al., CVPR 2016 (arXiv 1512.03385), table 1 with the projection
shortcut; the bottleneck block halves the grid in its 3x3 convolution, where the paper does in the
first 1x1 (the variant called v1.5; equal parameters); group normalisation, Wu and He, ECCV 2018
(arXiv 1803.08494).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from raymmfl.config import WhiteningConfig
from raymmfl.errors import ConfigError
from raymmfl.models.whitening import GroupWhitening

NormFactory = Callable[[str, int], nn.Module]
"""Makes the normalisation of a position and a number of channels."""

GROUPS = 8


@dataclass(frozen=True)
class Backbone:
    """One kind of encoder.

    Attributes:
        summary: one sentence for lists.
        stem: from the number of bands and the norm factory to the first layers.
        trunk: from the norm factory to the rest.
        scales: (stride, channels) of the maps of :func:`pyramid`, finest first; the last is the
            trunk's output.
    """

    summary: str
    stem: Callable[[int, NormFactory], nn.Sequential]
    trunk: Callable[[NormFactory], nn.Sequential]
    scales: tuple[tuple[int, int], ...]

    @property
    def features(self) -> int:
        """Channels of the trunk's output, D."""
        return self.scales[-1][1]

    @property
    def stride(self) -> int:
        """Pixels of the image per pixel of the trunk's output, along one side."""
        return self.scales[-1][0]


def norm_factory(norm: str, whitening: WhiteningConfig | None) -> NormFactory:
    """Choose the normalisation of each position.

    Args:
        norm: ``batch`` or ``group``, wherever whitening is not.
        whitening: the whitening and its positions; None for none at all.

    Raises:
        ConfigError: if ``norm`` is unknown, or (from the factory) the group size does not divide
            the channels.
    """
    if norm not in ("batch", "group"):
        raise ConfigError(f"model.norm: {norm!r} is not a normalisation; choose batch or group")

    def make(position: str, channels: int) -> nn.Module:
        if whitening is not None and (
            whitening.positions == "all" or position in whitening.positions.split("+")
        ):
            try:
                return GroupWhitening(
                    channels,
                    whitening.group_size,
                    whitening.eps,
                    whitening.momentum,
                    whitening.affine,
                )
            except ValueError as error:
                raise ConfigError(
                    f"whitening.group_size: {whitening.group_size} does not divide the {channels} "
                    f"channels at {position}; choose a divisor, such as 4"
                ) from error
        if norm == "group":
            groups = max(size for size in range(1, GROUPS + 1) if channels % size == 0)
            return nn.GroupNorm(groups, channels)
        return nn.BatchNorm2d(channels)

    return make


def _conv(channels_in: int, channels_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps the grid (divided by the stride); a norm follows, so no bias."""
    return nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(
        self, position: str, channels_in: int, channels_out: int, stride: int, norm: NormFactory
    ) -> None:
        """Make the block; a shortcut that changes shape is a strided 1x1 convolution."""
        super().__init__()
        self.stride = stride
        self.conv1 = _conv(channels_in, channels_out, 3, stride)
        self.norm1 = norm(position, channels_out)
        self.conv2 = _conv(channels_out, channels_out, 3)
        self.norm2 = norm(position, channels_out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                _conv(channels_in, channels_out, 1, stride), norm(position, channels_out)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C_out, H / stride, W / stride), rounded up."""
        y = self.relu(self.norm1(self.conv1(x_BCHW)))
        y = self.norm2(self.conv2(y))
        out: Tensor = self.relu(y + self.downsample(x_BCHW))
        return out


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution and a shortcut; the 3x3 has a quarter of the width."""

    def __init__(
        self, position: str, channels_in: int, channels_out: int, stride: int, norm: NormFactory
    ) -> None:
        """Make the block; a shortcut that changes shape is a strided 1x1 convolution."""
        super().__init__()
        self.stride = stride
        width = channels_out // 4
        self.conv1 = _conv(channels_in, width, 1)
        self.norm1 = norm(position, width)
        self.conv2 = _conv(width, width, 3, stride)
        self.norm2 = norm(position, width)
        self.conv3 = _conv(width, channels_out, 1)
        self.norm3 = norm(position, channels_out)
        self.relu = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                _conv(channels_in, channels_out, 1, stride), norm(position, channels_out)
            )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C_out, H / stride, W / stride), rounded up."""
        y = self.relu(self.norm1(self.conv1(x_BCHW)))
        y = self.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        out: Tensor = self.relu(y + self.downsample(x_BCHW))
        return out


def layers(part: nn.Module) -> Iterator[nn.Module]:
    """The layers of a stem or trunk in the order of computation; a residual block is one layer."""
    if isinstance(part, nn.Sequential):
        for each in part:
            yield from layers(each)
    else:
        yield part


def pyramid(stem: nn.Sequential, trunk: nn.Sequential, image_BCHW: Tensor) -> list[Tensor]:
    """The last map of each scale, finest first; the last one is ``trunk(stem(image))``.

    A layer that halves the grid rounds up: (H, W) becomes (ceil(H / 2), ceil(W / 2)). What
    enters such a layer is handed out, but for the image itself, whose bands differ from sensor to
    sensor.

    Args:
        stem: made by the backbone.
        trunk: made by the same backbone.
        image_BCHW: standardised bands.

    Returns:
        One (B, C, ceil(H / s), ceil(W / s)) for each (s, C) of the backbone's ``scales``.
    """
    maps = []
    x = image_BCHW
    for layer in (*layers(stem), *layers(trunk)):
        if getattr(layer, "stride", 1) in (2, (2, 2)) and x is not image_BCHW:
            maps.append(x)
        x = layer(x)
    return [*maps, x]


def _stem(channels_out: int, size: int, stride: int, pool: bool) -> Callable[..., nn.Sequential]:
    """A stem: convolution, normalisation, ReLU and, if asked, a 3x3 max pooling of stride 2."""

    def make(channels_in: int, norm: NormFactory) -> nn.Sequential:
        layers: dict[str, nn.Module] = {
            "conv": _conv(channels_in, channels_out, size, stride),
            "norm": norm("stem", channels_out),
            "relu": nn.ReLU(),
        }
        if pool:
            layers["pool"] = nn.MaxPool2d(3, stride=2, padding=1)
        return _named(layers)

    return make


def _resnet_trunk(
    block: type[BasicBlock | Bottleneck],
    channels: int,
    widths: Sequence[int],
    counts: Sequence[int],
) -> Callable[[NormFactory], nn.Sequential]:
    """Stages of residual blocks from ``channels`` on; all but the first halve the grid."""

    def make(norm: NormFactory) -> nn.Sequential:
        stages: dict[str, nn.Module] = {}
        before = channels
        for index, (width, count) in enumerate(zip(widths, counts, strict=True), start=1):
            position = f"stage{index}"
            stage = []
            for number in range(count):
                stride = 2 if index > 1 and number == 0 else 1
                stage.append(block(position, before, width, stride, norm))
                before = width
            stages[position] = nn.Sequential(*stage)
        return _named(stages)

    return make


def _plain_trunk(widths: Sequence[int]) -> Callable[[NormFactory], nn.Sequential]:
    """3x3 convolutions from ``widths[0]`` channels on, each followed by a max pooling."""

    def make(norm: NormFactory) -> nn.Sequential:
        stages: dict[str, nn.Module] = {}
        for index, (before, after) in enumerate(pairwise(widths), 1):
            position = f"stage{index}"
            layers: dict[str, nn.Module] = {
                "conv": _conv(before, after, 3),
                "norm": norm(position, after),
                "relu": nn.ReLU(),
                "pool": nn.MaxPool2d(3, stride=2, padding=1),
            }
            stages[position] = _named(layers)
        return _named(stages)

    return make


def _named(layers: dict[str, nn.Module]) -> nn.Sequential:
    """A sequence whose parts keep their names in the state."""
    sequence = nn.Sequential()
    for name, layer in layers.items():
        sequence.add_module(name, layer)
    return sequence


BACKBONES: dict[str, Backbone] = {
    "cnn": Backbone(
        "three 3x3 convolutions with pooling, 97k parameters",
        stem=_stem(36, size=3, stride=1, pool=True),
        trunk=_plain_trunk((36, 64, 128)),
        scales=((1, 36), (2, 64), (4, 128), (8, 128)),
    ),
    "resnet_small": Backbone(
        "three stages of one basic block, 78k parameters, for patches of 16 to 64 pixels",
        stem=_stem(16, size=3, stride=2, pool=False),
        trunk=_resnet_trunk(BasicBlock, 16, (16, 32, 64), (1, 1, 1)),
        scales=((2, 16), (4, 32), (8, 64)),
    ),
    "resnet18": Backbone(
        "ResNet-18, 11.2M parameters, for patches of 64 pixels and more",
        stem=_stem(64, size=7, stride=2, pool=True),
        trunk=_resnet_trunk(BasicBlock, 64, (64, 128, 256, 512), (2, 2, 2, 2)),
        scales=((2, 64), (4, 64), (8, 128), (16, 256), (32, 512)),
    ),
    "resnet50": Backbone(
        "ResNet-50, 23.5M parameters, for patches of 64 pixels and more",
        stem=_stem(64, size=7, stride=2, pool=True),
        trunk=_resnet_trunk(Bottleneck, 64, (256, 512, 1024, 2048), (3, 4, 6, 3)),
        scales=((2, 64), (4, 256), (8, 512), (16, 1024), (32, 2048)),
    ),
}
