"""Tests of the task losses and NT-Xent against loops written from the formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from raymmfl.learning.losses import nt_xent, pixel_loss, task_loss


def naive(z: Tensor, partner: Tensor, temperature: float) -> float:
    """NT-Xent term by term."""
    vectors = [*z.double(), *partner.double()]
    pairs = len(z)

    def similarity(i: int, j: int) -> float:
        a, b = vectors[i], vectors[j]
        return math.exp(float(a @ b / (a.norm() * b.norm())) / temperature)

    def term(i: int, j: int) -> float:
        others = sum(similarity(i, k) for k in range(2 * pairs) if k != i)
        return -math.log(similarity(i, j) / others)

    total = sum(term(i, i + pairs) + term(i + pairs, i) for i in range(pairs))
    return total / (2 * pairs)


def embeddings(seed: int, pairs: int, length: int = 6) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    z, partner = torch.randn(2, pairs, length, generator=random, dtype=torch.float64)
    return z, partner


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), pairs=st.integers(1, 9), temperature=st.floats(0.05, 2))
def test_nt_xent_equals_the_loop_and_is_symmetric(
    seed: int, pairs: int, temperature: float
) -> None:
    z, partner = embeddings(seed, pairs)
    value = nt_xent(z, partner, temperature)
    assert value.item() == pytest.approx(naive(z, partner, temperature), rel=1e-9, abs=1e-12)
    assert value.item() == pytest.approx(nt_xent(partner, z, temperature).item(), rel=1e-12)
    scaled = nt_xent(3 * z, 0.2 * partner, temperature)
    assert value.item() == pytest.approx(scaled.item(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("pairs", [1, 2, 5, 32])
def test_equal_embeddings_give_log_of_the_terms(pairs: int) -> None:
    same = torch.ones(pairs, 8)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(math.log(2 * pairs - 1), abs=1e-5)


def test_separated_pairs_give_almost_nothing() -> None:
    axes = torch.eye(6)
    assert nt_xent(axes, axes, 0.05).item() == pytest.approx(0, abs=1e-6)
    # Partners of the wrong scene cost the whole distance.
    assert nt_xent(axes, axes.roll(1, 0), 0.05).item() == pytest.approx(20, abs=1e-3)


def test_gradcheck() -> None:
    z, partner = embeddings(1, 4)
    assert torch.autograd.gradcheck(
        lambda a, b: nt_xent(a, b, 0.5), (z.requires_grad_(), partner.requires_grad_())
    )


@pytest.mark.parametrize("pairs", [0, 1])
def test_nothing_to_compare_is_zero_with_zero_gradients(pairs: int) -> None:
    z = torch.randn(pairs, 5, requires_grad=True)
    value = nt_xent(z, torch.randn(pairs, 5), 0.5)
    assert value.item() == 0
    value.backward()  # type: ignore[no-untyped-call]
    assert z.grad is not None and not z.grad.any()


def test_half_precision_is_compared_in_float32() -> None:
    z, partner = embeddings(2, 5)
    value = nt_xent(z.half(), partner.half(), 0.1)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(nt_xent(z, partner, 0.1).item(), rel=1e-2)


def test_unequal_lists_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\) and \(2, 4\)"):
        nt_xent(torch.ones(3, 4), torch.ones(2, 4), 0.5)


def test_task_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)]])  # probabilities 1/2 and 3/4
    targets = torch.tensor([[1, 0]], dtype=torch.uint8)
    expected = (math.log(2) + math.log(4)) / 2
    assert task_loss(logits, targets).item() == pytest.approx(expected, rel=1e-6)
    assert task_loss(torch.tensor([[1e4]]), torch.tensor([[0]])).item() == 1e4


def test_pixel_loss_by_hand() -> None:
    logits = torch.zeros(2, 2, 1, 2, requires_grad=True)  # two images of 1 x 2 pixels, two classes
    with torch.no_grad():
        logits[0, :, 0, 0] = torch.tensor([math.log(3), 0.0])  # 3/4 and 1/4
    mask = torch.tensor([[[0, 255]], [[1, 255]]])
    loss = pixel_loss(logits, mask)
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    expected = torch.tensor([[[[-0.125, 0]], [[0.125, 0]]], [[[0.25, 0]], [[-0.25, 0]]]])
    torch.testing.assert_close(logits.grad, expected)  # (softmax - truth) / 2; nothing ignored


def test_pixels_without_a_label_give_nothing() -> None:
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = pixel_loss(logits, torch.full((2, 4, 4), 255))
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad.any()


def test_a_batch_is_averaged_over_its_labelled_pixels_not_its_images() -> None:
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.full((2, 4, 4), 255)
    mask[0] = 1
    mask[1, 0, 0] = 2
    flat = logits.permute(0, 2, 3, 1)[mask != 255]
    expected = torch.nn.functional.cross_entropy(flat, torch.tensor([1] * 16 + [2]))
    torch.testing.assert_close(pixel_loss(logits, mask), expected)
