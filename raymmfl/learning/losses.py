"""The terms of the local loss: the task's (scenes or pixels), and MIM's between sensors.

Shapes: B batch, K classes, H W pixels, N pairs of scenes, E length of an embedding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from raymmfl.archive.store import IGNORED


def task_loss(logits_BK: Tensor, targets_BK: Tensor) -> Tensor:
    """Binary cross-entropy of every label, averaged over scenes and classes.

    Args:
        logits_BK: scores before the sigmoid, (B, K).
        targets_BK: 0 or 1, (B, K), any dtype.

    Returns:
        A scalar.
    """
    return F.binary_cross_entropy_with_logits(logits_BK, targets_BK.to(logits_BK.dtype))


def pixel_loss(logits_BKHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """Cross-entropy averaged over the labelled pixels of the batch.

    Args:
        logits_BKHW: scores before the softmax, (B, K, H, W).
        mask_BHW: class of each pixel, int64, (B, H, W); 255 where it has no label.

    Returns:
        A scalar; without any labelled pixel 0, with zero gradients.
    """
    # pixel by pixel first: summed at once, a GPU adds them in another order each time
    losses = F.cross_entropy(logits_BKHW, mask_BHW, ignore_index=IGNORED, reduction="none")
    return losses.sum() / (mask_BHW != IGNORED).sum().clamp(min=1)


def nt_xent(z_NE: Tensor, partner_NE: Tensor, temperature: float) -> Tensor:
    """Symmetric NT-Xent: a scene's two sensors attract, all other scenes repel.

    Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML
    2020 (arXiv 2002.05709), equation 1, averaged over all 2N embeddings. Each denominator has
    2N - 1 terms: the partner and every embedding of the other scenes, of either sensor. Equal
    embeddings give log(2N - 1); one pair has nothing to repel and gives 0, no pair gives 0 with
    zero gradients.

    Args:
        z_NE: one sensor's embeddings, (N, E); normalised here.
        partner_NE: the same scenes' embeddings of the other sensor, (N, E).
        temperature: divides the cosines.

    Returns:
        A scalar, in float32 at least.

    Raises:
        ValueError: if the two do not have the same shape (N, E).
    """
    if z_NE.dim() != 2 or z_NE.shape != partner_NE.shape:
        raise ValueError(
            "NT-Xent needs two equally long lists of embeddings, got shapes "
            f"{tuple(z_NE.shape)} and {tuple(partner_NE.shape)}"
        )
    pairs = z_NE.shape[0]
    both = torch.cat([z_NE, partner_NE])
    both = both.to(torch.promote_types(both.dtype, torch.float32))
    if pairs == 0:
        return both.sum()
    unit = F.normalize(both, dim=1)
    cosines = unit @ unit.T / temperature
    itself = torch.eye(2 * pairs, dtype=torch.bool, device=both.device)
    partners = torch.arange(2 * pairs, device=both.device).roll(pairs)
    return F.cross_entropy(cosines.masked_fill(itself, -torch.inf), partners)
