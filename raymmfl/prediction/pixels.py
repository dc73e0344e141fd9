"""Maps of pixel classifiers, window by window and without seams."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raymmfl.archive.rasters.mapfile import NODATA, MapWriter
from raymmfl.archive.rasters.mosaic import Mosaic
from raymmfl.errors import PredictionError
from raymmfl.models.multimodal import MultiModalNet
from raymmfl.models.receptive import margin
from raymmfl.prediction.inputs import Inputs
from raymmfl.prediction.windows import Window, tile

Progress = Callable[[int, int], None]
AUTO_MARGIN = 128


def choose_margin(net: MultiModalNet, wish: str) -> int:
    """Pixels on each side of a window.

    Args:
        net: in evaluation mode, on the CPU.
        wish: ``exact`` for as many as the network can look at; ``auto`` for at most
            :data:`AUTO_MARGIN` of them.

    Raises:
        PredictionError: if no margin is exact.
    """
    needed = margin(net)
    if needed is None and wish == "exact":
        raise PredictionError(
            "--margin exact: with group normalisation every pixel depends on the whole window, so "
            "no margin makes windows equal to the whole image; choose --margin auto"
        )
    least = -(-AUTO_MARGIN // net.stride) * net.stride
    return least if needed is None else needed if wish == "exact" else min(needed, least)


@torch.inference_mode()
def score(net: MultiModalNet, inputs: Inputs, window: Window) -> tuple[Tensor, Tensor]:
    """Logits of a window's core: the mean over the sensors that saw the pixel.

    Returns:
        Float32 (K, H, W), zeros where no sensor saw anything; and bool (H, W), where one did.
    """
    device = next(net.parameters()).device
    inside = window.core.inside(window.view)
    logits = torch.zeros(net.classes, *window.core.shape, device=device)
    count = torch.zeros(window.core.shape, device=device)
    for sensor in inputs.sensors:
        images = inputs.window(sensor, window.view)
        seen = images.seen[0][inside].to(device)
        if seen.any():
            own = net.answer(sensor, images.bands.to(device))[1][0][:, *inside]
            logits += own if seen.all() else own * seen
            count += seen
    return logits / count.clamp(min=1), count > 0


def draw(
    net: MultiModalNet,
    inputs: Inputs,
    mosaic: Mosaic,
    side: int,
    around: int,
    writer: MapWriter,
    progress: Progress,
) -> None:
    """Classify every pixel of the mosaic.

    Args:
        net: in evaluation mode.
        inputs: of the mosaic.
        mosaic: the rasters.
        side: pixels per side of a window's core.
        around: its margin.
        writer: receives the classes.
        progress: told how many windows of all are done.
    """
    windows = list(tile(mosaic.height, mosaic.width, side, around))
    for done, window in enumerate(windows, start=1):
        logits, seen = score(net, inputs, window)
        classes = logits.argmax(0).to(torch.uint8).masked_fill_(~seen, NODATA).cpu().numpy()
        writer.write(np.ascontiguousarray(classes), window.core.top, window.core.left)
        progress(done, len(windows))
