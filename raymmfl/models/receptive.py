"""How far a pixel's scores look: what a window needs around it to score as the whole image does.

Measured, not calculated: NaN enters the network on one side of a line and comes out wherever the
scores can depend on it, since a weight times NaN is NaN whatever the weight. That holds for any
backbone of convolutions, poolings and normalisations by running statistics. A normalisation over
the image itself (group normalisation) spreads NaN over everything: such a network has no margin.
"""

import math

import torch

from raymmfl.models.multimodal import MultiModalNet

STRIDES = 64  # length of the strip: longer than the field of the deepest network, in strides


def margin(net: MultiModalNet) -> int | None:
    """Pixels that a window needs on each side so that its border cannot be felt inside.

    The window's borders lie on multiples of the encoder's stride, as this margin is one: the
    encoder's grid in the window is then that of the whole image. Whatever zero padding puts at
    the border of a window stands for pixels beyond it, so it reaches no further than they do.

    Args:
        net: of pixel classification, in evaluation mode, on the CPU; all sensors' encoders are
            alike.

    Returns:
        The smallest sufficient multiple of the stride; None if every pixel depends on all others.
    """
    assert not net.training
    sensor, bands = next(iter(net.sensors.items()))
    length = STRIDES * net.stride
    line = length // 2
    reach = 0
    for columns in (slice(0, line), slice(line, length)):
        image = torch.zeros(1, bands, net.stride, length)
        image[..., columns] = torch.nan
        with torch.inference_mode():
            _, logits = net.answer(sensor, image)
        touched = torch.isnan(logits[0]).any(0).any(0)
        outside = torch.ones(length, dtype=torch.bool)
        outside[columns] = False
        felt = int((touched & outside).sum())
        if felt >= line:
            return None
        reach = max(reach, felt)
    return math.ceil(reach / net.stride) * net.stride
