"""Tests of the scores against scikit-learn and against numbers worked out by hand."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, log_loss

from raymmfl.evaluate import (
    THRESHOLDS,
    Bytes,
    Floats,
    as_logits,
    best_threshold,
    guess,
    score,
)

LABELS = [f"class {index}" for index in range(10)]


def split(seed: int, scenes: int, classes: int) -> tuple[Floats, Bytes]:
    random = np.random.default_rng(seed)
    targets = (random.random((scenes, classes)) < random.uniform(0, 0.7, classes)).astype(np.uint8)
    logits = random.normal(size=(scenes, classes)) + 1.5 * targets - 0.5
    # Rounded, so that ties occur.
    return np.round(logits, 1).astype(np.float32), targets


def sigmoid(logits: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    scenes=st.integers(1, 60),
    classes=st.integers(1, 10),
    threshold=st.sampled_from(THRESHOLDS),
)
def test_scores_equal_scikit_learn(seed: int, scenes: int, classes: int, threshold: float) -> None:
    logits, targets = split(seed, scenes, classes)
    present = np.flatnonzero(targets.any(axis=0))
    if not len(present):
        return
    metrics = score(logits, targets, LABELS[:classes], threshold)
    probabilities = sigmoid(logits)
    expected = {
        "map": np.mean(
            [average_precision_score(targets[:, k], probabilities[:, k]) for k in present]
        ),
        "loss": np.mean(
            [log_loss(targets[:, k], probabilities[:, k], labels=[0, 1]) for k in range(classes)]
        ),
    }
    for suffix, level in (("", 0.5), ("_tuned", threshold)):
        # One column more of true negatives, so that one class is still multi-label for sklearn.
        truth = np.pad(targets, ((0, 0), (0, 1)))
        predicted = np.pad((probabilities > level).astype(np.uint8), ((0, 0), (0, 1)))
        per_class = f1_score(truth, predicted, average=None, zero_division=0)
        expected[f"f1_macro{suffix}"] = per_class[present].mean()
        for average in ("micro", "weighted"):
            expected[f"f1_{average}{suffix}"] = f1_score(
                truth, predicted, average=average, zero_division=0
            )
        if not suffix:
            expected |= {f"f1/{LABELS[k]}": per_class[k] for k in present}
    assert metrics == pytest.approx(expected, abs=1e-5)


def test_scores_by_hand() -> None:
    # Class a: scores rank positive, negative, positive: AP = (1 + 2/3) / 2; all above 0.5.
    # Class b: only the last scene is predicted, and only it is positive.
    # Class c: absent; one false alarm.
    logits = np.array([[3, -1, -2], [2, -2, 1], [1, 4, -3]], dtype=np.float32)
    targets = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]], dtype=np.uint8)
    metrics = score(logits, targets, ["a", "b", "c"])
    assert metrics["map"] == pytest.approx((5 / 6 + 1) / 2)
    assert metrics["f1/a"] == pytest.approx(4 / 5)
    assert metrics["f1/b"] == pytest.approx(1)
    assert "f1/c" not in metrics
    assert metrics["f1_macro"] == pytest.approx(0.9)
    assert metrics["f1_micro"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 0))
    assert metrics["f1_weighted"] == pytest.approx((2 * 4 / 5 + 1) / 3)
    assert not [name for name in metrics if name.endswith("_tuned")]


def test_a_label_is_predicted_above_not_at_the_threshold() -> None:
    targets = np.ones((1, 2), dtype=np.uint8)
    metrics = score(np.array([[0.0, 1e-3]], dtype=np.float32), targets, ["at", "above"])
    assert (metrics["f1/at"], metrics["f1/above"]) == (0, 1)


def test_logits_inside_the_unit_interval_are_still_logits() -> None:
    logits = np.array([[0.1, 0.9], [0.2, 0.3]], dtype=np.float32)
    targets = np.ones((2, 2), dtype=np.uint8)
    assert score(logits, targets, ["a", "b"])["f1_micro"] == 1


def test_large_logits_keep_their_order() -> None:
    logits = np.array([[30.0], [20.0], [25.0]], dtype=np.float32)  # all 1.0 in float32
    targets = np.array([[1], [0], [1]], dtype=np.uint8)
    assert score(logits, targets, ["a"])["map"] == pytest.approx(1)


def test_no_positive_at_all_is_not_a_number_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = score(np.ones((3, 2), np.float32), np.zeros((3, 2), np.uint8), ["a", "b"], 0.3)
    assert math.isnan(metrics["map"]) and math.isnan(metrics["f1_macro"])
    assert metrics["f1_micro"] == 0
    assert math.isfinite(metrics["loss"])
    assert best_threshold(np.ones((3, 2), np.float32), np.zeros((3, 2), np.uint8)) == 0.5


def test_scores_refuse_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"must both be \(N, 2\)"):
        score(np.ones((3, 2), np.float32), np.ones((2, 2), np.uint8), ["a", "b"])
    with pytest.raises(ValueError, match=r"must both be \(N, 3\)"):
        score(np.ones((3, 2), np.float32), np.ones((3, 2), np.uint8), ["a", "b", "c"])
    with pytest.raises(ValueError, match="no scene"):
        score(np.ones((0, 2), np.float32), np.ones((0, 2), np.uint8), ["a", "b"])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), scenes=st.integers(2, 50), classes=st.integers(1, 6))
def test_best_threshold_is_the_first_best_of_the_grid(
    seed: int, scenes: int, classes: int
) -> None:
    logits, targets = split(seed, scenes, classes)
    if not targets.any():
        return
    values = [
        score(logits, targets, LABELS[:classes], threshold)["f1_macro_tuned"]
        for threshold in THRESHOLDS
    ]
    best = best_threshold(logits, targets)
    assert values[THRESHOLDS.index(best)] == pytest.approx(max(values), abs=1e-6)
    assert all(value < max(values) + 1e-6 for value in values[: THRESHOLDS.index(best)])


def test_best_threshold_by_hand() -> None:
    targets = np.array([[1], [1], [0], [0]], dtype=np.uint8)
    logits = as_logits(np.array([[0.9], [0.32], [0.22], [0.1]], dtype=np.float32))
    assert best_threshold(logits, targets) == 0.25  # 0.25 and 0.30 are both perfect
    assert len(THRESHOLDS) == 19 and (THRESHOLDS[0], THRESHOLDS[-1]) == (0.05, 0.95)


def test_guess_is_the_regions_shares() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.uint8)
    regions = ["north", "north", "north", "south"]
    guessed = guess(targets, regions, ["south", "north", "nowhere"])
    expected = np.array([[0, 1], [2 / 3, 1 / 3], [0.5, 0.5]], dtype=np.float32)
    np.testing.assert_allclose(guessed, expected, rtol=1e-6)
    assert guessed.dtype == np.float32
    assert guess(targets, regions, []).shape == (0, 2)
    with pytest.raises(ValueError, match="one region each"):
        guess(targets, regions[:2], ["north"])


def test_probabilities_can_be_scored_as_logits() -> None:
    probabilities = np.array([[0, 0.25, 0.5, 1]], dtype=np.float32)
    logits = as_logits(probabilities)
    assert np.isfinite(logits).all() and logits.dtype == np.float32
    np.testing.assert_allclose(sigmoid(logits), probabilities, atol=2e-6)
    assert logits[0, 2] == 0
