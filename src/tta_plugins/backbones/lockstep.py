"""A method that follows a trajectory which the pipeline samples: its networks and its sampler get the pipeline's x at every step.

The method runs its own loop in its own thread. When it first asks for a prediction at a step, it waits until the pipeline is at that
step, and gets the pipeline's call of the denoiser. It evaluates that call again with other embeddings. Those of its last prediction at
the step are its answer. A method that moves the clean estimate answers with the output that says so.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

import attrs
import torch
from torch import Tensor

from tta_core.errors import IncompatibleError
from tta_core.values.controls import Embedding
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.hook_refusals import ONE_PASS, PARTICLES


@attrs.frozen(eq=False)
class Answer:
    """The embeddings of a step, and the guided output in place of what the denoiser makes of them, if the clean estimate was moved."""

    text: Embedding
    null: Embedding | None
    output: Latents | None = None


class Abandoned(BaseException):
    """Ends the method's thread when no further answer is needed. No `Exception`, so that no method swallows it."""


@attrs.frozen(eq=False)
class Place:
    """Where the pipeline is: its x, its call of the denoiser, and its guidance; up to 1 there is none."""

    x: Latents
    call: DenoiserCall
    guidance: float


class LockstepRun:
    """A method's run in lock-step with the pipeline's trajectory: `answer(place)` is called once for each step, in sampling order."""

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
        """End the run at whatever step it is, and wait until it has restored the networks."""
        self._asked.put(None)
        self.thread.join()

    @property
    def has_begun(self) -> bool:
        """Whether the method has asked for a prediction."""
        return self._step >= 0

    def arrived(self, index: int) -> Place:
        """Where the pipeline is; the first call at a step gives the answer of the one before and waits.

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
        """The difference of x from the first x that the method asked about at this step."""
        assert self._place is not None
        if self._own is None:
            self._own = x[: self._place.x.shape[0]].detach()
        return x - as_batch(self._own, x.shape[0])

    def said(self, output: Latents, embedding: Embedding) -> None:
        """A branch was evaluated: stores which embedding an output came from."""
        self._said.append((output, embedding))

    def predicted(self, text: Latents, null: Latents | None) -> None:
        """A prediction was made from these outputs."""
        self._last = Answer(self._embedding(text), None if null is None else self._embedding(null))

    def with_output(self, output: Latents) -> None:
        """The method replaced the predicted clean estimate; this is the guided output that gives the new one."""
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
