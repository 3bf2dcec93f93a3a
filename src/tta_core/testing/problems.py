"""Small problems with known solutions, and rewards for them."""

from collections.abc import Sequence
from functools import cache
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Method, Snapshot
from tta_core.protocols.reward import Card, Reward
from tta_core.protocols.scheduler import Scheduler
from tta_core.running.prepare import prepare
from tta_core.solving.problem import Problem
from tta_core.testing.mixture import GaussianMixture
from tta_core.testing.tables import vp_scheduler
from tta_core.values.noise import keyed_normal
from tta_core.values.typing import Images, Scores, frozen

PROMPTS = ("a red circle", "a blue square")


@frozen
class Likeness:
    """Minus the squared distance of each image's mean colour to a colour that is a function of its prompt: at most 0, smooth everywhere."""

    card: ClassVar[Card] = Card(unit="colour", range=(-1.0, 0.0), differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Minus the squared distance of colours, one per image."""
        colours = torch.stack([_colour(prompt) for prompt in prompts]).to(images)
        return -(images.mean((2, 3)) - colours).square().sum(1)


@cache
def _colour(prompt: str) -> Float[Tensor, "3"]:
    """Near grey, a function of the text."""
    return 0.5 + 0.2 * keyed_normal(("colour", prompt), (3,))


@frozen
class Indifferent:
    """The same score for every image, differentiably."""

    value: float = 0.25
    card: ClassVar[Card] = Card(differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """The value, once per image."""
        return self.value + 0 * images.mean((1, 2, 3))


@frozen
class Opaque:
    """`Likeness` without a gradient."""

    card: ClassVar[Card] = Card(differentiable=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        with torch.no_grad():
            return Likeness()(images, prompts)


@frozen
class Undefined:
    """NaN for every image."""

    card: ClassVar[Card] = Card(differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """NaNs."""
        return float("nan") * images.mean((1, 2, 3))


@frozen
class Kinked:
    """A finite score whose gradient is infinite: the square root at 0."""

    card: ClassVar[Card] = Card(differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """0.5 for each image."""
        return 0.5 + (images.mean((1, 2, 3)) * 0).sqrt()


def problem_for(
    method: Method,
    *,
    backbone: Backbone | None = None,
    reward: Reward | None = None,
    scheduler: Scheduler | None = None,
    prompts: Sequence[str] = PROMPTS,
    seed: int | Sequence[int] = 0,
    guidance: float | None = None,
    steps: int = 5,
) -> Problem:
    """The problem that `align` would give to this method; by default on the Gaussian mixture with the reward `Likeness`."""
    with prepare(
        prompts,
        backbone=backbone or GaussianMixture(),
        method=method,
        reward=reward or Likeness(),
        scheduler=scheduler or vp_scheduler(steps, method.needs.eta),
        seed=seed,
        guidance=guidance,
    ) as prepared:
        return prepared.problem


def solved(method: Method, problem: Problem) -> Snapshot:
    """The last snapshot of the method on the problem."""
    *_, last = method.align(problem)
    return last


def plain(problem: Problem) -> Snapshot:
    """Plain sampling from the same noise."""
    with torch.no_grad():
        return problem.result(1, problem.controls, problem.sample(problem.controls))
