"""Tests of the whitening layer against its definition, plain autograd and batch normalisation."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from raymmfl.models.whitening import GroupWhitening, whitening_matrix


def correlated(
    seed: int, channels: int, group_size: int, condition: float, shape: tuple[int, int, int]
) -> Tensor:
    """Images whose groups have covariances of mean variance 1 and the given condition number."""
    random = torch.Generator().manual_seed(seed)
    batch, height, width = shape
    groups = channels // group_size
    x = torch.randn(batch * height * width, groups, group_size, generator=random)
    x = x.double()
    for group in range(groups):
        part = x[:, group] - x[:, group].mean(0)
        part = torch.linalg.solve_triangular(
            torch.linalg.cholesky(part.T @ part / len(part)), part.T, upper=False
        ).T
        rotation = torch.linalg.qr(torch.randn(group_size, group_size, generator=random))[0]
        scales = torch.logspace(0, 1, group_size, base=condition, dtype=torch.float64)
        scales /= scales.mean()
        x[:, group] = part @ (rotation.double() * scales.sqrt()).T
    images = x.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
    shifted: Tensor = images + torch.randn(channels, 1, 1, generator=random)
    return shifted.contiguous()


def covariances(x: Tensor, group_size: int) -> Tensor:
    """Biased covariance per group, (G, g, g), the slow way."""
    flat = x.transpose(0, 1).reshape(x.shape[1] // group_size, group_size, -1)
    flat = flat - flat.mean(2, keepdim=True)
    return flat @ flat.mT / flat.shape[2]


def plain(x: Tensor, layer: GroupWhitening) -> Tensor:
    """The training output by the formulas of the paper and ordinary autograd."""
    flat = x.transpose(0, 1).reshape(layer.groups, layer.group_size, -1)
    flat = flat - flat.mean(2, keepdim=True)
    cov = flat @ flat.mT / flat.shape[2]
    identity = torch.eye(layer.group_size, dtype=x.dtype)
    whiten = torch.linalg.inv(torch.linalg.cholesky((1 - layer.eps) * cov + layer.eps * identity))
    y: Tensor = (whiten @ flat).reshape(x.shape[1], x.shape[0], *x.shape[2:]).transpose(0, 1)
    if layer.weight is not None and layer.bias is not None:
        per_channel = (-1, *[1] * (x.dim() - 2))
        y = y * layer.weight.view(per_channel) + layer.bias.view(per_channel)
    return y


def disturbed(layer: GroupWhitening, seed: int = 0) -> GroupWhitening:
    """The same layer with a scale and a shift that are not the identity."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        if layer.weight is not None and layer.bias is not None:
            layer.weight.uniform_(0.5, 1.5, generator=random)
            layer.bias.uniform_(-1, 1, generator=random)
    return layer


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    condition=st.floats(1, 10),
    group_size=st.sampled_from([2, 4, 8]),
    shape=st.sampled_from([(8, 16, 16), (16, 6, 5), (128, 1, 1)]),
)
def test_output_covariance_is_the_identity(
    seed: int, condition: float, group_size: int, shape: tuple[int, int, int]
) -> None:
    x = correlated(seed, 8, group_size, condition, shape).float()
    before = covariances(x, group_size)
    y = GroupWhitening(8, group_size)(x)
    assert before.diagonal(dim1=1, dim2=2).mean() == pytest.approx(1, abs=1e-3)
    assert (covariances(y, group_size) - torch.eye(group_size)).abs().max() < 1e-2
    assert y.mean((0, 2, 3)).abs().max() < 1e-5


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 8), (3, 8, 3, 2), (2, 8, 9, 8)])
def test_gradcheck(affine: bool, shape: tuple[int, ...]) -> None:
    layer = disturbed(GroupWhitening(8, 4, affine=affine).double())
    random = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=random, dtype=torch.float64, requires_grad=True)
    parameters = tuple(layer.parameters())

    def output(x: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(("weight", "bias"), values, strict=False))
        y: Tensor = torch.func.functional_call(layer, named, x)
        return y

    sparse = len(x.flatten()) > 100
    assert torch.autograd.gradcheck(output, (x, *parameters), fast_mode=sparse)


