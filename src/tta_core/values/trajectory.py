"""Where a trajectory stands: a step of the table, the state before it, and what is predicted there."""

from torch import Tensor

from tta_core.values.transition import GaussianTransition, as_batch
from tta_core.values.typing import Latents, evolve, frozen


@frozen
class Step:
    """One reverse step, a row of the sampler's table; `index` is 0..T-1 in sampling order, `time` what the network is told.

    `input_scale` multiplies x before the network (1 / sqrt(1 + sigma^2) for VE samplers). `alpha` is alpha_t of one *training* step
    (1 - beta_t), None where training had no betas (flow matching). `order` 2 asks for the previous x0 (2M), if there is one.
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


@frozen
class History:
    """The previous clean estimate and where it was made: all that a two-step solver remembers."""

    x0: Latents
    a: float
    s: float


@frozen
class State:
    """Where a trajectory stands before a step: x_t, and the solver's history, which travels with its particle."""

    x: Latents
    history: History | None = None

    def __getitem__(self, rows: Tensor) -> "State":
        """The rows given by an index: ancestors take their solver's history along."""
        history = self.history and evolve(self.history, x0=self.history.x0[rows])
        return State(self.x[rows], history)

    def repeated(self, rows: int) -> "State":
        """Copies up to `rows` rows, k-major; the same state when it has them already."""
        if self.x.shape[0] == rows:
            return self
        history = self.history and evolve(self.history, x0=as_batch(self.history.x0, rows))
        return State(as_batch(self.x, rows), history)


@frozen
class Prediction:
    """What is believed at x_t: the clean latents `x0` (Tweedie's estimate), the noise `eps`, and the transition to the next step."""

    x0: Latents
    eps: Latents
    transition: GaussianTransition
    history: History

    def sample(self, noise: Latents) -> State:
        """The next state, drawn with this noise."""
        return State(self.transition.sample(noise), self.history)

    def branch(self, noises: Tensor) -> State:
        """k children of each sample, rows `(k b)`, from noises `(k, b, c, h, w)`."""
        children = self.transition.branch(noises)
        return State(children, evolve(self.history, x0=as_batch(self.history.x0, children.shape[0])))
