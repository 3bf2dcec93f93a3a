"""A method that follows a trajectory which the pipeline samples: its networks and its sampler get the pipeline's x at every step.

The method runs its own loop in its own thread. When it first asks for a prediction at a step, it waits until the pipeline is at that
step, and gets the pipeline's call of the denoiser. It evaluates that call again with other embeddings. Those of its last prediction at
the step are its answer. A method that moves the clean estimate answers with the output that says so.
"""

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import attrs
import torch
from torch import Tensor

from tta_core.errors import IncompatibleError
from tta_core.protocols.scheduler import Scheduler
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.controls import Embedding
from tta_core.values.schedules import Multiplied, Schedule
from tta_core.values.trajectory import Prediction, State, Step
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.family import FamilyBackbone
from tta_plugins.backbones.guidance import rescaled


@attrs.frozen(eq=False)
class Answer:
    """The embeddings of a step, and the guided output in place of what the denoiser makes of them, if the clean estimate was moved."""

    text: Embedding
    null: Embedding | None
    output: Latents | None = None


class Abandoned(BaseException):
    """Ends the method's thread when nobody will ask it again. No `Exception`, so that no method swallows it."""


@attrs.frozen(eq=False)
class Place:
    """Where the other is: x there, its call of the denoiser, and its guidance; up to 1 there is none."""

    x: Latents
    call: DenoiserCall
    guidance: float


class LockstepRun:
    """A method's run in lock-step with another trajectory: `answer(place)` is called once for each step, in sampling order."""

    def __init__(self, run: Callable[["LockstepRun"], None], device: torch.device) -> None:
        self._run, self._device = run, device
        self._asked: SimpleQueue[Place | None] = SimpleQueue()
        self._answered: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._step = -1
        self._place: Place | None = None
        self._said: list[tuple[Latents, Embedding]] = []
        self._last: Answer | None = None
        self._own: Latents | None = None
        self.thread = threading.Thread(target=self._work, name="tta-lockstep", daemon=True)
        self.thread.start()

    def answer(self, place: Place) -> Answer:
        """What the method uses there. Re-raises what the method raises."""
        self._asked.put(place)
        answer = self._answered.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def abandon(self) -> None:
        """End the run, wherever it stands, and wait until it has handed back what it borrowed."""
        self._asked.put(None)
        self.thread.join()

    @property
    def has_begun(self) -> bool:
        """Whether the method has asked for a prediction."""
        return self._step >= 0

    def arrived(self, index: int) -> Place:
        """Where the other is; the first call at a step gives the answer of the one before and waits.

        Raises `IncompatibleError` for a step that lies behind: the method samples its chain again.
        """
        if index < self._step:
            raise IncompatibleError(ONE_PASS)
        if index > self._step:
            if self._step >= 0:
                self._answered.put(self._answer())
            self._place = self._asked.get()
            if self._place is None:
                raise Abandoned
            self._step, self._said, self._last, self._own = index, [], None, None
        assert self._place is not None
        return self._place

    def moved(self, x: Latents) -> Latents:
        """How far x lies from where the method believes itself at this step, which is the first x that it asks about."""
        assert self._place is not None
        if self._own is None:
            self._own = x[: self._place.x.shape[0]].detach()
        return x - as_batch(self._own, x.shape[0])

    def said(self, output: Latents, embedding: Embedding) -> None:
        """A branch was evaluated: remembers which embedding an output came from."""
        self._said.append((output, embedding))

    def predicted(self, text: Latents, null: Latents | None) -> None:
        """A prediction was made from these outputs."""
        self._last = Answer(self._embedding(text), None if null is None else self._embedding(null))

    def believed(self, output: Latents) -> None:
        """The clean estimate is another than the one predicted, and this is the guided output that says so."""
        assert self._place is not None
        assert self._last is not None
        rows = self._place.x.shape[0]
        if output.shape[0] != rows:
            raise IncompatibleError(PARTICLES)
        self._last = Answer(self._last.text[:rows], self._last.null and self._last.null[:rows], output.detach())

    def _embedding(self, output: Latents) -> Embedding:
        """Of an output, or of the rows of a call that two branches shared."""
        for known, embedding in self._said:
            if known is output:
                return embedding
            if _root(known) is _root(output):
                first = (output.storage_offset() - known.storage_offset()) // known.stride(0)
                return embedding[first : first + len(output)]
        raise AssertionError("a prediction was made from an output of no call")

    def _answer(self) -> Answer:
        assert self._place is not None
        assert self._last is not None
        if self._last.text.tokens.shape[0] != self._place.x.shape[0]:
            raise IncompatibleError(PARTICLES)
        return self._last

    def _work(self) -> None:
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            self._run(self)
            self._answered.put(self._answer())
        except Abandoned:
            pass
        except BaseException as error:
            self._answered.put(error)


