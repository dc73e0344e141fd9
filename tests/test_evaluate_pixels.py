"""Tests of pixel metrics: by hand, against scikit-learn, and the guess."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score

from raymmfl.archive.store import Archive
from raymmfl.evaluate_pixels import class_pixels, guess, score

LABELS = ("water", "trees", "crops")


def test_metrics_by_hand() -> None:
    # truth: 6 water (4 right, 2 taken for trees), 4 trees (3 right, 1 taken for crops), no crops
    confusion = np.array([[4, 2, 0], [0, 3, 1], [0, 0, 0]])
    found = score(confusion, 5.0, LABELS)
    assert found == {
        "miou": pytest.approx((4 / 6 + 3 / 6) / 2),
        "f1_micro": 0.7,
        "f1_macro": pytest.approx((8 / 10 + 6 / 9) / 2),
        "loss": 0.5,
        "f1/water": 0.8,
        "f1/trees": pytest.approx(6 / 9),
        "iou/water": pytest.approx(4 / 6),
        "iou/trees": 0.5,
    }


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), pixels=st.integers(1, 60), classes=st.integers(2, 5))
def test_metrics_are_those_of_scikit_learn(seed: int, pixels: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    truth, claimed = random.integers(0, classes, (2, pixels))
    labels = [f"c{k}" for k in range(classes)]
    found = score(confusion_matrix(truth, claimed, labels=range(classes)), 0.0, labels)
    present = sorted(set(truth))
    options = {"labels": present, "average": None, "zero_division": 0}
    f1 = f1_score(truth, claimed, **options)
    iou = jaccard_score(truth, claimed, **options)
    assert found["f1_micro"] == pytest.approx(accuracy_score(truth, claimed))
    assert found["f1_macro"] == pytest.approx(f1.mean())
    assert found["miou"] == pytest.approx(iou.mean())
    for k, one, other in zip(present, f1, iou, strict=True):
        assert found[f"f1/c{k}"] == pytest.approx(one)
        assert found[f"iou/c{k}"] == pytest.approx(other)
    assert len(found) == 4 + 2 * len(present)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="no labelled pixel"):
        score(np.zeros((3, 3), np.int64), 0.0, LABELS)
    with pytest.raises(ValueError, match="for 3 labels"):
        score(np.ones((2, 2), np.int64), 0.0, LABELS)


def test_the_guess_by_hand() -> None:
    train = np.array([[3, 1, 0], [5, 0, 0], [0, 1, 9]])
    truth = np.array([[2, 2, 0], [1, 0, 4], [0, 7, 0]])
    # north: water, 8 of 9; south: crops, 9 of 10; west was never seen: crops, 9 of 19
    confusion, loss = guess(train, ["north", "north", "south"], truth, ["north", "south", "west"])
    assert confusion.tolist() == [[2, 0, 1], [2, 0, 7], [0, 0, 4]]
    north = -2 * math.log(8 / 9) - 2 * math.log(1 / 9)
    south = -1 * math.log(1e-6) - 4 * math.log(9 / 10)
    assert loss == pytest.approx(north + south - 7 * math.log(2 / 19))
    with pytest.raises(ValueError, match="training pixels"):
        guess(np.zeros((1, 3), np.int64), ["north"], truth, ["north", "south", "west"])


def test_pixels_of_a_class_are_counted_once_per_scene(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = archive.rows("val")
    masks = archive.read_mask(rows)
    expected = [[int((mask == k).sum()) for k in range(len(archive.labels))] for mask in masks]
    assert class_pixels(archive, rows).tolist() == expected
    monkeypatch.setattr(Archive, "read_mask", lambda *_: pytest.fail("read again"))
    assert class_pixels(archive, rows[::-1]).tolist() == expected[::-1]
