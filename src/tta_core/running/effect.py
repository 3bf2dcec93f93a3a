"""Reports when a method's updates changed nothing, so that a user need not notice a gain of zero."""

import torch

from tta_core.protocols.method import Method, Needs, Snapshot
from tta_core.protocols.variables import ControllableVariable
from tta_core.solving.problem import Problem
from tta_core.values.controls import Controls
from tta_core.values.provenance import name_of
from tta_core.values.schedules import Schedule


class Effect:
    """Observes the steered variable from snapshot to snapshot."""

    def __init__(self, method: Method, problem: Problem) -> None:
        self._method = name_of(method)
        self._reward = name_of(problem.reward)
        needs: Needs = method.needs
        self._variable: ControllableVariable | None = needs.variable
        self._follows_gradient = needs.gradient
        updates, total = getattr(method, "updates", None), len(problem.steps)
        self._updates_nowhere = isinstance(updates, Schedule) and not any(updates(index, total) for index in range(total))
        self._original: Controls = problem.controls
        self._steps = len(problem.steps)
        self._prompts = problem.prompts
        # both stay on the run's device until the end, so that `see` does not wait for the device
        self._moved: torch.Tensor | None = None  # whether the variable differs from its value at the start
        self._slope: torch.Tensor | None = None  # per sample, whether a gradient was ever not zero

    def see(self, snapshot: Snapshot) -> None:
        """Record whether the variable has changed, and which samples had a gradient that is not zero."""
        if self._variable is None:
            return
        for tensor in snapshot.gradient:
            slope = tensor.detach().flatten(1).ne(0).any(1)
            self._slope = slope if self._slope is None or self._slope.shape != slope.shape else self._slope | slope
        for now, before in zip(self._variable.read(snapshot.controls), self._variable.read(self._original), strict=True):
            differs = now.new_ones((), dtype=torch.bool) if now.shape != before.shape else now.detach().ne(before).any()
            self._moved = differs if self._moved is None else self._moved | differs

    def remark(self) -> str:
        """A remark about a finished run; empty if its updates had an effect, or if it steers no variable."""
        if self._variable is None:
            return ""
        sloping = None if self._slope is None else self._slope.cpu()
        if sloping is not None and not sloping.all():
            flat = [prompt for prompt, slope in zip(self._prompts, sloping, strict=False) if not slope]
            where = "" if len(flat) == len(self._prompts) else f" for {', '.join(map(repr, flat[:3]))}{' ...' if len(flat) > 3 else ''}"
            return (
                f"{self._method} changed nothing{where}: the gradient of {self._reward} was exactly zero in every update. The score does "
                "not depend on these pixels, or only in steps (rounding, a threshold, saturation). Use ZerothOrder(), or best-of-n."
            )
        if self._moved is not None and bool(self._moved):
            return ""
        if self._slope is None:
            if not (self._follows_gradient or self._updates_nowhere):  # a search may accept no change
                return ""
            return (
                f"{self._method} made no update, so the result is plain sampling: its settings select none of the {self._steps} steps, or "
                "no iterations. Give more `steps`, or other `updates`."
            )
        return f"{self._method} changed nothing: its steps have length 0. Give a learning rate, or a rho, above 0."