def _root(tensor: Tensor) -> Tensor:
    """The tensor that this one is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base


def lockstep_backbone(drawing: FamilyBackbone, lockstep: LockstepRun) -> WrappedBackbone:
    """A backbone that evaluates its branches in the other's calls."""

    def predict(x: Latents, step: Step, embedding: Embedding) -> Latents:
        place = lockstep.arrived(step.index)
        change = lockstep.moved(x) * step.input_scale
        output = place.call.output(embedding, change if change.requires_grad or change.any() else None)
        lockstep.said(output, embedding)
        return output

    def combine(text: Latents, null: Latents, guidance: float) -> Latents:
        lockstep.predicted(text, null)
        return rescaled(drawing.combine(text, null, guidance), text, getattr(drawing.pipeline, "guidance_rescale", None) or 0.0)

    return WrappedBackbone(drawing, predicting=predict, combining=combine)


@attrs.frozen
class LockstepScheduler:
    """A sampler that predicts from the other's x."""

    scheduler: Scheduler
    lockstep: LockstepRun = attrs.field(repr=False)

    @property
    def steps(self) -> Sequence[Step]:
        """The original's."""
        return self.scheduler.steps

    @property
    def initial_std(self) -> float:
        """The original's."""
        return self.scheduler.initial_std

    def predict(self, state: State, output: Latents, step: Step) -> Prediction:
        """The prediction at the other's x; the history is the method's own, which was made there."""
        place = self.lockstep.arrived(step.index)
        if place.guidance <= 1:
            self.lockstep.predicted(output, None)
        x = as_batch(place.x, state.x.shape[0]) + self.lockstep.moved(state.x)
        return self.scheduler.predict(evolve(state, x=x), output, step)

    def believe(self, state: State, x0: Latents, step: Step) -> Prediction:
        """The same for another clean estimate: the other is told the output that says so, and samples from it.

        Where x was moved as well (the predicted noise is kept), it is told the clean estimate whose next x has the same mean. Raises
        `IncompatibleError` for that with a sampler of the second order, which remembers the estimate that it was told.
        """
        place = self.lockstep.arrived(step.index)
        theirs = evolve(state, x=place.x)
        if not self.lockstep.moved(state.x).any():
            self._tell(theirs, x0, step)
            return self.scheduler.believe(theirs, x0, step)
        if any(other.order > 1 for other in self.steps):
            raise IncompatibleError(KEPT_NOISE)
        wanted = self.scheduler.believe(state, x0, step)
        apart = wanted.transition.mean - self.scheduler.believe(theirs, x0, step).transition.mean
        none, one = (torch.full_like(place.x[:1, :1, :1, :1], value) for value in (0.0, 1.0))
        self._tell(theirs, x0 + apart / self.scheduler.believe(State(none), one, step).transition.mean, step)
        return wanted

    def _tell(self, state: State, x0: Latents, step: Step) -> None:
        """Says which output gives this clean estimate, which is linear in x and the output."""
        none, one = (torch.full_like(state.x[:1, :1, :1, :1], value) for value in (0.0, 1.0))
        slope = self.scheduler.predict(State(none), one, step).x0
        self.lockstep.believed((x0 - self.scheduler.predict(state, torch.zeros_like(x0), step).x0) / slope)


@attrs.frozen
class LockstepGuidance:
    """The guidance of the other's call, step by step; before the method's first prediction, that of the first step."""

    lockstep: LockstepRun = attrs.field(repr=False)
    first: float

    def __call__(self, index: int, total: int) -> float:
        """Of this step: waits until the other has come there."""
        return self.lockstep.arrived(index).guidance if self.lockstep.has_begun else self.first

    def __mul__(self, other: Schedule) -> Schedule:
        """The product of two schedules."""
        return Multiplied(self, other)


MOVES_X = (
    "Cannot use a method that moves x inside a pipeline's own call. This is because the call samples its own x, and what the method adds "
    "to it would be lost. Use tta_core.align, which samples itself, or a method that steers an embedding (date, null-tta) or the clean "
    "estimate (mpgd, universal-guidance)."
)
KEPT_NOISE = (
    "Cannot keep the predicted noise beside a moved clean estimate inside a pipeline's own call with a sampler of the second order. This "
    "is because such a sampler remembers the clean estimate, and would be told another one than the method's. Use a sampler of the first "
    "order (DDIM), a setting that recomputes the noise (mpgd's noise='recomputed'), or tta_core.align, which samples itself."
)
ONE_PASS = (
    "Cannot use a method that samples the chain more than once inside a pipeline's own call. This is because the call samples it once, "
    "and goes no step back. Use a method that updates step by step (date, null-tta), or tta_core.align, which samples itself."
)
PARTICLES = (
    "Cannot use a method with several particles inside a pipeline's own call. This is because the call samples one trajectory of each "
    "prompt. Use particles=1, or tta_core.align, which samples itself."
)