@pytest.mark.parametrize("shape", [(16, 12), (8, 12, 5, 5), (4, 12, 20, 20)])
@pytest.mark.parametrize("group_size", [1, 3, 4, 12])
def test_gradients_equal_plain_autograd(shape: tuple[int, ...], group_size: int) -> None:
    random = torch.Generator().manual_seed(2)
    layer = disturbed(GroupWhitening(12, group_size).double())
    mixing = torch.randn(12, 12, generator=random, dtype=torch.float64)
    x = torch.randn(shape, generator=random, dtype=torch.float64)
    x = torch.einsum("oc,bc...->bo...", mixing, x) + 5
    upstream = torch.randn(shape, generator=random, dtype=torch.float64)
    results = []
    for function in (layer, lambda x: plain(x, layer)):
        leaf = x.clone().requires_grad_()
        layer.zero_grad()
        y = function(leaf)
        y.backward(upstream)
        assert leaf.grad is not None
        gradients = [parameter.grad for parameter in layer.parameters()]
        results.append([y.detach(), leaf.grad, *gradients])
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-8, atol=1e-9)


def test_float32_gradients_stay_near_float64() -> None:
    x = correlated(3, 16, 4, 10, (8, 24, 24))
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = x.clone().to(dtype).requires_grad_()
        disturbed(GroupWhitening(16, 4)).to(dtype)(leaf).backward(upstream.to(dtype))
        assert leaf.grad is not None
        gradients.append(leaf.grad.double())
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5 * gradients[1].abs().max()


@pytest.mark.parametrize("shape", [(32, 6), (4, 6, 10, 10)])
def test_group_size_one_is_batch_norm(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x = 3 * x + 2
    layer = disturbed(GroupWhitening(6, 1, eps=1e-8).double())
    reference = (nn.BatchNorm1d if len(shape) == 2 else nn.BatchNorm2d)(6, eps=1e-8).double()
    reference.load_state_dict(
        {key: value for key, value in layer.state_dict().items() if key != "running_cov"},
        strict=False,
    )
    assert (layer(x) - reference(x)).abs().max() < 1e-5
    torch.testing.assert_close(layer.running_mean, reference.running_mean)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, training: bool) -> None:
    layer = disturbed(GroupWhitening(8, 4)).train(training)
    twin = copy.deepcopy(layer)
    x = correlated(6, 8, 4, 8, (4, 12, 12)).to(dtype)
    leaf, twin_leaf = x.clone().requires_grad_(), x.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(leaf)
    # Training's own gradient keeps float32 even where the backward pass runs inside autocast.
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=training):
        y.float().square().mean().backward()
    reference = twin(twin_leaf)
    assert y.dtype == dtype
    assert torch.equal(y, reference.to(dtype))
    assert layer.running_cov.dtype == torch.float32
    assert torch.equal(layer.running_cov, twin.running_cov)
    reference.to(dtype).float().square().mean().backward()
    assert leaf.grad is not None and twin_leaf.grad is not None
    assert torch.equal(leaf.grad, twin_leaf.grad.to(dtype))


