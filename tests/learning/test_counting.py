"""Tests of counting right and wrong pixels."""

import math

import numpy as np
import torch
from sklearn.metrics import confusion_matrix

from raymmfl.learning.counting import count


def test_counts_by_hand() -> None:
    logits = torch.tensor([[[[5.0, 0.0, 0.0]], [[0.0, 5.0, 5.0]]]])  # predicts 0, 1, 1
    mask = torch.tensor([[[0, 0, 255]]])
    confusion, loss = count(logits, mask)
    assert confusion.tolist() == [[1, 1], [0, 0]]
    assert confusion.dtype == np.int64
    right = math.log1p(math.exp(-5))
    assert math.isclose(loss, right + right + 5, rel_tol=1e-6)


def test_counts_are_those_of_scikit_learn() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 8, 8, generator=random)
    mask = torch.randint(0, 4, (3, 8, 8), generator=random)
    mask[torch.rand(3, 8, 8, generator=random) < 0.3] = 255
    known = mask != 255
    expected = confusion_matrix(mask[known], logits.argmax(1)[known], labels=range(4))
    confusion, loss = count(logits, mask)
    np.testing.assert_array_equal(confusion, expected)
    flat = logits.permute(0, 2, 3, 1)[known].double()
    total = torch.nn.functional.cross_entropy(flat, mask[known], reduction="sum")
    assert math.isclose(loss, float(total), rel_tol=1e-6)


def test_nothing_labelled_counts_nothing() -> None:
    confusion, loss = count(torch.randn(1, 3, 2, 2), torch.full((1, 2, 2), 255))
    assert not confusion.any()
    assert loss == 0


def test_scores_that_are_not_finite_are_told() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 1] = torch.inf  # even where no label is
    _, loss = count(logits, torch.tensor([[[0, 255]]]))
    assert math.isnan(loss)
