"""The values of a trajectory: a step of the sampler's table, the state before it, and the prediction at it."""

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.transition import GaussianTransition, as_batch, noised
from tta_core.values.typing import Change, Latents, evolve, frozen


@frozen
class Step:
    """One reverse step, a row of the sampler's table; `index` is 0..T-1 in sampling order, `time` the network's time input.

    At the step x = a x0 + s eps; `a_next` and `s_next` are those of the next step. `input_scale` multiplies x before the network
    (1 / sqrt(1 + sigma^2) for VE samplers). `alpha` is alpha_t of one *training* step (1 - beta_t), None if training had no betas (flow
    matching). `order` 2 uses the previous x0 (2M), if there is one. `std` is the transition's standard deviation if the sampler fixes it
    (TCD), None if it is eta's share of the posterior's. `skip` is the share of x in the clean estimate of a consistency model,
    sqrt(1 - skip) x0 + skip x (LCM's boundary condition).
    """

    index: int
    time: float
    a: float
    s: float
    a_next: float
    s_next: float
    input_scale: float = 1.0
    alpha: float | None = None
    order: int = 1
    std: float | None = None
    skip: float = 0.0

    def back(self, x: Latents, noise: Latents, later: "Step | None" = None) -> Latents:
        """Adds noise to x, given at the end of this step, so that it is at the noise level of the step's start (time travel). With `later`,
        x is given at the start of that step.

        Raises `InputError` for a `later` step that comes before this one.
        """
        if later is not None and later.index < self.index:
            raise InputError(
                f"Step {later.index} comes before step {self.index}, and adding noise only goes to earlier steps. Exchange the two."
            )
        here = (self.a_next, self.s_next) if later is None else (later.a, later.s)
        return noised(x, noise, here, (self.a, self.s))


@frozen
class History:
    """The previous clean estimate and its step: the memory of a two-step solver."""

    x0: Latents
    a: float
    s: float


@frozen
class State:
    """The state of a trajectory before a step: x_t and the solver's history."""

    x: Latents
    history: History | None = None

    def __getitem__(self, rows: Tensor) -> "State":
        """The rows given by an index, with their history."""
        history = self.history and evolve(self.history, x0=self.history.x0[rows])
        return State(self.x[rows], history)

    def repeated(self, rows: int) -> "State":
        """The state repeated to `rows` rows, k-major; the same object if it has that many already."""
        if self.x.shape[0] == rows:
            return self
        history = self.history and evolve(self.history, x0=as_batch(self.history.x0, rows))
        return State(as_batch(self.x, rows), history)


@frozen
class Prediction:
    """The estimates at x_t: the clean latents `x0` (Tweedie's estimate), the noise `eps`, and the transition to the next step.

    `outputs` are the raw outputs of the guidance branches, "text" and "null"; empty if the prediction was not computed from branches.
    """

    x0: Latents
    eps: Latents
    transition: GaussianTransition
    history: History
    outputs: Mapping[str, Latents] = attrs.field(factory=dict, repr=False)

    def __getitem__(self, rows: slice | Tensor) -> "Prediction":
        """The prediction of some rows, with their transition, history and outputs."""
        return self._each(lambda tensor: tensor[rows])

    def detached(self) -> "Prediction":
        """The same prediction without a graph."""
        return self._each(torch.Tensor.detach)

    def _each(self, change: "Change") -> "Prediction":
        transition = GaussianTransition(change(self.transition.mean), self.transition.std)
        history = evolve(self.history, x0=change(self.history.x0))
        outputs = {name: change(output) for name, output in self.outputs.items()}
        return Prediction(change(self.x0), change(self.eps), transition, history, outputs)

    def sample(self, noise: Latents) -> State:
        """The next state, sampled with this noise."""
        return State(self.transition.sample(noise), self.history)

    def branch(self, noises: Tensor) -> State:
        """k children of each sample, rows `(k b)`, from noises `(k, b, c, h, w)`."""
        children = self.transition.branch(noises)
        return State(children, evolve(self.history, x0=as_batch(self.history.x0, children.shape[0])))
