"""The decoder of pixel classification: from an encoder's maps to class scores of every pixel.

A U-Net (Ronneberger et al., MICCAI 2015, arXiv 1505.04597) with one convolution per scale: the
coarse map is doubled, joined to the encoder's map of that scale, and convolved. Doubling repeats
each pixel (exactly twice, then cropped to the finer map: never to an arbitrary size), so that in
evaluation mode an image moved by a multiple of the encoder's stride gives the moved scores, away
from the borders; it also has the same bits on every run of a GPU, which bilinear has not.

It sees no bands, so that encoders of different sensors share one decoder. All its normalisations
stand at the position ``decoder``.

Shapes: B batch, C channels, H W pixels of the image, h w of a map, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from raymmfl.models.backbones import NormFactory

WIDEST = 256
NARROWEST = 16


class Up(nn.Module):
    """Double a map, join it to the finer one, convolve: 3x3, normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, norm: NormFactory) -> None:
        """Make the block; ``channels_in`` counts the joined channels."""
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = norm("decoder", channels_out)
        self.relu = nn.ReLU()

    def forward(self, x_BChw: Tensor, finer_BCHW: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Return (B, C_out, H, W), where ``size`` is (H, W), at most twice (h, w)."""
        height, width = size
        x = functional.interpolate(x_BChw, scale_factor=2, mode="nearest")[..., :height, :width]
        if finer_BCHW is not None:
            x = torch.cat([x, finer_BCHW], dim=1)
        out: Tensor = self.relu(self.norm(self.conv(x)))
        return out


class Decoder(nn.Module):
    """From the maps of :func:`raymmfl.models.backbones.pyramid` to logits of every pixel.

    Attributes:
        up: from the coarsest scale to the image, each doubling the grid.
        classify: 1x1 convolution to K classes.
    """

    def __init__(self, scales: Sequence[tuple[int, int]], classes: int, norm: NormFactory) -> None:
        """Make the decoder of a backbone.

        Args:
            scales: (stride, channels) of the encoder's maps, finest first; each stride is half
                the next, the first is 1 or 2.
            classes: K.
            norm: makes the normalisations.
        """
        super().__init__()
        (finest, _), *_ = scales
        channels = scales[-1][1]
        blocks = []
        for _, skip in reversed(scales[:-1]):
            width = min(skip, WIDEST)
            blocks.append(Up(channels + skip, width, norm))
            channels = width
        if finest == 2:  # the encoder has no map as fine as the image
            width = max(channels // 2, NARROWEST)
            blocks.append(Up(channels, width, norm))
            channels = width
        self.up = nn.ModuleList(blocks)
        self.classify = nn.Conv2d(channels, classes, 1)

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Score every pixel of the image.

        Args:
            maps: (B, C, h, w) per scale, finest first.
            size: (H, W) of the image.

        Returns:
            Logits, (B, K, H, W).
        """
        x = maps[-1]
        finer: list[Tensor | None] = [*reversed(maps[:-1])]
        if len(finer) < len(self.up):
            finer.append(None)
        for block, each in zip(self.up, finer, strict=True):
            height, width = size if each is None else each.shape[2:]
            x = block(x, each, (height, width))
        logits_BKHW: Tensor = self.classify(x)
        return logits_BKHW
