"""Pipelines that call their denoiser once a step: with both guidance branches in one batch, or with the text alone."""

from contextlib import ExitStack
from typing import Any

import attrs
import torch

from tta_core.values.controls import AttentionEnergy, Embedding, stacked
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.attention_energy import attention_moved
from tta_plugins.backbones.denoiser_call import DenoiserCall, Replaced
from tta_plugins.backbones.family import in_dtype
from tta_plugins.backbones.followed_calls import FollowedCalls
from tta_plugins.backbones.hooked_run import guidance_of


@attrs.define
class BranchesTogether:
    """`attention` is open during a call whose cross-attention is steered; `output` is what the call is to give instead of its own."""

    calls: FollowedCalls
    attention: ExitStack = attrs.field(factory=ExitStack)
    output: tuple[DenoiserCall, Latents] | None = None

    def before(self, call: DenoiserCall) -> Replaced:
        """The arguments with the method's embeddings, in the order of the pipeline's branches."""
        steered, told = self.calls.steered, call.embedding
        count, rows = told.tokens.shape[0], len(steered.prompts)
        self.calls.check_rows(count, steered.branches())
        both, text_first = count > rows, steered.drawing.family.traits.branches == "text first"
        text, null = (told[:rows], told[rows:]) if text_first else (told[-rows:], told[:rows])
        answer = self.calls.answer(call, call.x[:rows].float(), text, null if both else None, guidance_of(steered, both))
        together = answer.text
        if both:
            branches = (answer.text, answer.null or null) if text_first else (answer.null or null, answer.text)
            together = in_one_batch(*branches)
        self.output = None if answer.output is None else (call, answer.output)
        self.attention.close()
        self.attention.enter_context(attention_moved(steered.drawing.networks["denoiser"], together.attention))
        return call.replaced(together)

    def after(self, output: Any) -> None:
        """Attention is the pipeline's own again, and the output is what the method made of it."""
        self.attention.close()
        if self.output is not None:
            (call, guided), self.output = self.output, None
            call.overwrite(output[0], guided)

    def end(self) -> None:
        """Restores the pipeline's own attention."""
        self.attention.close()
        self.output = None


def in_one_batch(first: Embedding, second: Embedding) -> Embedding:
    """Two branches as one batch, float32; one whose attention is not steered has weights of 0."""
    branches = [in_dtype(branch, torch.float32) for branch in (first, second)]
    if any(branch.attention is not None for branch in branches):
        branches = [evolve(branch, attention=_energy(branch)) for branch in branches]
    together = stacked(branches)
    assert together is not None, "the branches of one call differ in shape"
    return together


def _energy(branch: Embedding) -> AttentionEnergy:
    told = branch.attention or AttentionEnergy(*[torch.zeros_like(branch.tokens[:, 0, 0])] * 2)
    return told if told.tokens is not None else evolve(told, tokens=torch.ones_like(branch.tokens[..., 0]))
