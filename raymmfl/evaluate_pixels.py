"""Scores of pixel classification from confusion matrices, and the no-image guess beside them.

Only labelled pixels count. With TP, FP, FN of a class over all pixels: F1 = 2 TP / (2 TP + FP +
FN) and IoU = TP / (TP + FP + FN). A class without a true pixel in the split cannot be scored: it
is left out of the macro averages and of the per-class scores, while pixels that are wrongly given
to it still count as errors of their true class. With one class per pixel the micro F1 is the
share of right pixels.

Shapes: N scenes, K classes. A confusion matrix is (K, K): row truth, column
prediction.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import Archive
from raymmfl.evaluate import SMALLEST

Counts = NDArray[np.int64]
SCENES_AT_A_TIME = 256


def score(confusion_KK: Counts, loss: float, labels: Sequence[str]) -> dict[str, float]:
    """Score what was counted.

    Args:
        confusion_KK: over all labelled pixels.
        loss: the sum of their cross-entropy.
        labels: class names, K of them.

    Returns:
        ``miou``, ``f1_micro``, ``f1_macro``, ``loss`` (mean cross-entropy), and for each class
        that is present ``f1/<class>`` and ``iou/<class>``.

    Raises:
        ValueError: if the shapes disagree or there is no labelled pixel.
    """
    if confusion_KK.shape != (len(labels), len(labels)):
        raise ValueError(f"a confusion matrix {confusion_KK.shape} for {len(labels)} labels")
    pixels = int(confusion_KK.sum())
    if not pixels:
        raise ValueError("there is no labelled pixel to score")
    hits = confusion_KK.diagonal()
    truth, claims = confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    present = truth > 0
    f1 = 2 * hits[present] / (truth + claims)[present]
    iou = hits[present] / (truth + claims - hits)[present]
    names = [label for label, known in zip(labels, present, strict=True) if known]
    return {
        "miou": float(iou.mean()),
        "f1_micro": int(hits.sum()) / pixels,
        "f1_macro": float(f1.mean()),
        "loss": loss / pixels,
        **{f"f1/{name}": value for name, value in zip(names, f1.tolist(), strict=True)},
        **{f"iou/{name}": value for name, value in zip(names, iou.tolist(), strict=True)},
    }


def class_pixels(archive: Archive, rows: Counts) -> Counts:
    """Labelled pixels of each class in each scene, (len(rows), K).

    Each mask is read once, however often it is asked for.

    Raises:
        ArchiveError: an archive without pixel labels, or a scene without them.
    """
    known = _counted(archive)
    new = rows[known[rows, 0] < 0]
    for start in range(0, len(new), SCENES_AT_A_TIME):
        part = new[start : start + SCENES_AT_A_TIME]
        for row, mask in zip(part, archive.read_mask(part), strict=True):
            known[row] = np.bincount(mask.ravel(), minlength=256)[: known.shape[1]]
    return known[rows].astype(np.int64)


@lru_cache(maxsize=1)
def _counted(archive: Archive) -> NDArray[np.int32]:
    """What was counted so far, (scenes, K); -1 for scenes not asked for yet."""
    return np.full((len(archive), len(archive.labels)), -1, np.int32)


def guess(
    train_pixels_NK: Counts,
    train_regions: Sequence[str],
    pixels_NK: Counts,
    regions: Sequence[str],
) -> tuple[Counts, float]:
    """The no-image guess: each pixel gets the commonest class of its region's training pixels.

    Its loss is that of the region's class shares, kept 1e-6 away from 0. A region unknown to
    training gets the class and the shares of all training pixels.

    Args:
        train_pixels_NK: labelled pixels per training scene and class.
        train_regions: the training scenes' regions.
        pixels_NK: labelled pixels per scene to guess and class.
        regions: their regions.

    Returns:
        The confusion matrix and the sum of the cross-entropy, as
        :func:`raymmfl.learning.counting.count` gives them.

    Raises:
        ValueError: if no training pixel has a label.
    """
    overall = train_pixels_NK.sum(axis=0)
    if not overall.any():
        raise ValueError("the guess needs training pixels with a label")
    known, own = np.asarray(train_regions), np.asarray(regions)
    confusion = np.zeros((len(overall), len(overall)), np.int64)
    loss = 0.0
    for region in np.unique(own):
        seen = train_pixels_NK[known == region].sum(axis=0)
        seen = seen if seen.any() else overall
        truth = pixels_NK[own == region].sum(axis=0)
        confusion[:, seen.argmax()] += truth
        loss -= float(truth @ np.log(np.maximum(seen / seen.sum(), SMALLEST)))
    return confusion, loss
