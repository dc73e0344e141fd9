"""Scores of multi-label predictions, and the no-image guess they are held against.

Average precision and F1 come from torchmetrics. A class without a positive in the split cannot be
scored: it is left out of the macro averages and of the per-class scores (a split lists it),
while its false alarms still count in the micro average. A label is predicted where its
probability is above, not at, the threshold.

Definitions, with TP, FP, FN counted per class over all scenes and F1 = 2 TP / (2 TP + FP + FN):
micro adds the counts of all classes first; macro is the plain mean of the classes' F1; weighted
is their mean by number of positives; map is the plain mean of the classes' average precision (the
area under the precision-recall steps, without interpolation).

Shapes: N scenes, K classes, T thresholds.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import (
    multilabel_average_precision,
    multilabel_f1_score,
)

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
SMALLEST = 1e-6
"""Probabilities are kept this far from 0 and 1 when turned into logits."""

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


def score(
    logits_NK: Floats,
    targets_NK: Bytes,
    labels: Sequence[str],
    threshold: float | None = None,
) -> dict[str, float]:
    """Score one split.

    Args:
        logits_NK: scores before the sigmoid, (N, K), float32.
        targets_NK: 0 or 1, (N, K), uint8.
        labels: class names, K of them.
        threshold: one chosen on validation; adds the scores that end in ``_tuned``.

    Returns:
        ``map``, ``f1_micro``, ``f1_macro``, ``f1_weighted`` (at 0.5), ``loss`` (mean binary
        cross-entropy), ``f1/<class>`` (at 0.5) for each class that is present, and with a
        threshold ``f1_micro_tuned``, ``f1_macro_tuned``, ``f1_weighted_tuned``. With no positive
        in the whole split, ``map`` and ``f1_macro`` are NaN.

    Raises:
        ValueError: if the shapes disagree or there is no scene.
    """
    _check(logits_NK, targets_NK, len(labels))
    logits = torch.from_numpy(np.array(logits_NK, dtype=np.float64))
    targets = torch.from_numpy(np.array(targets_NK, dtype=np.int64))
    # In float64, where the sigmoid of any plausible score stays apart from its neighbours' and
    # inside (0, 1): outside, torchmetrics would take the values for logits.
    probabilities = logits.sigmoid()
    present = torch.from_numpy(targets_NK.any(axis=0))
    # torchmetrics drops the axis of a single class.
    f1 = _f1(probabilities, targets, 0.5, "none").reshape(-1)
    metrics = {
        "map": _average_precision(probabilities[:, present], targets[:, present]),
        **_f1_scores(probabilities, targets, present, 0.5, ""),
        "loss": float(F.binary_cross_entropy_with_logits(logits, targets.double())),
    }
    if threshold is not None:
        metrics |= _f1_scores(probabilities, targets, present, threshold, "_tuned")
    for label, value, known in zip(labels, f1.tolist(), present.tolist(), strict=True):
        if known:
            metrics[f"f1/{label}"] = value
    return metrics


def best_threshold(logits_NK: Floats, targets_NK: Bytes) -> float:
    """The threshold of the grid 0.05, 0.10, ..., 0.95 with the best macro F1; first best wins.

    Choose it on the validation split, score the test split at it. Without any positive: 0.5.

    Raises:
        ValueError: if the shapes disagree or there is no scene.
    """
    _check(logits_NK, targets_NK, targets_NK.shape[1])
    present = targets_NK.any(axis=0)
    if not present.any():
        return 0.5
    truth = targets_NK[:, present] > 0
    # The same arithmetic as score(), so that both agree on which labels are predicted.
    logits = torch.from_numpy(np.array(logits_NK[:, present], dtype=np.float64))
    probabilities = logits.sigmoid().numpy()
    macro_T = []
    for threshold in THRESHOLDS:
        predicted = probabilities > threshold
        hits = np.count_nonzero(predicted & truth, axis=0)
        claims = np.count_nonzero(predicted, axis=0) + np.count_nonzero(truth, axis=0)
        macro_T.append(float((2 * hits / claims).mean()))
    return THRESHOLDS[int(np.argmax(macro_T))]


def guess(train_targets_NK: Bytes, train_regions: Sequence[str], regions: Sequence[str]) -> Floats:
    """The no-image guess: each scene gets its region's class shares among the training scenes.

    Args:
        train_targets_NK: labels of the training scenes.
        train_regions: their regions, N of them.
        regions: the regions of the scenes to guess; one unknown to training gets the shares of
            all training scenes.

    Returns:
        Probabilities, (len(regions), K), float32; :func:`as_logits` makes them ready to score.

    Raises:
        ValueError: if there is no training scene, or not one region for each.
    """
    if not len(train_targets_NK) or len(train_targets_NK) != len(train_regions):
        raise ValueError(
            f"the guess needs training scenes with one region each, got {len(train_targets_NK)} "
            f"scenes and {len(train_regions)} regions"
        )
    known = np.asarray(train_regions)
    overall = train_targets_NK.mean(axis=0)
    shares = {name: train_targets_NK[known == name].mean(axis=0) for name in np.unique(known)}
    rows = [shares.get(name, overall) for name in regions]
    return np.array(rows, dtype=np.float32).reshape(len(rows), train_targets_NK.shape[1])


def as_logits(probabilities_NK: Floats) -> Floats:
    """Turn probabilities into finite logits, so that :func:`score` can score them."""
    clipped = np.clip(probabilities_NK.astype(np.float64), SMALLEST, 1 - SMALLEST)
    return np.log(clipped / (1 - clipped)).astype(np.float32)


def _check(logits_NK: Floats, targets_NK: Bytes, classes: int) -> None:
    """Refuse what cannot be scored."""
    if logits_NK.shape != targets_NK.shape or logits_NK.shape[1:] != (classes,):
        raise ValueError(
            f"logits {logits_NK.shape} and targets {targets_NK.shape} must both be (N, {classes})"
        )
    if not len(logits_NK):
        raise ValueError("there is no scene to score")


def _average_precision(probabilities: Tensor, targets: Tensor) -> float:
    """Mean average precision of the given classes; NaN of none."""
    classes = targets.shape[1]
    if classes == 0:
        return math.nan
    value: Tensor = multilabel_average_precision(
        probabilities, targets, num_labels=classes, average="macro", validate_args=False
    )
    return float(value)


def _f1(probabilities: Tensor, targets: Tensor, threshold: float, average: str) -> Tensor:
    """F1 at a threshold: one value, or with average ``none`` one per class, (K,)."""
    values: Tensor = multilabel_f1_score(
        probabilities,
        targets,
        num_labels=targets.shape[1],
        threshold=threshold,
        average=average,
        validate_args=False,
    )
    return values


def _f1_scores(
    probabilities: Tensor, targets: Tensor, present: Tensor, threshold: float, suffix: str
) -> dict[str, float]:
    """The three averages of F1 at a threshold."""
    classes = _f1(probabilities, targets, threshold, "none").reshape(-1)
    return {
        f"f1_micro{suffix}": float(_f1(probabilities, targets, threshold, "micro")),
        f"f1_macro{suffix}": float(classes[present].mean()),
        f"f1_weighted{suffix}": float(_f1(probabilities, targets, threshold, "weighted")),
    }
