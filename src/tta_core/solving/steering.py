"""Operations that methods share: leaves, norms and clipping per sample, selection, and update rules."""

from typing import Protocol, runtime_checkable

import attrs
import torch
from attrs.validators import deep_iterable
from einops import rearrange
from torch import Tensor
from torch.optim import Optimizer

from tta_core.errors import InputError
from tta_core.values.arguments import above, at_least, share, within
from tta_core.values.typing import Rows, Scores, frozen

Tensors = tuple[Tensor, ...]


def leaves(value: Tensors) -> Tensors:
    """New float32 leaves with these values, which require gradients; the originals are not changed."""
    return tuple(tensor.detach().float().clone().requires_grad_() for tensor in value)


def detached(value: Tensors) -> Tensors:
    """Copies without a graph; later in-place updates of the originals do not change them."""
    return tuple(tensor.detach().clone() for tensor in value)


def norm_square(value: Tensors) -> Scores:
    """The squared Euclidean norm per sample, over all tensors together."""
    return torch.stack([tensor.flatten(1).square().sum(1) for tensor in value]).sum(0)


def norm(value: Tensors) -> Scores:
    """The Euclidean norm per sample, over all tensors together; its gradient at 0 is not finite."""
    return norm_square(value).sqrt()


def scaled(value: Tensors, factor: Scores) -> Tensors:
    """Each sample times its own factor; `factor` is `(b,)`."""
    return tuple(tensor * factor.view(-1, *[1] * (tensor.dim() - 1)) for tensor in value)


def unit(value: Tensors) -> Tensors:
    """Each sample divided by its norm; zero stays zero."""
    length = norm(value)
    return scaled(value, torch.where(length > 0, 1 / length.clamp_min(torch.finfo(length.dtype).tiny), torch.zeros_like(length)))


def clipped(value: Tensors, longest: float) -> Tensors:
    """Each sample scaled down to a norm of at most `longest`, as torch's `clip_grad_norm_` does, with its 1e-6, but per sample."""
    return scaled(value, (longest / (norm(value) + 1e-6)).clamp_max(1.0))


def added(value: Tensors, step: Tensors) -> Tensors:
    """Sum, tensor by tensor."""
    return tuple(tensor + change for tensor, change in zip(value, step, strict=True))


def difference(value: Tensors, origin: Tensors) -> Tensors:
    """value - origin, tensor by tensor."""
    return tuple(tensor - other for tensor, other in zip(value, origin, strict=True))


def mean_square(value: Tensors) -> Scores:
    """The mean of squares per sample, over all tensors together."""
    return norm_square(value) / sum(tensor[0].numel() for tensor in value)


def best(scores: Tensor, samples: int) -> Rows:
    """For scores of `(k b)` rows, the row of each sample's best copy; the first one if several are equal."""
    winners = rearrange(scores, "(k b) -> k b", b=samples).argmax(0)
    return winners * samples + torch.arange(samples, device=scores.device)


def ascend(optimizer: Optimizer, parameters: Tensors, gradient: Tensors) -> None:
    """One step of a maximising optimiser along this gradient."""
    for parameter, direction in zip(parameters, gradient, strict=True):
        parameter.grad = direction
    optimizer.step()


@runtime_checkable
class UpdateRule(Protocol):
    """Makes a *maximising* torch optimiser over leaves. It must work elementwise, so that samples do not mix."""

    def __call__(self, parameters: Tensors, /) -> Optimizer:
        """The optimiser over these leaves."""
        ...


@frozen
class Adam:
    """Adam (arXiv 1412.6980), ascending. `lr` is in the variable's units: the first step has this size, for any size of the gradient."""

    lr: float = attrs.field(default=1e-2, validator=within(0, 1e6))
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.999), validator=deep_iterable(share))
    eps: float = attrs.field(default=1e-8, validator=above(0))

    def __call__(self, parameters: Tensors, /) -> Optimizer:
        """The optimiser over these leaves."""
        return torch.optim.Adam(parameters, lr=self.lr, betas=self.betas, eps=self.eps, maximize=True)


@frozen
class AdamW:
    """AdamW (arXiv 1711.05101), ascending; `weight_decay` shrinks the variable itself and is off by default."""

    lr: float = attrs.field(default=1e-2, validator=within(0, 1e6))
    weight_decay: float = attrs.field(default=0.0, validator=at_least(0))
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.999), validator=deep_iterable(share))
    eps: float = attrs.field(default=1e-8, validator=above(0))

    def __call__(self, parameters: Tensors, /) -> Optimizer:
        """The optimiser over these leaves."""
        return torch.optim.AdamW(parameters, lr=self.lr, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay, maximize=True)


@frozen
class SGD:
    """Plain gradient ascent; `momentum` is off by default, and `nesterov` looks ahead along it."""

    lr: float = attrs.field(default=1.0, validator=within(0, 1e9))
    momentum: float = attrs.field(default=0.0, validator=share)
    nesterov: bool = False

    def __attrs_post_init__(self) -> None:
        if self.nesterov and self.momentum == 0:
            raise InputError("SGD.nesterov is True, but SGD.momentum is 0, and Nesterov's step needs momentum. Give a momentum above 0.")

    def __call__(self, parameters: Tensors, /) -> Optimizer:
        """The optimiser over these leaves."""
        return torch.optim.SGD(parameters, lr=self.lr, momentum=self.momentum, nesterov=self.nesterov, maximize=True)
