"""Coarse maps of scene classifiers: one pixel for each patch of the size trained on."""

import torch

from raymmfl.archive.rasters.mapfile import NODATA, MapWriter
from raymmfl.archive.rasters.mosaic import Mosaic
from raymmfl.errors import PredictionError
from raymmfl.models.export import Description
from raymmfl.models.multimodal import MultiModalNet
from raymmfl.prediction.inputs import Inputs
from raymmfl.prediction.pixels import Progress
from raymmfl.prediction.windows import Box, starts

BATCH = 256
LEAST_SEEN = 0.5


def patch_side(inputs: Inputs, mosaic: Mosaic, description: Description) -> int:
    """Side of a patch in pixels of the mosaic.

    Raises:
        PredictionError: if the sensors' patches would differ in ground, a file's pixels do not
            divide the patch, or the rasters are smaller than one.
    """
    sides = {
        sensor: description.sensors[sensor].size * ratio for sensor, ratio in inputs.ratios.items()
    }
    side = max(sides.values())
    if set(sides.values()) != {side}:
        listed = ", ".join(
            f"{description.sensors[name].size} pixels of {name}" for name in inputs.ratios
        )
        raise PredictionError(
            f"a scene was trained on as {listed}, which on these rasters are not the same ground; "
            f"resample them to the pixel sizes trained on"
        )
    for layer in (layer for layers in mosaic.layers.values() for layer in layers):
        if side % layer.ratio:
            raise PredictionError(
                f"{layer.path}: its pixels do not divide the patch of {side} pixels trained on; "
                f"resample it to the finest grid"
            )
    if min(mosaic.height, mosaic.width) < side:
        raise PredictionError(
            f"the rasters have {mosaic.height}x{mosaic.width} pixels, less than one patch of "
            f"{side}x{side}; give a larger image"
        )
    return side


@torch.inference_mode()
def draw(
    net: MultiModalNet,
    inputs: Inputs,
    mosaic: Mosaic,
    side: int,
    writer: MapWriter,
    progress: Progress,
) -> None:
    """Classify patches side by side, row by row, by the label with the highest mean logit.

    Where the image ends within a patch, the patch is moved to end with the image. A sensor counts
    in a patch of which it saw at least half.

    Args:
        net: in evaluation mode.
        inputs: of the mosaic.
        mosaic: the rasters.
        side: of a patch, in pixels of the mosaic.
        writer: receives one row of classes after the other.
        progress: told how many rows of all are done.
    """
    device = next(net.parameters()).device
    lefts = starts(mosaic.width, side)
    tops = starts(mosaic.height, side)
    for row, top in enumerate(tops):
        for first in range(0, len(lefts), BATCH):
            chosen = lefts[first : first + BATCH]
            logits = torch.zeros(len(chosen), net.classes, device=device)
            count = torch.zeros(len(chosen), 1, device=device)
            for sensor, ratio in inputs.ratios.items():
                boxes = [
                    Box(top // ratio, left // ratio, (top + side) // ratio, (left + side) // ratio)
                    for left in chosen
                ]
                images = inputs.patches(sensor, boxes)
                seen = (images.seen.float().mean((1, 2)) >= LEAST_SEEN).to(device)[:, None]
                logits += net.answer(sensor, images.bands.to(device))[1] * seen
                count += seen
            classes = (logits / count.clamp(min=1)).argmax(1).to(torch.uint8)
            classes.masked_fill_(count[:, 0] == 0, NODATA)
            writer.write(classes[None].cpu().numpy(), row, first)
        progress(row + 1, len(tops))
