"""Pipelines that call their denoiser once for each guidance branch, with the text first (FLUX, Qwen-Image, Lumina 2)."""

from typing import Any

import attrs
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.controls import Embedding
from tta_plugins.backbones.denoiser_call import DenoiserCall, Replaced
from tta_plugins.backbones.followed_calls import FollowedCalls
from tta_plugins.backbones.hooked_run import guidance_of
from tta_plugins.backbones.lockstep import Answer


@attrs.define
class BranchesApart:
    """The text branch's call waits here for the null branch's.

    The null embedding is not known before the second call of the first step; that step's first output is corrected afterwards.
    """

    calls: FollowedCalls
    first: DenoiserCall | None = None
    uncorrected: Tensor | None = None
    call: DenoiserCall | None = None
    answer: Answer | None = None

    def before(self, call: DenoiserCall) -> Replaced | None:
        """The arguments with the method's embedding; None in the text branch of the first step."""
        guidance, told = guidance_of(self.calls.steered, None), call.embedding
        self.calls.check_rows(told.tokens.shape[0])
        if self.first is None:
            return self._text(call, told, guidance)
        first, self.first = self.first, None
        if call.time != first.time:
            raise InputError(
                f"The denoiser was called once at time {first.time:g}, where guidance {guidance:g} has two calls. Steering needs the "
                "guidance of the call at every step: no truncation, and no guidance that ends midway."
            )
        if self.uncorrected is None:
            assert self.calls.run is not None
            self.calls.run.check_unchanged(null=told)
            return self._null(call, told)
        uncorrected, self.uncorrected = self.uncorrected, None
        self.answer = self.calls.answer(first, call.x.float(), first.embedding, told, guidance)
        if self.answer.output is None:
            uncorrected.copy_(self.calls.repeated(first, self.answer.text))
        else:
            first.overwrite(uncorrected, self.answer.output)
        return self._null(call, told)

    def after(self, output: Any) -> None:
        """Keeps the output of the first step's text branch, to be mended; any other becomes what the method made of it."""
        if self.call is None:
            self.uncorrected = output[0]
        elif self.answer is not None and self.answer.output is not None:
            self.call.overwrite(output[0], self.answer.output)

    def end(self) -> None:
        """Clears the state."""
        self.first = self.uncorrected = self.answer = self.call = None

    def _text(self, call: DenoiserCall, told: Embedding, guidance: float) -> Replaced | None:
        """The arguments of a text branch; None in the first step, whose null embedding is not known yet."""
        null = None
        if guidance > 1:
            self.first = call
            if self.calls.is_at_start:
                self.calls.end()
                self.call = None
                return None
            assert self.calls.run is not None
            null = self.calls.run.null
        self.answer = self.calls.answer(call, call.x.float(), told, null, guidance)
        self.call = call
        return call.replaced(self.answer.text)

    def _null(self, call: DenoiserCall, told: Embedding) -> Replaced:
        """The arguments of a null branch."""
        assert self.answer is not None
        self.call = call
        return call.replaced(self.answer.null or told)
