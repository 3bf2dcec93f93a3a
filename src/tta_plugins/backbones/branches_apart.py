"""Pipelines that call their denoiser once for each guidance branch, with the text first (FLUX, Qwen-Image, Lumina 2)."""

from typing import Any

import attrs
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.controls import Embedding
from tta_plugins.backbones.denoiser_call import DenoiserCall, Replaced
from tta_plugins.backbones.followed_calls import FollowedCalls
from tta_plugins.backbones.hooked_run import guidance_of


@attrs.define
class BranchesApart:
    """The text branch's call waits here for the null branch's.

    The null embedding is not known before the second call of the first step; that step's first output is mended afterwards.
    """

    calls: FollowedCalls
    first: DenoiserCall | None = None
    unmended: Tensor | None = None
    null: Embedding | None = None

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
        if self.unmended is None:
            assert self.calls.run is not None
            self.calls.run.check_unchanged(null=told)
            return call.replaced(self.null or told)
        unmended, self.unmended = self.unmended, None
        text, null = self.calls.answer(first, call.x.float(), first.embedding, told, guidance)
        unmended.copy_(self.calls.repeated(first, text))
        return call.replaced(null or told)

    def after(self, output: Any) -> None:
        """Keeps the output of the first step's text branch, to be mended."""
        if self.first is not None and self.calls.run is None:
            self.unmended = output[0]

    def end(self) -> None:
        """Forgets what was kept."""
        self.first = self.unmended = self.null = None

    def _text(self, call: DenoiserCall, told: Embedding, guidance: float) -> Replaced | None:
        if guidance <= 1:
            return call.replaced(self.calls.answer(call, call.x.float(), told, None, guidance)[0])
        self.first = call
        if self.calls.is_at_start:
            self.calls.end()
            return None
        assert self.calls.run is not None
        text, self.null = self.calls.answer(call, call.x.float(), told, self.calls.run.null, guidance)
        return call.replaced(text)
