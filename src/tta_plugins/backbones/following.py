"""A method that follows a trajectory somebody else samples: its networks and its sampler see the other's x at every step.

The method runs its own loop, in its own thread, and believes that it samples. When it first asks for a prediction at a step it waits
until the other has come there, and is given the other's x. What it last predicted with at the step is its answer.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

import attrs
import torch
from torch import nn

from tta_core._typing import Images, Latents, evolve
from tta_core.backbone import Backbone, Defaults
from tta_core.controls import Embedding
from tta_core.errors import IncompatibleError
from tta_core.scheduler import Prediction, Scheduler, State, Step
from tta_core.transition import as_batch

Answer = tuple[Embedding, Embedding | None]  # text, null


class Abandoned(BaseException):
    """Ends the method's thread when nobody will ask it again. No `Exception`, so that no method swallows it."""


class Follower:
    """A method's run in lock-step with another trajectory: `answer(x)` is called once for each step, in sampling order."""

    def __init__(self, run: Callable[["Follower"], None], device: torch.device) -> None:
        self._run, self._device = run, device
        self._asked: SimpleQueue[Latents | None] = SimpleQueue()
        self._answered: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._step = -1
        self._x: Latents | None = None
        self._said: list[tuple[Latents, Embedding]] = []
        self._last: Answer | None = None
        self.thread = threading.Thread(target=self._work, name="tta-follower", daemon=True)
        self.thread.start()

    def answer(self, x: Latents) -> Answer:
        """The embeddings that the method uses at x. Re-raises what the method raises."""
        self._asked.put(x)
        answer = self._answered.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def abandon(self) -> None:
        """End the run, wherever it stands, and wait until it has handed back what it borrowed."""
        self._asked.put(None)
        self.thread.join()

    def arrived(self, step: Step) -> Latents:
        """The other's x at a step; the first call at a step gives the answer of the one before and waits."""
        if step.index != self._step:
            if self._step >= 0:
                self._answered.put(self._answer())
            self._x = self._asked.get()
            if self._x is None:
                raise Abandoned
            self._step, self._said, self._last = step.index, [], None
        assert self._x is not None
        return self._x

    def said(self, output: Latents, embedding: Embedding) -> None:
        """A branch was evaluated: remembers which embedding an output came from."""
        self._said.append((output, embedding))

    def predicted(self, text: Latents, null: Latents | None) -> None:
        """A prediction was made from these outputs."""
        self._last = (self._embedding(text), None if null is None else self._embedding(null))

    def _embedding(self, output: Latents) -> Embedding:
        return next(embedding for known, embedding in self._said if known is output)

    def _answer(self) -> Answer:
        assert self._x is not None
        assert self._last is not None
        if self._last[0].tokens.shape[0] != self._x.shape[0]:
            raise IncompatibleError(_PARTICLES)
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


@attrs.frozen
class FollowingBackbone:
    """A backbone that evaluates its branches at the other's x."""

    backbone: Backbone
    follower: Follower = attrs.field(repr=False)

    @property
    def has_null(self) -> bool:
        """The original's."""
        return self.backbone.has_null

    @property
    def defaults(self) -> Defaults:
        """The original's."""
        return self.backbone.defaults

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The original's."""
        return self.backbone.networks

    @property
    def device(self) -> torch.device:
        """The original's."""
        return self.backbone.device

    @property
    def sampler(self) -> object:
        """The original's."""
        return self.backbone.sampler

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """The original's."""
        return self.backbone.latent_shape(height, width)

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The original's."""
        return self.backbone.encode(prompts, height, width)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The original's."""
        return self.backbone.encode_null(prompts, height, width)

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The output at the other's x. Raises `IncompatibleError` for particles, which are several trajectories."""
        theirs = self.follower.arrived(step)
        if not torch.equal(x, as_batch(x[: theirs.shape[0]], x.shape[0])):
            raise IncompatibleError(_PARTICLES)
        output = self.backbone.predict(as_batch(theirs, x.shape[0]), step, embedding)
        self.follower.said(output, embedding)
        return output

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The original's."""
        self.follower.predicted(text, null)
        return self.backbone.combine(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """The original's."""
        return self.backbone.decode(x0)


@attrs.frozen
class FollowingScheduler:
    """A sampler that predicts from the other's x."""

    scheduler: Scheduler
    follower: Follower = attrs.field(repr=False)
    guided: bool

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
        if not self.guided:
            self.follower.predicted(output, None)
        x = as_batch(self.follower.arrived(step), state.x.shape[0])
        return self.scheduler.predict(evolve(state, x=x), output, step)


_PARTICLES = (
    "Cannot use a method with several particles inside a pipeline's own call. This is because the call samples one trajectory of each "
    "prompt. Use particles=1, or tta_core.align, which samples itself."
)
