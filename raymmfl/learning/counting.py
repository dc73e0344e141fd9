"""Count right and wrong pixels where the scores are, so that no map of scores has to travel.

Shapes: B batch, K classes, H W pixels.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raymmfl.archive.store import IGNORED


def count(logits_BKHW: Tensor, mask_BHW: Tensor) -> tuple[NDArray[np.int64], float]:
    """Compare scores with the truth.

    Args:
        logits_BKHW: scores before the softmax.
        mask_BHW: class of each pixel, int64; 255 where it has no label.

    Returns:
        The confusion matrix of the labelled pixels, and the sum of their cross-entropy: NaN if
        any score of the maps is not finite.
    """
    classes = logits_BKHW.shape[1]
    labelled = mask_BHW != IGNORED
    pairs = mask_BHW[labelled] * classes + logits_BKHW.argmax(dim=1)[labelled]
    confusion = torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    if not bool(torch.isfinite(logits_BKHW).all()):
        return confusion.cpu().numpy(), math.nan
    losses = F.cross_entropy(logits_BKHW, mask_BHW, ignore_index=IGNORED, reduction="none")
    return confusion.cpu().numpy(), float(losses.sum(dtype=torch.float64))
