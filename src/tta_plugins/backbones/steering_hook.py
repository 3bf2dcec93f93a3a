"""A per-step method inside the user's own `pipeline(...)` call, by a hook before the denoiser.

The pipeline keeps its loop, its scheduler and its noise, and whatever it tells its denoiser beside the text; the method sees x at every
step, the first included, and the denoiser is called with the embeddings that the method arrives at. Whole-chain methods (DNO, best-of-n)
and particles need a loop of their own: `align`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.method import Method, Needs, Snapshot
from tta_core.protocols.variables import Noise, Product
from tta_core.values.arguments import as_prompts
from tta_core.values.controls import AttentionEnergy, Embedding
from tta_plugins.backbones.attention_energy import attention_moved
from tta_plugins.backbones.denoiser import as_called
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.family import FamilyBackbone
from tta_plugins.backbones.hooked_run import HookedRun, Steered, guidance_of
from tta_plugins.backbones.lockstep import MOVES_X, ONE_PASS, PARTICLES

Arguments = tuple[Any, ...]
Replaced = tuple[Arguments, dict[str, Any]]


@contextmanager
def steered(
    drawing: FamilyBackbone,
    method: Method,
    reward: object,
    *,
    prompts: str | Sequence[str],
    guidance: float | None,
    eta: float | None,
    seed: int,
) -> Iterator[list[Snapshot]]:
    """`tta_core.steering_hook` for every family.

    Raises:
        IncompatibleError: for a whole-chain method, particles, a sampler outside the family.
        InputError: in the pipeline's call, under `torch.inference_mode()`, or if the prompts are not as many as its samples.
    """
    refuse(method.needs)
    steering = _Steering(Steered(drawing, method, reward, as_prompts(prompts), guidance, eta, seed))
    denoiser = drawing.networks["denoiser"]
    compiled, denoiser._compiled_call_impl = denoiser._compiled_call_impl, None  # compiled in place: a hook cannot be traced
    hooks = [
        denoiser.register_forward_pre_hook(steering.before, with_kwargs=True),
        denoiser.register_forward_hook(steering.after),
    ]
    try:
        yield steering.steered.snapshots
    finally:
        denoiser._compiled_call_impl = compiled
        for hook in hooks:
            hook.remove()
        steering.end()


def refuse(needs: Needs) -> None:
    """Raises `IncompatibleError` for a method that a pipeline's own call cannot serve, with the reason."""
    parts = needs.variable.parts if isinstance(needs.variable, Product) else (needs.variable,)
    if needs.moves_x:
        raise IncompatibleError(MOVES_X)
    if needs.picture:
        raise IncompatibleError(
            "Cannot use a method that edits a picture inside a pipeline's own call. This is because the call starts where it likes. Use "
            "tta_core.align with `image=`."
        )
    if needs.chain or any(isinstance(part, Noise) for part in parts):
        raise IncompatibleError(ONE_PASS)
    if not needs.one_trajectory:
        raise IncompatibleError(PARTICLES if needs.children else ONE_PASS)


