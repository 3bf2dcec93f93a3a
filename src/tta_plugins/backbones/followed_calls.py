"""Follows the pipeline's calls of its denoiser, one after another, together with the method's run."""

import threading

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.controls import Embedding
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.hooked_run import HookedRun, Steered
from tta_plugins.backbones.lockstep import Answer


@attrs.define
class FollowedCalls:
    """The hook's state between calls: the run, and the index of the next step."""

    steered: Steered
    run: HookedRun | None = None
    index: int = 0
    _is_repeating: bool = False

    @property
    def is_own(self) -> bool:
        """Whether the denoiser is called by the method, or to repeat a call, and not by the pipeline."""
        return self._is_repeating or (self.run is not None and threading.current_thread() is self.run.lockstep.thread)

    @property
    def is_at_start(self) -> bool:
        """Whether the next step is the first of a call of the pipeline."""
        return self.run is None or self.index == len(self.run.steps)

    def check_rows(self, count: int, allowed: tuple[int, ...] = (1,)) -> None:
        """Raises `InputError` if the number of rows is not the number of prompts times one of the allowed numbers of branches."""
        prompts = len(self.steered.prompts)
        if count not in [branches * prompts for branches in allowed]:
            raise InputError(
                f"The denoiser is called with {count} rows, but steering_hook has {prompts} prompts. Give it one prompt for each sample, "
                "and the guidance of the call."
            )

    def answer(self, call: DenoiserCall, x: Tensor, text: Embedding, null: Embedding | None, guidance: float) -> Answer:
        """The method's answer for the step of this call; the first call starts the run.

        Raises `InputError` if the call is not that of the next step, or if the embeddings changed since the first call.
        """
        if self.is_at_start:
            self.end()
            self.run, self.index = self.steered.begun(call, x, text, null), 0
        assert self.run is not None
        step = self.run.steps[self.index]
        if not call.is_at(step.time):
            raise InputError(
                f"The denoiser is called at time {call.time:g}, but the next time is {step.time:g}. Steering needs one call per step "
                "for each guidance branch, and the guidance: give steering_hook the true guidance of FLUX or Qwen-Image. SD3's "
                "skip-layer guidance is a third branch and cannot be used. After an interrupted call, open a new hook."
            )
        self.run.check_unchanged(text=text, null=null)
        self.index += 1
        return self.run.answer(call, x / step.input_scale, guidance)

    def repeated(self, call: DenoiserCall, embedding: Embedding) -> Tensor:
        """Repeats a call with another embedding; returns the raw output."""
        self._is_repeating = True
        try:
            args, kwargs = call.replaced(embedding)
            with torch.no_grad():
                output: Tensor = self.steered.backbone.networks["denoiser"](*args, **kwargs)[0]
                return output
        finally:
            self._is_repeating = False

    def end(self) -> None:
        """Ends the run, and waits until it has restored everything."""
        if self.run is not None:
            self.run.lockstep.abandon()
        self.run = None
