"""The scheduler protocol: a table of steps, and the Gaussian transition of each step.

At a step, x = a x0 + s eps; the next step has (a', s'). DDIM(eta), DDPM, Euler and its ancestral form, flow Euler and its SDE, DPM-Solver++
1 and 2M and their SDE forms differ only in the table, in eta and in the order.
"""

import math
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import attrs

from tta_core.errors import IncompatibleError, InputError
from tta_core.values.schedules import Schedule, at_step
from tta_core.values.trajectory import History, Prediction, State, Step
from tta_core.values.transition import GaussianTransition, log_snr_half, posterior_std
from tta_core.values.typing import Latents, frozen

Output = Literal["epsilon", "v_prediction", "flow", "sample"]


@runtime_checkable
class Scheduler(Protocol):
    """Turns a raw network output into a prediction. It is pure: it can be called any number of times, at any step, in any order."""

    @property
    def steps(self) -> Sequence[Step]:
        """The sampler's table, in sampling order."""
        ...

    @property
    def initial_std(self) -> float:
        """The standard deviation of x_T."""
        ...

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The prediction at a state from the guided output there."""
        ...

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The prediction at a state for another clean estimate `x0`; eps is (x - a x0) / s."""
        ...


@frozen
class GaussianScheduler:
    """A scheduler made of a table of steps and one Gaussian transition kernel.

    Attributes:
        steps: the table, in sampling order.
        output: the quantity that the network predicts.
        eta: share of the posterior's standard deviation at each step; 0 is deterministic, 1 is ancestral. A schedule gives each step its
            own.
        initial_std: standard deviation of x_T.
        renoise: discard x and add new noise to x0 at each step (LCM, and `stochastic_sampling` of diffusers' flow-matching Euler); eta
            then has no effect. It also has none at steps whose `std` is fixed.

    Raises:
        IncompatibleError: a step starts from clean latents, or from noise alone although the network predicts the noise.
        InputError: eta is outside [0, 1].

    Source: DDIM (arXiv 2010.02502) eq. 12 and 16; DPM-Solver++ (arXiv 2211.01095) algorithm 2 for the second order.
    """

    steps: tuple[Step, ...] = attrs.field(repr=lambda steps: f"<{len(steps)} steps>")
    output: Output
    eta: float | Schedule = 0.0
    initial_std: float = 1.0
    renoise: bool = False

    def __attrs_post_init__(self) -> None:
        for step in self.steps:
            if step.s <= 0:
                raise IncompatibleError(
                    f"Cannot use a table whose step {step.index} starts at s = {step.s:g}. This is because x is clean there, so "
                    "there is no noise to remove. Leave that step out."
                )
            if step.a <= 0 and self.output == "epsilon":
                raise IncompatibleError(
                    f"Cannot use output 'epsilon' with a table whose step {step.index} starts at a = {step.a:g}. This is because x is "
                    "noise alone there, so x0 cannot be computed from the noise. Use a network that predicts 'flow', 'v_prediction' or "
                    "'sample', or a table that starts at less noise."
                )
            if not 0 <= self._eta(step) <= 1:
                raise InputError(
                    f"eta is {self._eta(step):g} at step {step.index}, but it is the share of the posterior's noise that a step adds. "
                    "Give numbers in [0, 1]."
                )

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """x0 and eps from the output, and N((k/s) x + (a' - a k/s) D, std^2) with k = sqrt(s'^2 - std^2)."""
        x0, eps = self._clean_and_noise(state.x, output, step)
        if step.skip:
            x0 = math.sqrt(1 - step.skip) * x0 + step.skip * state.x
        return self._prediction(state, x0, eps, step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The same for another clean estimate: eps = (x - a x0) / s; the order of the step is kept."""
        return self._prediction(state, x0, (state.x - step.a * x0) / step.s, step)

    def _prediction(self, state: State, x0: Latents, eps: Latents, step: Step) -> Prediction:
        std = self.std(step)
        k = math.sqrt(max(0.0, step.s_next**2 - std**2))
        direction = self._second_order(x0, state.history, step)
        mean = (k / step.s) * state.x + (step.a_next - step.a * k / step.s) * direction
        return Prediction(x0, eps, GaussianTransition(mean, std), History(x0, step.a, step.s))

    def std(self, step: Step) -> float:
        """The standard deviation of the transition from a step, which depends on the table and eta alone."""
        if self.renoise:
            return step.s_next
        return self._eta(step) * posterior_std(step.a, step.s, step.a_next, step.s_next) if step.std is None else step.std

    def _eta(self, step: Step) -> float:
        return at_step(self.eta, step.index, len(self.steps))

    def _clean_and_noise(self, x: Latents, output: Latents, step: Step) -> tuple[Latents, Latents]:
        a, s = step.a, step.s
        square = a * a + s * s
        if self.output == "epsilon":
            return (x - s * output) / a, output
        if self.output == "v_prediction":
            scale = math.sqrt(square)
            return (a / square) * x - (s / scale) * output, (s / square) * x + (a / scale) * output
        if self.output == "flow":
            return x - s * output, x + a * output
        return output, (x - a * output) / s

    def _second_order(self, x0: Latents, history: History | None, step: Step) -> Latents:
        if step.order == 1 or history is None or step.s_next == 0:
            return x0
        here, before = log_snr_half(step.a, step.s), log_snr_half(history.a, history.s)
        if math.isinf(before):
            return x0
        ratio = (log_snr_half(step.a_next, step.s_next) - here) / (here - before)
        return x0 + 0.5 * ratio * (x0 - history.x0)
