"""A method that follows a trajectory which the pipeline samples: its networks and its sampler get the pipeline's x at every step.

The method runs its own loop in its own thread. Its first prediction at a step waits until the pipeline is at that step, and uses the
pipeline's call of the denoiser, which it repeats with other embeddings. The embeddings of its last prediction at the step are its answer to
the pipeline. The answer of a method that changes the clean estimate is the denoiser output that leads to that estimate.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

import attrs
import torch
from torch import Tensor

from tta_core.errors import IncompatibleError, RunError
from tta_core.values.controls import Embedding
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.hook_refusals import ONE_PASS, PARTICLES


@attrs.frozen(eq=False)
class Answer:
    """The embeddings of a step; if the clean estimate was changed, also the guided output that replaces the denoiser's."""

    text: Embedding
    null: Embedding | None
    output: Latents | None = None


class Abandoned(BaseException):
    """Ends the method's thread when no further answer is needed. It is not an `Exception`, so that a method does not catch it."""


@attrs.frozen(eq=False)
class Place:
    """The state of the pipeline at a step: its x, its call of the denoiser, and its guidance; up to 1 there is none."""

    x: Latents
    call: DenoiserCall
    guidance: float


class LockstepRun:
    """A method's run in lock-step with the pipeline's trajectory: `answer(place)` is called once for each step, in sampling order."""

    def __init__(self, run: Callable[["LockstepRun"], None], device: torch.device) -> None:
        self._run, self._device = run, device
        self._places: SimpleQueue[Place | None] = SimpleQueue()
        self._answers: SimpleQueue[Answer | BaseException] = SimpleQueue()
        self._step = -1
        self._place: Place | None = None
        self._outputs: list[tuple[Latents, Embedding]] = []
        self._last: Answer | None = None
        self._own: Latents | None = None
        self.thread = threading.Thread(target=self._work, name="tta-lockstep", daemon=True)
        self.thread.start()

    def answer(self, place: Place) -> Answer:
        """The method's answer at this step. Re-raises an exception of the method."""
        self._places.put(place)
        answer = self._answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def abandon(self) -> None:
        """End the run at its current step, and wait until it has restored the networks."""
        self._places.put(None)
        self.thread.join()

    @property
    def has_begun(self) -> bool:
        """Whether the method has made a prediction."""
        return self._step >= 0

    def arrived(self, index: int) -> Place:
        """The state of the pipeline at a step; the first call at a step sends the answer of the previous step and waits.

        Raises `IncompatibleError` for an earlier step: the method samples its chain again.
        """
        if index < self._step:
            raise IncompatibleError(ONE_PASS)
        if index > self._step:
            if self._step >= 0:
                self._answers.put(self._answer())
            self._place = self._places.get()
            if self._place is None:
                raise Abandoned
            self._step, self._outputs, self._last, self._own = index, [], None, None
        assert self._place is not None
        return self._place

    def moved(self, x: Latents) -> Latents:
        """The difference of x from the first x of the method at this step."""
        assert self._place is not None
        if self._own is None:
            self._own = x[: self._place.x.shape[0]].detach()
        return x - as_batch(self._own, x.shape[0])

    def evaluated(self, output: Latents, embedding: Embedding) -> None:
        """Records the output of a branch and its embedding."""
        self._outputs.append((output, embedding))

    def predicted(self, text: Latents, null: Latents | None) -> None:
        """Records that a prediction was made from these outputs."""
        self._last = Answer(self._embedding(text), None if null is None else self._embedding(null))

    def with_output(self, output: Latents) -> None:
        """Records that the method replaced the clean estimate; `output` is the guided output that leads to the new one."""
        assert self._place is not None
        assert self._last is not None
        rows = self._place.x.shape[0]
        if output.shape[0] != rows:
            raise IncompatibleError(PARTICLES)
        self._last = Answer(self._last.text[:rows], self._last.null and self._last.null[:rows], output.detach())

    def _embedding(self, output: Latents) -> Embedding:
        """The embedding of an output, or of its rows in a call that two branches shared."""
        for known, embedding in self._outputs:
            if known is output:
                return embedding
            if _root(known) is _root(output):
                first = (output.storage_offset() - known.storage_offset()) // known.stride(0)
                return embedding[first : first + len(output)]
        raise AssertionError("a prediction was made from an output that no call returned")

    def _answer(self) -> Answer:
        if self._place is None or self._last is None:
            raise RunError("The method made no prediction at a step of the pipeline's call. Predict once at every step, in order.")
        if self._last.text.tokens.shape[0] != self._place.x.shape[0]:
            raise IncompatibleError(PARTICLES)
        return self._last

    def _work(self) -> None:
        try:
            if self._device.type == "cuda":
                torch.cuda.set_device(self._device)
            self._run(self)
            self._answers.put(self._answer())
        except Abandoned:
            pass
        except BaseException as error:
            self._answers.put(error)


def _root(tensor: Tensor) -> Tensor:
    """The tensor that this one is a view of, or itself."""
    return tensor if tensor._base is None else tensor._base