def test_running_statistics_reach_the_population_and_eval_uses_them() -> None:
    x = correlated(7, 8, 4, 6, (32, 8, 8)).float()
    layer = disturbed(GroupWhitening(8, 4, momentum=0.1))
    for _ in range(120):
        trained = layer(x)
    assert layer.num_batches_tracked.item() == 120
    assert layer.num_batches_tracked.dtype == torch.int64
    torch.testing.assert_close(layer.running_mean, x.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    # The stored covariance is the one before shrinkage.
    torch.testing.assert_close(layer.running_cov, covariances(x, 4), rtol=1e-4, atol=1e-4)
    layer.eval()
    state = copy.deepcopy(layer.state_dict())
    torch.testing.assert_close(layer(x), trained, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer(x[:1]), layer(x)[:1])
    assert all(torch.equal(layer.state_dict()[key], value) for key, value in state.items())


def test_one_batch_moves_running_statistics_by_momentum() -> None:
    x = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    layer = GroupWhitening(2, 2, momentum=0.25)
    layer(x)
    # Mean (2, 2); covariance [[1, 2], [2, 4]]; started from zero and the identity.
    assert layer.running_mean.tolist() == [0.5, 0.5]
    assert layer.running_cov.tolist() == [[[1.0, 0.5], [0.5, 1.75]]]


def test_eval_before_training_is_almost_the_identity() -> None:
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(8))
    torch.testing.assert_close(GroupWhitening(4, 2).eval()(x), x)


def test_buffers_and_parameters() -> None:
    state = GroupWhitening(12, 4).state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        "weight": (12,),
        "bias": (12,),
        "running_mean": (12,),
        "running_cov": (3, 4, 4),
        "num_batches_tracked": (),
    }
    assert torch.equal(state["running_cov"], torch.eye(4).expand(3, 4, 4))
    assert "weight" not in GroupWhitening(12, 4, affine=False).state_dict()


def test_a_group_is_at_most_the_channels_and_must_divide_them() -> None:
    assert GroupWhitening(2, 4).group_size == 2
    with pytest.raises(ValueError, match="6 channels cannot be whitened in groups of 4"):
        GroupWhitening(6, 4)


def test_wrong_inputs_are_refused() -> None:
    layer = GroupWhitening(4, 2)
    with pytest.raises(ValueError, match="4 channels got an input of shape"):
        layer(torch.zeros(2, 3, 5, 5))
    with pytest.raises(ValueError, match="at least two samples"):
        layer(torch.zeros(1, 4, 1, 1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_finite_input_gives_nan_not_a_crash(value: float) -> None:
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(9), requires_grad=True)
    poisoned = x.detach().clone()
    poisoned[0, 0, 0, 0] = value
    poisoned.requires_grad_()
    layer = GroupWhitening(4, 2)
    y = layer(poisoned)
    y.sum().backward()
    assert y[:, :2].isnan().all()
    assert y[:, 2:].isfinite().all()
    assert not layer.running_cov.isfinite().all()
    assert poisoned.grad is not None and poisoned.grad[:, :2].isnan().all()


def test_a_singular_covariance_is_repaired_by_eps_or_becomes_nan() -> None:
    rank_one = torch.ones(1, 3, 3)
    whiten = whitening_matrix(rank_one, 1e-3)
    shrunk = 0.999 * rank_one + 1e-3 * torch.eye(3)
    torch.testing.assert_close(whiten @ shrunk @ whiten.mT, torch.eye(3)[None], atol=1e-3, rtol=0)
    assert whitening_matrix(-rank_one, 1e-3).isnan().all()


def test_constant_channels_give_finite_outputs_and_gradients() -> None:
    x = torch.full((4, 4, 5, 5), 3.0, requires_grad=True)
    y = GroupWhitening(4, 4)(x)
    y.square().sum().backward()
    assert y.abs().max() < 1e-4
    assert x.grad is not None and x.grad.isfinite().all()


def test_an_empty_batch_is_scored_as_empty() -> None:
    for shape in ((0, 4), (0, 4, 3, 3), (0, 4, 16, 16)):
        assert GroupWhitening(4, 2).eval()(torch.zeros(shape)).shape == shape


def test_memory_layout_does_not_matter() -> None:
    x = correlated(10, 8, 4, 5, (4, 10, 10)).float()
    layer = GroupWhitening(8, 4)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(channels_last), layer(x), rtol=1e-5, atol=1e-5)
