"""The method protocol: a generator of snapshots of a problem; the last snapshot is the result."""

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeVar, runtime_checkable

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.protocols.variables import ControllableVariable
from tta_core.values.controls import Controls
from tta_core.values.schedules import Schedule
from tta_core.values.typing import Images, Latents, Scores, frozen

ProblemT = TypeVar("ProblemT", contravariant=True)


@frozen
class Snapshot:
    """The state of a method. If the run stops here, `x0` is the result.

    Attributes:
        index, total: the progress, in the method's own units (steps, or iterations).
        controls: the controls of this state.
        x0: clean latents: the look-ahead of a step, or the best iterate; in the last snapshot, the result.
        scores: their reward, if it was evaluated.
        parts: the scores of a mixture's rewards, by name.
        penalties: regularisers by name, with the weights with which they are subtracted from the objective.
        objective: the value that the method increases, if it has one.
        gradient: d objective / d variable, one tensor per steered tensor, if it was computed.
        images: the result in [0, 1], if the method has decoded it with the full decoder.
        readings: other numbers by name, such as effective sample size, evidence, ancestors or accepted moves.
    """

    index: int
    total: int
    controls: Controls = attrs.field(repr=False)
    x0: Latents = attrs.field(repr=False)
    scores: Scores | None = None
    parts: Mapping[str, Scores] = attrs.field(factory=dict)
    penalties: Mapping[str, Scores] = attrs.field(factory=dict)
    objective: Scores | None = None
    gradient: tuple[Tensor, ...] = attrs.field(default=(), repr=False)
    images: Images | None = attrs.field(default=None, repr=False)
    readings: Mapping[str, Tensor] = attrs.field(factory=dict)

    def better(self, other: "Snapshot") -> "Snapshot":
        """For each sample the state with the higher score; this one's if scores are equal. `index` and `total` are the other's. Raises
        `InputError` if one has no scores."""
        if self.scores is None or other.scores is None:
            raise InputError("Two snapshots were compared, but one has no scores. Score both: `problem.look(x0)`.")
        rows = self.scores >= other.scores
        x0 = torch.where(rows.view(-1, 1, 1, 1), self.x0, other.x0)
        images = None
        if self.images is not None and other.images is not None:
            images = torch.where(rows.view(-1, 1, 1, 1), self.images, other.images)
        scores = torch.where(rows, self.scores, other.scores)
        parts = {name: torch.where(rows, part, other.parts[name]) for name, part in self.parts.items()}
        return Snapshot(other.index, other.total, self.controls.where(rows, other.controls), x0, scores, parts, images=images)


@frozen
class Needs:
    """What a method requires of the other parts; a mismatch is refused before the first step.

    Attributes:
        variable: the variable that it steers; None: it steers none.
        gradient: whether it differentiates the reward.
        betas: whether it divides by the noise schedule of the network's training (`Step.alpha`). Flow matching has no such schedule, and
            with a terminal SNR of zero the division is not possible.
        eta: the eta that it was designed for, used if the user gives none; None: the sampler's own.
        stochastic: whether it requires noise at every step except the last, for KL divergences and weights of transitions.
        children: whether it chooses among several children of a step, which requires noise at some step.
        chain: whether it differentiates the whole sampling chain (`Problem.sample`), so that all steps are kept for the backward pass.
        moves_x: whether it continues from another x than the one that the sampler returns. Its controls then do not repeat its run, and it
            cannot run inside a pipeline's own call.
        moves_x0: whether it gives the sampler another clean estimate (`Position.believe`) and continues from the sample of that prediction.
            Its controls do not repeat its run; it can run inside a pipeline's own call.
        image: whether it starts from an image: `align(image=...)`.
        one_trajectory: whether it samples one trajectory of each prompt, once, without going back to earlier steps, as a pipeline's call
            does.
        attention: whether it changes how cross-attention uses the tokens (`Embedding.attention`).
    """

    variable: ControllableVariable | None = None
    gradient: bool = False
    betas: bool = False
    eta: float | Schedule | None = None
    stochastic: bool = False
    children: bool = False
    chain: bool = False
    moves_x: bool = False
    moves_x0: bool = False
    image: bool = False
    one_trajectory: bool = True
    attention: bool = False


@runtime_checkable
class Method(Protocol[ProblemT]):
    """A method: a frozen value whose defaults are those of its paper. Its `repr` goes into a run's record. `ProblemT` is
    `tta_core.Problem`."""

    @property
    def needs(self) -> Needs:
        """The requirements of the method on backbone, reward and sampler."""
        ...

    def align(self, problem: ProblemT) -> Iterator[Snapshot]:
        """Run and yield snapshots; the last one is the result. Call `problem.check(self.needs)` first."""
        ...