@attrs.define
class _Steering:
    """The hook, and what it remembers between the denoiser's calls.

    Pipelines that call the denoiser once for each branch ("apart") call it with the text first. The null embedding is not known before the
    second call of the first step; that step's first output is mended afterwards.
    """

    steered: Steered
    run: HookedRun | None = None
    index: int = 0
    first: DenoiserCall | None = None
    unmended: Tensor | None = None
    null: Embedding | None = None
    is_within: bool = False
    attention: ExitStack = attrs.field(factory=ExitStack)

    def before(self, denoiser: nn.Module, args: Arguments, kwargs: Mapping[str, Any]) -> Replaced | None:
        """Called before the denoiser: its arguments, with the method's embeddings in place of the pipeline's."""
        if self.is_within or (self.run is not None and threading.current_thread() is self.run.lockstep.thread):
            return None
        if torch.is_inference_mode_enabled():
            raise InputError(
                "Cannot steer under torch.inference_mode(). This is because its tensors never get gradients. Use torch.no_grad(), which "
                "the pipeline's call brings by itself."
            )
        call = DenoiserCall.made(self.steered.drawing, args, kwargs)
        if self.steered.drawing.family.traits.branches == "apart":
            return self._apart(call, guidance_of(self.steered, None))
        return self._batched(call)

    def after(self, denoiser: nn.Module, args: Arguments, output: Any) -> None:
        """Called after it: keeps the output of the first step's text branch, to be mended; attention is the pipeline's own again."""
        if not self.is_within and (self.run is None or threading.current_thread() is not self.run.lockstep.thread):
            self.attention.close()
        if self.first is not None and self.unmended is None and not self.is_within and self.run is None:
            self.unmended = output[0]

    def end(self) -> None:
        """Ends a run, and waits until it has handed everything back."""
        self.attention.close()
        if self.run is not None:
            self.run.lockstep.abandon()
        self.run = self.first = self.unmended = self.null = None

    def _batched(self, call: DenoiserCall) -> Replaced:
        """Both branches in one call, or the text branch alone."""
        told, rows, traits = call.embedding, len(self.steered.prompts), self.steered.drawing.family.traits
        count = told.tokens.shape[0]
        if count not in [branches * rows for branches in self.steered.branches()]:
            raise self._rows(count)
        both = count > rows
        begins = traits.branches == "text first"
        text, null = (told[:rows], told[rows:]) if begins else (told[-rows:], told[:rows])
        x = call.x[:rows].float()
        step_call = self._begun(call, x, text, null if both else None)
        steered_text, steered_null = step_call(guidance_of(self.steered, both))
        if not both:
            self._move_attention(steered_text)
            return _told(call, steered_text)
        parts = (steered_text, steered_null or null) if begins else (steered_null or null, steered_text)
        together = stacked(*parts)
        self._move_attention(together)
        return _told(call, together)

    def _move_attention(self, told: Embedding) -> None:
        """For the call that follows; `after` ends it."""
        self.attention.close()
        self.attention.enter_context(attention_moved(self.steered.drawing.networks["denoiser"], told.attention))

    def _apart(self, call: DenoiserCall, guidance: float) -> Replaced | None:
        rows, told = len(self.steered.prompts), call.embedding
        if told.tokens.shape[0] != rows:
            raise self._rows(told.tokens.shape[0])
        x = call.x.float()
        if self.first is None:
            if guidance <= 1:
                return _told(call, self._begun(call, x, told, None)(guidance)[0])
            self.first = call
            if self._is_over() or self.run is None:
                self.end()
                self.first = call
                return None
            text, self.null = self._begun(call, x, told, self.run.null)(guidance)
            return _told(call, text)
        first, self.first = self.first, None
        if call.time != first.time:
            raise InputError(
                f"The denoiser was called once at time {first.time:g}, where guidance {guidance:g} has two calls. Steering needs the "
                "guidance of the call at every step: no truncation, and no guidance that ends midway."
            )
        if self.unmended is None:
            assert self.run is not None
            self.run.check_unchanged(null=told)
            return _told(call, self.null or told)
        unmended, self.unmended = self.unmended, None
        text, null = self._begun(first, x, first.embedding, told)(guidance)
        self.is_within = True
        try:
            args, kwargs = _told(first, text)
            with torch.no_grad():
                unmended.copy_(self.steered.drawing.networks["denoiser"](*args, **kwargs)[0])
        finally:
            self.is_within = False
        return _told(call, null or told)

    def _is_over(self) -> bool:
        return self.run is not None and self.index == len(self.run.steps)

    def _begun(self, call: DenoiserCall, x: Tensor, text: Embedding, null: Embedding | None) -> "_Answering":
        """The run at this call, begun if it is the first one."""
        if self.run is None or self._is_over():
            first, self.first = self.first, None
            self.end()
            self.first = first
            self.run, self.index = self.steered.begun(call, x, text, null), 0
        return _Answering(self, call, x, text, null)

    def _rows(self, count: int) -> InputError:
        return InputError(
            f"The denoiser is called with {count} rows, but steering_hook has {len(self.steered.prompts)} prompts. Give it one for each "
            "sample, and the guidance of the call."
        )


@attrs.frozen
class _Answering:
    """The method's embeddings for one step."""

    steering: _Steering
    call: DenoiserCall
    x: Tensor
    text: Embedding
    null: Embedding | None

    def __call__(self, guidance: float) -> tuple[Embedding, Embedding | None]:
        run = self.steering.run
        assert run is not None
        step = run.steps[self.steering.index]
        if not self.call.is_at(step.time):
            raise InputError(
                f"The denoiser is called at time {self.call.time:g}, where {step.time:g} comes next. Steering needs one call a step for "
                "each guidance branch, and to be told of the guidance: give steering_hook the true guidance of FLUX or Qwen-Image; SD3's "
                "skipped layers are a third branch. After an interrupted call, open a new hook."
            )
        run.check_unchanged(text=self.text, null=self.null)
        self.steering.index += 1
        return run.answer(self.call, self.x / step.input_scale, guidance)


def _told(call: DenoiserCall, embedding: Embedding) -> Replaced:
    traits = call.drawing.family.traits
    args, kwargs = as_called(traits, call.told(embedding))
    return args, {**kwargs, **({"return_dict": call.arguments["return_dict"]} if "return_dict" in call.arguments else {})}


def stacked(first: Embedding, second: Embedding) -> Embedding:
    """Two branches as one batch."""
    pooled = None if first.pooled is None or second.pooled is None else torch.cat([first.pooled, second.pooled])
    mask = None if first.mask is None or second.mask is None else torch.cat([first.mask, second.mask])
    extra = {name: torch.cat([first.extra[name], second.extra[name]]) for name in second.extra}
    return Embedding(torch.cat([first.tokens, second.tokens]), pooled, mask, extra, _energies(first, second))


def _energies(first: Embedding, second: Embedding) -> AttentionEnergy | None:
    """Both branches' energies as one; a branch without any has weights of 0, tokens without factors have 1."""
    if first.attention is None and second.attention is None:
        return None
    still = [AttentionEnergy(torch.zeros_like(each.tokens[:, 0, 0]), torch.zeros_like(each.tokens[:, 0, 0])) for each in (first, second)]
    parts = [each.attention or none for each, none in zip((first, second), still, strict=True)]
    factors = [
        torch.ones_like(each.tokens[..., 0]) if part.tokens is None else part.tokens
        for each, part in zip((first, second), parts, strict=True)
    ]
    return AttentionEnergy(torch.cat([part.attention for part in parts]), torch.cat([part.norm for part in parts]), torch.cat(factors))
