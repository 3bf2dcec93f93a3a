"""A method's run during one call of the pipeline: it starts at the call's first step and answers at each step."""

from typing import Any

import attrs
import torch

from tta_core.errors import IncompatibleError, InputError, RunError, TTAError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.method import Method, Snapshot
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.scheduler import Scheduler
from tta_core.running.prepare import prepare
from tta_core.solving.last_steps import LastSteps
from tta_core.values.arguments import error_text, raised_at
from tta_core.values.controls import Embedding
from tta_core.values.provenance import describe, name_of
from tta_core.values.trajectory import Step
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.autoencoder import pixels_of
from tta_plugins.backbones.denoiser import check_repeatable
from tta_plugins.backbones.denoiser_call import DenoiserCall
from tta_plugins.backbones.family import FamilyBackbone, in_dtype
from tta_plugins.backbones.lockstep import Answer, LockstepRun, Place
from tta_plugins.backbones.lockstep_parts import LockstepGuidance, LockstepScheduler, lockstep_backbone


@attrs.frozen
class HookedRun:
    """A run during one call of the pipeline; `text` and `null` are the embeddings that the pipeline passes to its denoiser."""

    steps: tuple[Step, ...]
    text: Embedding
    null: Embedding | None
    lockstep: LockstepRun

    def answer(self, call: DenoiserCall, x: Latents, guidance: float) -> Answer:
        """The method's answer at this call."""
        return self.lockstep.answer(Place(x, call, guidance))

    def check_unchanged(self, **embeddings: Embedding | None) -> None:
        """Raises `InputError` if the pipeline passes another embedding to its denoiser than at the first step."""
        for name, now in embeddings.items():
            first: Embedding | None = getattr(self, name)
            if now is not None and (first is None or not all(map(_equal, now.leaves, first.leaves))):
                raise InputError(
                    f"The pipeline's {name} embedding changed during its call. Steering started from the first embedding, and would "
                    "discard the change. Do not change `prompt_embeds`, or steer your own loop with tta_core.prepare."
                )


@attrs.frozen
class Steered:
    """The pipeline, the method, the reward, and the user's arguments about the call."""

    backbone: FamilyBackbone
    method: Method
    reward: object
    prompts: tuple[str, ...]
    guidance: float | None
    eta: float | None
    seed: int
    snapshots: list[Snapshot] = attrs.field(factory=list)

    def branches(self) -> tuple[int, ...]:
        """The possible numbers of guidance branches in a batched call, as far as the pipeline shows them."""
        guided = getattr(self.backbone.pipeline, "do_classifier_free_guidance", None)
        if guided is None and self.guidance is not None:
            guided = self.guidance > 1
        return (1, 2) if guided is None else (2,) if guided else (1,)

    def begun(self, call: DenoiserCall, x: Latents, text: Embedding, null: Embedding | None) -> HookedRun:
        """The run that starts at this call, the first of the pipeline. Raises `IncompatibleError` for a denoiser with a cache."""
        check_repeatable(self.backbone.modules(again=True))
        scheduler = self._from(call, self._scheduler((x.shape[1], x.shape[2], x.shape[3])))
        guidance = guidance_of(self, null is not None)
        height, width = self._pixels(x)

        def run(lockstep: LockstepRun) -> None:
            with prepare(
                self.prompts,
                backbone=lockstep_backbone(self.backbone, lockstep),
                scheduler=LockstepScheduler(scheduler, lockstep),
                method=self.method,
                reward=self.reward,
                guidance=1.0 if null is None else LockstepGuidance(lockstep, guidance),
                seed=self.seed,
                height=height,
                width=width,
                text=in_dtype(text, torch.float32),
                null=null and in_dtype(null, torch.float32),
            ) as prepared:
                try:
                    for snapshot in prepared.method.align(prepared.problem):
                        if snapshot.images is None:  # the end of the method's own chain is not the pipeline's
                            self.snapshots.append(snapshot)
                except TTAError:
                    raise
                except Exception as error:
                    raise RunError(
                        f"{describe(self.method)} inside a pipeline's call raised {error_text(error)}. It happened in {raised_at(error)}. "
                        "Report it to the author of the code there."
                    ) from error

        return HookedRun(scheduler.steps, text, null, LockstepRun(run, self.backbone.device))

    def _pixels(self, x: Latents) -> tuple[int, int]:
        """The image size that belongs to x, in pixels."""
        side = pixels_of(self.backbone.pipeline)
        return x.shape[2] * side, x.shape[3] * side

    def _scheduler(self, shape: tuple[int, int, int]) -> Scheduler:
        """The pipeline's sampler as a table, with the times that the pipeline has set."""
        native = self.backbone.pipeline.scheduler
        times = [float(time) for time in native.timesteps]
        make: Any = plugins().registry.find("schedulers", "native").load()
        sampler = evolve(NativeSampler.of(self.backbone.sampler), is_set=True)
        scheduler: Scheduler = make(sampler, len(times), self.eta, shape)
        if [step.time for step in scheduler.steps] != times:
            raise IncompatibleError(
                f"Cannot steer {type(native).__name__} inside the pipeline's call. This is because its steps are not Gaussian "
                "transitions of a table; align would replace it, but the pipeline would not. Give the pipeline a DDIM, Euler, "
                "DPM-Solver++ 2M, LCM, TCD or flow Euler scheduler."
            )
        return scheduler

    def _from(self, call: DenoiserCall, scheduler: Scheduler) -> LastSteps:
        """The steps from a call on: all of them, or those that an image-to-image pipeline runs."""
        skipped = next((step.index for step in scheduler.steps if call.is_at(step.time)), None)
        if skipped is None:
            raise IncompatibleError(
                f"Cannot steer a denoiser that is called at time {call.time:g}. This is because it is not one of the sampler's times. Use "
                "a pipeline that passes its scheduler's times to its denoiser."
            )
        return LastSteps(scheduler, len(scheduler.steps) - skipped)


def guidance_of(steered: Steered, both: bool | None) -> float:
    """The current guidance of the pipeline's call. `both`: whether the call has both branches; None: each branch has its own call.

    Raises:
        InputError: neither the pipeline nor the user gives it, or they give different values.
    """
    pipeline, given = steered.backbone.pipeline, steered.guidance
    tells = steered.backbone.family.traits.tells_guidance
    own = getattr(pipeline, "guidance_scale", None) if tells else None
    if both is None:
        both = bool(pipeline.do_classifier_free_guidance) if tells else given is not None and given > 1
    if not both:
        return 1.0
    guidance = own if given is None else given
    if guidance is None:
        raise InputError(f"{name_of(steered.backbone)} has no `guidance_scale` to read. Give steering_hook the guidance of the call.")
    if own not in (None, guidance):
        raise InputError(f"steering_hook was given guidance {given:g}, but the pipeline is called with {own:g}. Leave it out.")
    return float(guidance)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
