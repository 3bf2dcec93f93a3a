"""L-BFGS with a line search, for methods whose objective is cheap enough for several evaluations per update."""

from collections.abc import Callable

import attrs
import torch
from torch.optim import Optimizer

from tta_core.solving.steering import Tensors
from tta_core.values.arguments import above, at_least
from tta_core.values.typing import Scores, frozen


@frozen
class LBFGS:
    """L-BFGS with a strong Wolfe line search, ascending. It compares the objectives of one sample, so samples are optimised one by one.

    Attributes:
        updates: most updates per iteration; the line search of each evaluates the objective one or several times.
        history: the number of earlier gradients from which the curvature is estimated.
        lr: length of the first step that a line search tries.

    Source: Liu and Nocedal (1989), algorithm 2.1; torch's implementation.
    """

    updates: int = attrs.field(default=10, validator=at_least(1))
    history: int = attrs.field(default=3, validator=at_least(1))
    lr: float = attrs.field(default=1.0, validator=above(0))

    def optimizer(self, parameters: Tensors, evaluate: Callable[[], tuple[Scores, Tensors]]) -> Optimizer:
        """The optimiser over these leaves; `evaluate` returns the objective and its gradient at their current values."""
        return _AscendingLBFGS(self, parameters, evaluate)


class _AscendingLBFGS(torch.optim.LBFGS):
    """torch's L-BFGS that maximises, and whose `step` needs no closure."""

    def __init__(self, rule: LBFGS, parameters: Tensors, evaluate: Callable[[], tuple[Scores, Tensors]]) -> None:
        super().__init__(parameters, rule.lr, max_iter=rule.updates, history_size=rule.history, line_search_fn="strong_wolfe")
        self.leaves, self.evaluate = parameters, evaluate

    def step(self, closure: object = None) -> float:  # type: ignore[override]
        """Makes the updates of one iteration."""

        def minus() -> float:
            total, gradient = self.evaluate()
            for leaf, direction in zip(self.leaves, gradient, strict=True):
                leaf.grad = -direction
            return -float(total.sum())

        return float(super().step(minus))
