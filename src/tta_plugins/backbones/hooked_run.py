"""A method's run beside one call of the pipeline: begun at the call's first step, and asked for its answer at each."""

from typing import Any

import attrs
import torch

from tta_core.errors import IncompatibleError, InputError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.method import Method, Snapshot
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.scheduler import Scheduler
from tta_core.running.prepare import prepare
from tta_core.solving.last_steps import LastSteps
from tta_core.values.controls import Embedding
from tta_core.values.provenance import name_of
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
    """A run beside one call of the pipeline; `text` and `null` are the embeddings that the pipeline gives its denoiser."""

    steps: tuple[Step, ...]
    text: Embedding
    null: Embedding | None
    lockstep: LockstepRun

    def answer(self, call: DenoiserCall, x: Latents, guidance: float) -> Answer:
        """The method's answer at this call."""
        return self.lockstep.answer(Place(x, call, guidance))

    def check_unchanged(self, **told: Embedding | None) -> None:
        """Raises `InputError` if the pipeline gives its denoiser another embedding than at its first step."""
        for name, now in told.items():
            began: Embedding | None = getattr(self, name)
            if now is not None and (began is None or not all(map(_equal, now.leaves, began.leaves))):
                raise InputError(
                    f"The pipeline's {name} embedding changed in the middle of its call. Steering began from the first one, and would "
                    "discard the change. Leave `prompt_embeds` to the hook, or steer a loop of your own with tta_core.prepare."
                )


@attrs.frozen
class Steered:
    """The pipeline, the method, the reward, and what the user said about the call."""

    drawing: FamilyBackbone
    method: Method
    reward: object
    prompts: tuple[str, ...]
    guidance: float | None
    eta: float | None
    seed: int
    snapshots: list[Snapshot] = attrs.field(factory=list)

    def branches(self) -> tuple[int, ...]:
        """How many guidance branches a batched call may have, as far as the pipeline says."""
        guided = getattr(self.drawing.pipeline, "do_classifier_free_guidance", None)
        if guided is None and self.guidance is not None:
            guided = self.guidance > 1
        return (1, 2) if guided is None else (2,) if guided else (1,)

    def begun(self, call: DenoiserCall, x: Latents, text: Embedding, null: Embedding | None) -> HookedRun:
        """The run of a call whose first step this is. Raises `IncompatibleError` for a denoiser whose output depends on its last calls."""
        check_repeatable(self.drawing.modules(again=True))
        scheduler = self._from(call, self._scheduler((x.shape[1], x.shape[2], x.shape[3])))
        guidance = guidance_of(self, null is not None)
        height, width = self._pixels(x)

        def run(lockstep: LockstepRun) -> None:
            with prepare(
                self.prompts,
                backbone=lockstep_backbone(self.drawing, lockstep),
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
                for snapshot in prepared.method.align(prepared.problem):
                    if snapshot.images is None:  # the end of the method's own chain is not the pipeline's
                        self.snapshots.append(snapshot)

        return HookedRun(scheduler.steps, text, null, LockstepRun(run, self.drawing.device))

    def _pixels(self, x: Latents) -> tuple[int, int]:
        """The size whose latents are x's."""
        side = pixels_of(self.drawing.pipeline)
        return x.shape[2] * side, x.shape[3] * side

    def _scheduler(self, shape: tuple[int, int, int]) -> Scheduler:
        """The pipeline's sampler as a table, as the pipeline has set it."""
        native = self.drawing.pipeline.scheduler
        times = [float(time) for time in native.timesteps]
        make: Any = plugins().registry.find("schedulers", "native").load()
        sampler = evolve(NativeSampler.of(self.drawing.sampler), is_set=True)
        scheduler: Scheduler = make(sampler, len(times), self.eta, shape)
        if [step.time for step in scheduler.steps] != times:
            raise IncompatibleError(
                f"Cannot steer {type(native).__name__} inside the pipeline's call. This is because it is outside the family of one "
                "Gaussian a step, and our loop would replace it, but not the pipeline. Give the pipeline a DDIM, Euler, DPM-Solver++ "
                "2M, LCM, TCD or flow Euler scheduler."
            )
        return scheduler

    def _from(self, call: DenoiserCall, scheduler: Scheduler) -> LastSteps:
        """The steps from a call on: all of them, or those that an image-to-image pipeline takes."""
        skipped = next((step.index for step in scheduler.steps if call.is_at(step.time)), None)
        if skipped is None:
            raise IncompatibleError(
                f"Cannot steer a denoiser that is called at time {call.time:g}. This is because it is none of the sampler's times. Use a "
                "pipeline that passes its scheduler's times to its denoiser."
            )
        return LastSteps(scheduler, len(scheduler.steps) - skipped)


def guidance_of(steered: Steered, both: bool | None) -> float:
    """The guidance of the pipeline's call now; `both`: whether the call has both branches, None where each has its own call.

    Raises:
        InputError: if neither the pipeline nor the user gives it, or if they give different ones.
    """
    pipeline, given = steered.drawing.pipeline, steered.guidance
    tells = steered.drawing.family.traits.tells_guidance
    told = getattr(pipeline, "guidance_scale", None) if tells else None
    if both is None:
        both = bool(pipeline.do_classifier_free_guidance) if tells else given is not None and given > 1
    if not both:
        return 1.0
    guidance = told if given is None else given
    if guidance is None:
        raise InputError(f"{name_of(steered.drawing)} has no `guidance_scale` to read. Give steering_hook the guidance of the call.")
    if told not in (None, guidance):
        raise InputError(f"steering_hook was given guidance {given:g}, but the pipeline is called with {told:g}. Leave it out.")
    return float(guidance)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)
