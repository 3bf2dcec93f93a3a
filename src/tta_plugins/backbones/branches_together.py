"""Pipelines that call their denoiser once per step: with both guidance branches in one batch, or with the text branch alone."""

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
    """`attention` is open during a call whose cross-attention is steered; `output` is the output that replaces the call's own."""

    calls: FollowedCalls
    attention: ExitStack = attrs.field(factory=ExitStack)
    output: tuple[DenoiserCall, Latents] | None = None

    def before(self, call: DenoiserCall) -> Replaced:
        """The arguments with the method's embeddings, in the order of the pipeline's branches."""
        steered, embedding = self.calls.steered, call.embedding
        count, rows = embedding.tokens.shape[0], len(steered.prompts)
        self.calls.check_rows(count, steered.branches())
        both, text_first = count > rows, steered.backbone.family.traits.branches == "text first"
        text, null = (embedding[:rows], embedding[rows:]) if text_first else (embedding[-rows:], embedding[:rows])
        answer = self.calls.answer(call, call.x[:rows].float(), text, null if both else None, guidance_of(steered, both))
        together = answer.text
        if both:
            branches = (answer.text, answer.null or null) if text_first else (answer.null or null, answer.text)
            together = in_one_batch(*branches)
        self.output = None if answer.output is None else (call, answer.output)
        self.attention.close()
        self.attention.enter_context(attention_moved(steered.backbone.networks["denoiser"], together.attention))
        return call.replaced(together)

    def after(self, output: Any) -> None:
        """Restores the pipeline's own attention, and replaces the output by the method's, if there is one."""
        self.attention.close()
        if self.output is not None:
            (call, guided), self.output = self.output, None
            call.overwrite(output[0], guided)

    def end(self) -> None:
        """Restores the pipeline's own attention."""
        self.attention.close()
        self.output = None


def in_one_batch(first: Embedding, second: Embedding) -> Embedding:
    """Two branches as one batch, float32; a branch whose attention is not steered gets weights of 0."""
    branches = [in_dtype(branch, torch.float32) for branch in (first, second)]
    if any(branch.attention is not None for branch in branches):
        branches = [evolve(branch, attention=_energy(branch)) for branch in branches]
    together = stacked(branches)
    assert together is not None, "the branches of one call differ in shape"
    return together


def _energy(branch: Embedding) -> AttentionEnergy:
    energy = branch.attention or AttentionEnergy(*[torch.zeros_like(branch.tokens[:, 0, 0])] * 2)
    return energy if energy.tokens is not None else evolve(energy, tokens=torch.ones_like(branch.tokens[..., 0]))
