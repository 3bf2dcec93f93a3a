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
        x0: clean latents: the look-ahead of a step, the best iterate, at the end the result itself.
        scores: their reward, if it was evaluated.
        parts: the scores of a mixture's rewards, by name.
        penalties: regularisers by name, as they are subtracted from the objective.
        objective: the value that the method increases, if it has one.
        gradient: d objective / d variable, one tensor per steered tensor, if it was computed.
        images: the result in [0, 1], if the method has decoded it with the full decoder.
        readings: further numbers by name, such as effective sample size, evidence, ancestors, accepted moves.
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
        """The better of two, sample by sample; of equals, this one. Its place is the other's."""
        if self.scores is None or other.scores is None:
            raise InputError("Two snapshots were compared of which one has no scores. Score both: `problem.look(x0)`.")
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
        variable: what it steers, if anything.
        gradient: whether it differentiates the reward.
        betas: whether it reads the noise schedule that the network was trained with (`Step.alpha`), which flow matching has not, and
            divides by it, which a terminal SNR of zero forbids.
        eta: the stochasticity that it requires, used if the user gives none; None: the sampler's own.
        stochastic: whether it requires noise at every step except the last, for KL divergences and weights of transitions.
        children: whether it chooses among several children of a step, which requires noise at some step.
        chain: whether it differentiates the whole sampling chain (`Problem.sample`), whose steps are then all kept for the backward.
        moves_x: whether it goes on from another x than the sampler draws. Its controls then do not repeat its run, and a pipeline's own
            call cannot use it.
        moves_x0: whether it tells the sampler another clean estimate (`Position.believe`) and goes on from what the sampler draws then. Its
            controls do not repeat its run; a pipeline's own call can be given the same.
        image: whether it starts from an image: `align(image=...)`.
        one_trajectory: whether it samples one trajectory of each prompt, once, without going back, as a pipeline's own call does.
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
    """A frozen value with its paper's defaults; its `repr` is the record of the experiment. `ProblemT` is `tta_core.Problem`."""

    @property
    def needs(self) -> Needs:
        """What it requires of backbone, reward and sampler."""
        ...

    def align(self, problem: ProblemT) -> Iterator[Snapshot]:
        """Run, yielding snapshots; `problem.check(self.needs)` comes first."""
        ...
