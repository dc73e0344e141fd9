"""Whitening of channel groups by the Cholesky factor of their covariance, with its own gradient.

Roy et al., "Unsupervised Domain Adaptation using Feature-Whitening and Consensus Loss", CVPR 2019
(arXiv 1903.03215), domain-specific whitening transform. Per group of g channels, over n = B * M
samples:

    S  = (x - mean)(x - mean)^T / n          the biased covariance
    S~ = (1 - eps) S + eps I                 shrunk, so that it can always be factored
    W  = inverse(cholesky(S~))               lower triangular, W^T W = inverse(S~)
    y  = weight * W (x - mean) + bias

One departure: the running covariance starts as the identity (theirs starts as all ones, which is
of rank one). Autograd through these lines keeps every intermediate and costs several times as
much as the closed form below, which keeps its input alone, as batch normalisation does.

Shapes: B batch, C channels, G groups, g channels per group, M pixels, n = B * M.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_HALF = (torch.float16, torch.bfloat16)
_CHUNK = 1 << 17  # values centred at a time: half a megabyte of float32
_FEW_PIXELS = 64  # below this, one product over all images beats one per image


def whitening_matrix(cov_Ggg: Tensor, eps: float) -> Tensor:
    """The inverse Cholesky factor of each shrunk covariance.

    Args:
        cov_Ggg: covariances, (G, g, g), not shrunk.
        eps: share of the identity in the shrunk covariance, 0 to 1.

    Returns:
        (G, g, g), lower triangular. A group that cannot be factored (not finite, or singular
        beyond what ``eps`` repairs) is all NaN: the caller sees a NaN result, not a crash.
    """
    identity = torch.eye(cov_Ggg.shape[-1], dtype=cov_Ggg.dtype, device=cov_Ggg.device)
    factor, failed = torch.linalg.cholesky_ex((1 - eps) * cov_Ggg + eps * identity)
    inverse: Tensor = torch.linalg.solve_triangular(
        factor, identity.expand_as(factor), upper=False
    )
    return inverse.masked_fill((failed != 0)[:, None, None], torch.nan)


def _flat(x_BGgM: Tensor) -> Tensor:
    """One matrix per image and group, (B * G, g, M)."""
    return x_BGgM.reshape(x_BGgM.shape[0] * x_BGgM.shape[1], *x_BGgM.shape[2:])


def _multiply(matrix_Ggg: Tensor, x_BGgM: Tensor) -> Tensor:
    """``matrix x`` within each group of every image, (B, G, g, M), as one batched product."""
    matrices = matrix_Ggg.expand(x_BGgM.shape[0], *matrix_Ggg.shape)
    return torch.bmm(_flat(matrices), _flat(x_BGgM)).view(x_BGgM.shape)


def _add_product(total_BGgM: Tensor, matrix_Ggg: Tensor, x_BGgM: Tensor) -> None:
    """Add ``matrix x`` in place, without a second tensor of this size."""
    matrices = matrix_Ggg.expand(x_BGgM.shape[0], *matrix_Ggg.shape)
    flat = _flat(x_BGgM)
    total_BGgM.view(flat.shape).baddbmm_(_flat(matrices), flat)


def _outer(left_BGgM: Tensor, right_BGgM: Tensor) -> Tensor:
    """Sum over images and pixels of ``left right^T`` within each group, (G, g, g)."""
    products = torch.bmm(_flat(left_BGgM), _flat(right_BGgM).mT)
    return products.view(-1, *left_BGgM.shape[1:3], left_BGgM.shape[2]).sum(0)


def _covariance(x_BGgM: Tensor, mean_Gg: Tensor) -> Tensor:
    """The biased covariance of each group, (G, g, g), centred before it is multiplied.

    A few images at a time: a centred copy of the whole batch would not fit any cache.
    """
    images = max(1, _CHUNK * x_BGgM.shape[0] // x_BGgM.numel())
    total = mean_Gg.new_zeros((*mean_Gg.shape, mean_Gg.shape[1]))
    for chunk in torch.split(x_BGgM, images):
        centred = chunk - mean_Gg.unsqueeze(-1)
        total += _outer(centred, centred)
    return total / (x_BGgM.shape[0] * x_BGgM.shape[3])


class _Whiten(torch.autograd.Function):
    """Batch whitening and its scale and shift, with an analytic backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BGgM: Tensor,
        weight_Gg: Tensor,
        bias_Gg: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and the batch's mean (G, g) and covariance (G, g, g)."""
        mean = x_BGgM.mean((0, 3))
        cov = _covariance(x_BGgM, mean)
        whiten = whitening_matrix(cov, eps)
        scaled = weight_Gg.unsqueeze(-1) * whiten
        ctx.save_for_backward(x_BGgM, mean, whiten, weight_Gg)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, cov)
        shift = bias_Gg.unsqueeze(-1) - scaled @ mean.unsqueeze(-1)
        return _multiply(scaled, x_BGgM).add_(shift), mean, cov

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any,
        grad_BGgM: Tensor,
        *_: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of the input, the scale and the shift."""
        x, mean, whiten, weight = ctx.saved_tensors
        samples = x.shape[0] * x.shape[3]
        mean = mean.unsqueeze(-1)
        with torch.autocast(x.device.type, enabled=False):
            grad_bias = grad_BGgM.sum((0, 3))
            grad_scaled = _outer(grad_BGgM, x) - grad_bias.unsqueeze(-1) * mean.mT
            grad_weight = (grad_scaled * whiten).sum(-1)
            # W = inverse(L) gives dL = -W^T dW W^T; Cholesky's rule is
            # dS~ = sym(W^T half(L^T dL) W), where half() keeps the lower triangle with half the
            # diagonal; L^T W^T = I shortens L^T dL to -dW W^T.
            lower = -(weight.unsqueeze(-1) * grad_scaled) @ whiten.mT
            lower = lower.tril() - 0.5 * torch.diag_embed(lower.diagonal(dim1=-2, dim2=-1))
            grad_cov = whiten.mT @ lower @ whiten
            through_cov = (1 - ctx.eps) / samples * (grad_cov + grad_cov.mT)
            direct = (weight.unsqueeze(-1) * whiten).mT
            # The path through the mean takes the mean of everything else away.
            through_mean = direct @ grad_bias.unsqueeze(-1) / samples + through_cov @ mean
            grad_x = _multiply(direct, grad_BGgM)
            _add_product(grad_x, through_cov, x)
            grad_x -= through_mean
        return grad_x, grad_weight, grad_bias, None


class GroupWhitening(nn.Module):
    """Whiten groups of neighbouring channels; stands where a batch normalisation would.

    Training uses the batch's statistics and blends them into the running ones; evaluation uses
    the running ones. ``running_cov`` holds the covariance before shrinkage. Half-precision inputs
    are computed in float32 and returned in their own dtype, also under autocast. A batch that is
    not finite gives NaN outputs and NaN running statistics.

    Attributes:
        running_mean: (C,).
        running_cov: (G, g, g), starting as the identity.
        num_batches_tracked: int64 scalar.
        weight: scale per channel (C,), or None.
        bias: shift per channel (C,), or None.
    """

    running_mean: Tensor
    running_cov: Tensor
    num_batches_tracked: Tensor
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        group_size: int = 4,
        eps: float = 1e-3,
        momentum: float = 0.1,
        affine: bool = True,
    ) -> None:
        """Make the layer.

        Args:
            channels: channels of the input, C.
            group_size: channels whitened together; with fewer channels, all of them.
            eps: share of the identity in the shrunk covariance.
            momentum: weight of a batch in the running statistics.
            affine: learn a scale and a shift per channel.

        Raises:
            ValueError: if the group size does not divide the channels.
        """
        super().__init__()
        self.channels = channels
        self.group_size = min(channels, group_size)
        if self.group_size < 1 or channels % self.group_size:
            raise ValueError(
                f"{channels} channels cannot be whitened in groups of {group_size}: choose a "
                "whitening.group_size that divides the channels"
            )
        self.groups = channels // self.group_size
        self.eps = eps
        self.momentum = momentum
        if affine:
            self.weight = nn.Parameter(torch.empty(channels))
            self.bias = nn.Parameter(torch.empty(channels))
        else:
            self.register_parameter("weight", None)
            self.register_parameter("bias", None)
        self.register_buffer("running_mean", torch.empty(channels))
        self.register_buffer(
            "running_cov", torch.empty(self.groups, self.group_size, self.group_size)
        )
        self.register_buffer("num_batches_tracked", torch.empty((), dtype=torch.int64))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set scale 1, shift 0, mean 0, covariance identity, no batch seen."""
        with torch.no_grad():
            if self.weight is not None and self.bias is not None:
                self.weight.fill_(1)
                self.bias.zero_()
            self.running_mean.zero_()
            self.running_cov.copy_(torch.eye(self.group_size).expand_as(self.running_cov))
            self.num_batches_tracked.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Whiten a batch.

        Args:
            x: (B, C), or (B, C, H, W) or any other trailing dimensions; floating point.

        Returns:
            The same shape and dtype.

        Raises:
            ValueError: if the channels are not the layer's, or a training batch holds fewer than
                two samples per channel.
        """
        if x.dim() < 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"whitening of {self.channels} channels got an input of shape {tuple(x.shape)}"
            )
        dtype = torch.float32 if x.dtype in _HALF else x.dtype
        shape = (self.groups, self.group_size)
        with torch.autocast(x.device.type, enabled=False):
            pixels = x.shape[2:].numel()
            joined = pixels < _FEW_PIXELS
            x_BGgM = x.to(dtype).reshape(x.shape[0], *shape, pixels)
            if joined:
                x_BGgM = x_BGgM.permute(1, 2, 0, 3).reshape(1, *shape, x.shape[0] * pixels)
            if self.weight is None or self.bias is None:
                weight = torch.ones(shape, dtype=dtype, device=x.device)
                bias = torch.zeros(shape, dtype=dtype, device=x.device)
            else:
                weight = self.weight.to(dtype).view(shape)
                bias = self.bias.to(dtype).view(shape)
            y: Tensor
            if self.training:
                if x_BGgM.shape[0] * x_BGgM.shape[3] < 2:
                    raise ValueError(
                        "whitening needs at least two samples per channel in training, got an "
                        f"input of shape {tuple(x.shape)}"
                    )
                y, mean, cov = _Whiten.apply(  # type: ignore[no-untyped-call]
                    x_BGgM, weight, bias, self.eps
                )
                self._track(mean.view(-1), cov)
            else:
                whiten = whitening_matrix(self.running_cov.to(dtype), self.eps)
                scaled = weight.unsqueeze(-1) * whiten
                mean = self.running_mean.to(dtype).view(*shape, 1)
                y = _multiply(scaled, x_BGgM) + (bias.unsqueeze(-1) - scaled @ mean)
            if joined:
                y = y.view(*shape, x.shape[0], pixels).permute(2, 0, 1, 3)
            return y.reshape(x.shape).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean_C: Tensor, cov_Ggg: Tensor) -> None:
        """Blend a batch's statistics into the running ones."""
        self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
        self.running_cov.lerp_(cov_Ggg.to(self.running_cov.dtype), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """The settings, for ``print(model)``."""
        return (
            f"{self.channels}, group_size={self.group_size}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.weight is not None}"
        )
