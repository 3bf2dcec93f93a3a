"""A per-step method inside the user's own `pipeline(...)` call, by a hook before the denoiser.

The pipeline keeps its loop, its scheduler and its noise, and whatever it tells its denoiser beside the text; the method sees x at every
step, the first included, and the denoiser is called with the embeddings that the method arrives at. Whole-chain methods (DNO, best-of-n)
and particles need a loop of their own: `align`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.method import Method, Needs, Snapshot
from tta_core.protocols.scheduler import Scheduler
from tta_core.protocols.variables import Noise, Product
from tta_core.running.prepare import prepare
from tta_core.solving.from_image import LastSteps
from tta_core.values.arguments import as_prompts
from tta_core.values.controls import Embedding
from tta_core.values.provenance import name_of
from tta_core.values.trajectory import Step
from tta_core.values.typing import Latents
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.family import FamilyBackbone, in_dtype
from tta_plugins.backbones.lockstep import MOVES_X, ONE_PASS, PARTICLES, LockstepRun, LockstepScheduler, Place, lockstep_backbone

Arguments = tuple[Any, ...]


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
    """`tta_core.steering_hook` for every family: pipelines that call their denoiser once a step, both branches in one batch.

    Raises:
        IncompatibleError: for a whole-chain method, particles, a sampler outside the family.
        InputError: in the pipeline's call, under `torch.inference_mode()`, or if the prompts are not as many as its samples.
    """
    refuse(method.needs)
    steering = _Steering(drawing, method, reward, as_prompts(prompts), guidance, eta, seed)
    hook = drawing.networks["denoiser"].register_forward_pre_hook(steering.before, with_kwargs=True)
    try:
        yield steering.snapshots
    finally:
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


@attrs.frozen
class _Run:
    """One call of the pipeline, followed."""

    steps: tuple[Step, ...]
    guided: bool
    lockstep: LockstepRun


@attrs.define
class _Steering:
    """The hook, and what it remembers between the denoiser's calls."""

    drawing: FamilyBackbone
    method: Method
    reward: object
    prompts: tuple[str, ...]
    guidance: float | None
    eta: float | None
    seed: int
    snapshots: list[Snapshot] = attrs.field(factory=list)
    run: _Run | None = None
    index: int = 0

    def before(self, denoiser: nn.Module, args: Arguments, kwargs: Mapping[str, Any]) -> tuple[Arguments, dict[str, Any]] | None:
        """Called before the denoiser: its arguments, with the method's embeddings in place of the pipeline's."""
        if self.run is not None and threading.current_thread() is self.run.lockstep.thread:
            return None
        if torch.is_inference_mode_enabled():
            raise InputError(
                "Cannot steer under torch.inference_mode(). This is because its tensors never get gradients. Use torch.no_grad(), which "
                "the pipeline's call brings by itself."
            )
        call = DenoiserCall.made(self.drawing, args, kwargs)
        told, rows = call.embedding, len(self.prompts)
        if told.tokens.shape[0] not in [branches * rows for branches in self._branches()]:
            raise InputError(
                f"The denoiser is called with {told.tokens.shape[0]} rows, but steering_hook has {rows} prompts. Give it one for each "
                "sample, and the guidance of the call."
            )
        x = call.x[:rows].float()
        null = told[:rows] if told.tokens.shape[0] > rows else None
        if self.run is None or self.index == len(self.run.steps):
            self.end()
            self.run, self.index = self._started(call, x, told[-rows:], null), 0
        step = self.run.steps[self.index]
        if not call.is_at(step.time) or self.run.guided is (null is None):
            raise InputError(
                f"The denoiser is called at time {call.time:g} with {told.tokens.shape[0]} rows, where {step.time:g} and "
                f"{2 * rows if self.run.guided else rows} rows come next. Steering needs one call a step, both guidance branches in it: no "
                "true guidance of FLUX, no skipped layers, no guidance that ends midway. After an interrupted call, open a new hook."
            )
        self.index += 1
        steered_text, steered_null = self.run.lockstep.answer(Place(x / step.input_scale, call))
        return (), call.told(_stacked(steered_text, steered_null or null))

    def end(self) -> None:
        """Ends a run, and waits until it has handed everything back."""
        if self.run is not None:
            self.run.lockstep.abandon()
        self.run = None

    def _started(self, call: DenoiserCall, x: Latents, text: Embedding, null: Embedding | None) -> _Run:
        scheduler = self._from(call, self._scheduler((x.shape[1], x.shape[2], x.shape[3])))
        guidance, pixels = 1.0 if null is None else self._guidance(), int(self.drawing.pipeline.vae_scale_factor)

        def run(lockstep: LockstepRun) -> None:
            with prepare(
                self.prompts,
                backbone=lockstep_backbone(self.drawing, lockstep),
                scheduler=LockstepScheduler(scheduler, lockstep, guided=guidance != 1),
                method=self.method,
                reward=self.reward,
                guidance=guidance,
                seed=self.seed,
                height=x.shape[2] * pixels,
                width=x.shape[3] * pixels,
                text=in_dtype(text, torch.float32),
                null=null and in_dtype(null, torch.float32),
            ) as prepared:
                for snapshot in prepared.method.align(prepared.problem):
                    if snapshot.images is None:  # the end of the method's own chain is not the pipeline's
                        self.snapshots.append(snapshot)

        return _Run(scheduler.steps, null is not None, LockstepRun(run, self.drawing.device))

    def _scheduler(self, shape: tuple[int, int, int]) -> Scheduler:
        """The pipeline's sampler as a table, checked against the times that the pipeline has set."""
        native = self.drawing.pipeline.scheduler
        times = [float(time) for time in native.timesteps]
        make: Any = plugins().registry.find("schedulers", "native").load()
        scheduler: Scheduler = make(self.drawing.sampler, len(times), self.eta, shape)
        if [step.time for step in scheduler.steps] != times:
            raise IncompatibleError(
                f"Cannot steer {type(native).__name__} at these times. This is because they are not what it sets for this number of steps: "
                "timesteps or sigmas were passed, or it is outside the family. Leave them out, or give the pipeline a DDIM, Euler, "
                "DPM-Solver++ 2M or flow Euler scheduler."
            )
        return scheduler

    def _from(self, call: DenoiserCall, scheduler: Scheduler) -> LastSteps:
        """The steps from a call on: all of them, or those that an image-to-image pipeline takes."""
        skipped = next((step.index for step in scheduler.steps if call.is_at(step.time)), None)
        if skipped is None:
            raise IncompatibleError(
                f"Cannot steer a denoiser that is called at time {call.time:g}. This is because it is none of the sampler's times. Use a "
                "pipeline that tells its denoiser the times of its scheduler."
            )
        return LastSteps(scheduler, len(scheduler.steps) - skipped)

    def _branches(self) -> tuple[int, ...]:
        """How many guidance branches the pipeline's calls may have, as far as it tells; FLUX's have one."""
        if self.drawing.family.packs:
            return (1,)
        guided = getattr(self.drawing.pipeline, "do_classifier_free_guidance", None)
        if guided is None and self.guidance is not None:
            guided = self.guidance != 1
        return (1, 2) if guided is None else (2,) if guided else (1,)

    def _guidance(self) -> float:
        told, given = getattr(self.drawing.pipeline, "guidance_scale", None), self.guidance
        guidance = told if given is None else given
        if guidance is None:
            raise InputError(f"{name_of(self.drawing)} does not tell its guidance. Give steering_hook the guidance of the call.")
        if told not in (None, guidance):
            raise InputError(f"steering_hook was given guidance {given:g}, but the pipeline is called with {told:g}. Leave it out.")
        return float(guidance)


def _stacked(text: Embedding, null: Embedding | None) -> Embedding:
    """The branches as the pipeline batches them: null first."""
    if null is None:
        return text
    pooled = None if text.pooled is None or null.pooled is None else torch.cat([null.pooled, text.pooled])
    mask = None if text.mask is None or null.mask is None else torch.cat([null.mask, text.mask])
    extra = {name: torch.cat([null.extra[name], text.extra[name]]) for name in text.extra}
    return Embedding(torch.cat([null.tokens, text.tokens]), pooled, mask, extra)
