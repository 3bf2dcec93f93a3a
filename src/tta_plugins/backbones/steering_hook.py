"""A per-step method inside the user's own `pipeline(...)` call, by a hook before the denoiser.

The pipeline keeps its loop, its scheduler and its noise; the method sees x at every step, the first included, and the denoiser is called
with the embeddings that the method arrives at. Whole-chain methods (DNO, best-of-n) and particles need a loop of their own: `align`.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from tta_core._typing import Latents
from tta_core.controls import Embedding
from tta_core.errors import IncompatibleError, InputError
from tta_core.method import Method, Snapshot
from tta_core.plugins import plugins
from tta_core.preparation import as_prompts, prepare
from tta_core.provenance import name_of
from tta_core.scheduler import Scheduler, Step
from tta_plugins.backbones.following import Follower, FollowingBackbone, FollowingScheduler
from tta_plugins.backbones.pipeline import PipelineBackbone, in_dtype

Arguments = tuple[Any, ...]


@contextmanager
def steered(
    drawing: PipelineBackbone,
    method: Method,
    reward: object,
    *,
    prompts: str | Sequence[str],
    guidance: float | None,
    eta: float | None,
    seed: int,
) -> Iterator[list[Snapshot]]:
    """`tta_core.steering_hook` for Stable Diffusion 1 to 3, SDXL and PixArt: denoisers that see spatial latents, so not FLUX.

    Raises:
        IncompatibleError: for packed latents, particles, a sampler outside the family.
        InputError: in the pipeline's call, under `torch.inference_mode()`, or if the prompts are not as many as its samples.
    """
    if drawing.family.packs:
        raise IncompatibleError(
            f"Cannot steer {name_of(drawing)} by a hook. This is because its denoiser is not shown the latents as they are sampled, but "
            "packed into tokens. Use tta_core.align."
        )
    steering = _Steering(drawing, method, reward, as_prompts(prompts), guidance, eta, seed)
    hook = drawing.networks["denoiser"].register_forward_pre_hook(steering.before, with_kwargs=True)
    try:
        yield steering.snapshots
    finally:
        hook.remove()
        steering.end()


@attrs.frozen
class _Run:
    """One call of the pipeline, followed."""

    steps: tuple[Step, ...]
    follower: Follower


@attrs.define
class _Steering:
    """The hook, and what it remembers between the denoiser's calls."""

    drawing: PipelineBackbone
    method: Method
    reward: object
    prompts: tuple[str, ...]
    guidance: float | None
    eta: float | None
    seed: int
    snapshots: list[Snapshot] = attrs.field(factory=list)
    run: _Run | None = None
    index: int = 0

    def before(self, denoiser: nn.Module, args: Arguments, kwargs: dict[str, Any]) -> tuple[Arguments, dict[str, Any]] | None:
        """Called before the denoiser: its arguments, with the method's embeddings in place of the pipeline's."""
        if self.run is not None and threading.current_thread() is self.run.follower.thread:
            return None
        if torch.is_inference_mode_enabled():
            raise InputError(
                "Cannot steer under torch.inference_mode(). This is because its tensors never get gradients. Use torch.no_grad(), which "
                "the pipeline's call brings by itself."
            )
        (sample, time), rows = _seen(args, kwargs), len(self.prompts)
        if sample.shape[0] not in (rows, 2 * rows):
            raise InputError(
                f"The pipeline draws {sample.shape[0]} rows, but steering_hook has {rows} prompts. Give it one for each sample."
            )
        told = self.drawing.family.embedding(kwargs)
        null = told[:rows] if sample.shape[0] > rows else None
        if self.run is None or self.index == len(self.run.steps):
            self.end()
            self.run, self.index = self._started(sample[:rows], told[-rows:], null), 0
        step = self.run.steps[self.index]
        if step.time != time:
            raise InputError(f"The pipeline is at time {time:g}, but {step.time:g} comes next. After an interrupted call, open a new hook.")
        self.index += 1
        steered = self.run.follower.answer(sample[:rows].float() / step.input_scale)
        embedding = in_dtype(_stacked(*steered), told.tokens.dtype)
        return args, {**kwargs, **self.drawing.family.conditioning(embedding)}

    def end(self) -> None:
        """Ends a run, and waits until it has handed everything back."""
        if self.run is not None:
            self.run.follower.abandon()
        self.run = None

    def _started(self, x: Latents, text: Embedding, null: Embedding | None) -> _Run:
        scheduler = self._scheduler((x.shape[1], x.shape[2], x.shape[3]))
        guidance, pixels = 1.0 if null is None else self._guidance(), int(self.drawing.pipeline.vae_scale_factor)

        def run(follower: Follower) -> None:
            with prepare(
                self.prompts,
                backbone=FollowingBackbone(self.drawing, follower),
                scheduler=FollowingScheduler(scheduler, follower, guided=guidance != 1),
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

        return _Run(tuple(scheduler.steps), Follower(run, self.drawing.device))

    def _scheduler(self, shape: tuple[int, int, int]) -> Scheduler:
        """The pipeline's sampler as a table, checked against the times that the pipeline has set."""
        native = self.drawing.pipeline.scheduler
        times = [float(time) for time in native.timesteps]
        make: Any = plugins().registry.find("schedulers", "native").load()
        scheduler: Scheduler = make(self.drawing.sampler, len(times), self.method.needs.eta if self.eta is None else self.eta, shape)
        if [step.time for step in scheduler.steps] != times:
            raise IncompatibleError(
                f"Cannot steer {type(native).__name__} at these times. This is because they are not what it sets for this number of steps: "
                "timesteps or sigmas were passed, or it is outside the family. Leave them out, or give the pipeline a DDIM, Euler, "
                "DPM-Solver++ 2M or flow Euler scheduler."
            )
        return scheduler

    def _guidance(self) -> float:
        guidance = getattr(self.drawing.pipeline, "guidance_scale", None) if self.guidance is None else self.guidance
        if guidance is None:
            raise InputError(f"{name_of(self.drawing)} does not tell its guidance. Give steering_hook the guidance of the call.")
        return float(guidance)


def _seen(args: Arguments, kwargs: Mapping[str, Any]) -> tuple[Latents, float]:
    """What the denoiser is shown, and the time."""
    sample = args[0] if args else kwargs["hidden_states"]
    time = args[1] if len(args) > 1 else kwargs["timestep"]
    return sample, float(time.flatten()[0] if isinstance(time, Tensor) else time)


def _stacked(text: Embedding, null: Embedding | None) -> Embedding:
    """The branches as the pipeline batches them: null first."""
    if null is None:
        return text
    pooled = None if text.pooled is None or null.pooled is None else torch.cat([null.pooled, text.pooled])
    mask = None if text.mask is None or null.mask is None else torch.cat([null.mask, text.mask])
    extra = {name: torch.cat([null.extra[name], text.extra[name]]) for name in text.extra}
    return Embedding(torch.cat([null.tokens, text.tokens]), pooled, mask, extra)
