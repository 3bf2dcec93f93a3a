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
    """Keeps the text branch's call until that of the null branch.

    The null embedding is not known before the second call of the first step; the first output of that step is corrected afterwards.
    """

    calls: FollowedCalls
    first: DenoiserCall | None = None
    uncorrected: Tensor | None = None
    call: DenoiserCall | None = None
    answer: Answer | None = None

    def before(self, call: DenoiserCall) -> Replaced | None:
        """The arguments with the method's embedding; None in the text branch of the first step."""
        guidance, embedding = guidance_of(self.calls.steered, None), call.embedding
        self.calls.check_rows(embedding.tokens.shape[0])
        if self.first is None:
            return self._text(call, embedding, guidance)
        first, self.first = self.first, None
        if call.time != first.time:
            raise InputError(
                f"The denoiser was called once at time {first.time:g}, but guidance {guidance:g} needs two calls. Steering needs "
                "guidance at every step: do not truncate it or end it early."
            )
        if self.uncorrected is None:
            assert self.calls.run is not None
            self.calls.run.check_unchanged(null=embedding)
            return self._null(call, embedding)
        uncorrected, self.uncorrected = self.uncorrected, None
        self.answer = self.calls.answer(first, call.x.float(), first.embedding, embedding, guidance)
        if self.answer.output is None:
            uncorrected.copy_(self.calls.repeated(first, self.answer.text))
        else:
            first.overwrite(uncorrected, self.answer.output)
        return self._null(call, embedding)

    def after(self, output: Any) -> None:
        """Keeps the output of the first step's text branch for the later correction; replaces other outputs by the method's."""
        if self.call is None:
            self.uncorrected = output[0]
        elif self.answer is not None and self.answer.output is not None:
            self.call.overwrite(output[0], self.answer.output)

    def end(self) -> None:
        """Clears the state."""
        self.first = self.uncorrected = self.answer = self.call = None

    def _text(self, call: DenoiserCall, embedding: Embedding, guidance: float) -> Replaced | None:
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
        self.answer = self.calls.answer(call, call.x.float(), embedding, null, guidance)
        self.call = call
        return call.replaced(self.answer.text)

    def _null(self, call: DenoiserCall, embedding: Embedding) -> Replaced:
        """The arguments of a null branch."""
        assert self.answer is not None
        self.call = call
        return call.replaced(self.answer.null or embedding)
