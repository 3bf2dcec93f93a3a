"""From a user's words to a problem, ready to run, and everything handed back afterwards."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.protocols.reward import networks_of
from tta_core.running.frozen_networks import frozen_networks, on_device
from tta_core.running.sampling import guidance_of, sampler_of
from tta_core.solving.from_image import last_steps, origin
from tta_core.solving.problem import Problem
from tta_core.values.arguments import as_negatives, as_prompts, number, of_kind, whole
from tta_core.values.controls import Controls, Embedding
from tta_core.values.ledger import CudaMeter, Ledger, Meter
from tta_core.values.noise import NoiseSource, keyed_noises
from tta_core.values.pictures import as_pixels
from tta_core.values.schedules import Schedule
from tta_core.values.typing import Latents, frozen


@frozen
class Prepared:
    """A problem and the method to solve it with, after the memory policies; `memory` is their record, `setup` what they gave.

    `negatives` are the negative prompts that the null embedding was asked for; `given` names the tensors and pictures that were handed in,
    `asked` the scheduler, if a name was given.
    """

    problem: Problem
    method: Method
    setup: Setup
    memory: tuple[str, ...] = ()
    negatives: tuple[str | None, ...] = ()
    given: tuple[str, ...] = ()
    asked: str = ""


@contextmanager
def prepare(
    prompts: str | Sequence[str],
    *,
    backbone: object = "shapes",
    method: object = "date",
    reward: object = "clip",
    memory: object = (),
    scheduler: object = "native",
    steps: int | None = None,
    timesteps: Sequence[float | int] | None = None,
    sigmas: Sequence[float | int] | None = None,
    guidance: float | int | Schedule | None = None,
    eta: float | Schedule | None = None,
    seed: int | Sequence[int] = 0,
    negative: str | Sequence[str] | None = None,
    height: int | None = None,
    width: int | None = None,
    latents: Latents | None = None,
    noises: NoiseSource | None = None,
    text: Embedding | None = None,
    null: Embedding | None = None,
    image: object = None,
    strength: float = 0.8,
) -> Iterator[Prepared]:
    """The problem that `align` would solve, for those who run methods themselves: `*_, last = method.align(problem)`.

    Arguments are `align`'s. Inside the context the networks are frozen; on leaving it, also by an exception, they are as they were.
    """
    if torch.is_inference_mode_enabled():
        raise InputError("Cannot align under torch.inference_mode(). This is because its tensors never get gradients. Use torch.no_grad().")
    prompts = as_prompts(prompts)
    negatives = as_negatives(negative, len(prompts))
    strength = number("strength", strength)
    of_kind("latents", latents, torch.Tensor)
    of_kind("noises", noises, NoiseSource)
    of_kind("text", text, Embedding)
    of_kind("null", null, Embedding)
    if latents is not None and not latents.isfinite().all():
        raise InputError("latents hold a NaN or an infinity. Give standard normal noise.")
    drawing = resolve.backbone(backbone)
    judge, solver = resolve.reward(reward, drawing), resolve.method(method)
    pixels = None if image is None else as_pixels(image, len(prompts))
    if height is None:
        height = drawing.defaults.height if pixels is None else pixels.shape[2]
    if width is None:
        width = drawing.defaults.width if pixels is None else pixels.shape[3]
    height, width = whole("height", height), whole("width", width)
    shape = drawing.latent_shape(height, width)
    table = sampler_of(scheduler, drawing, shape, steps, timesteps, sigmas, eta, solver.needs.eta)
    sampler = table if pixels is None else last_steps(table, strength)
    guidance = guidance_of(guidance, drawing, len(sampler.steps))
    networks = [*drawing.networks.values(), *networks_of(judge).values()]
    setup = Setup(drawing, sampler, judge, solver, prompts=prompts, height=height, width=width, guidance=guidance)
    policies = resolve.policies(memory)
    with ExitStack() as stack:
        stack.enter_context(frozen_networks(networks))
        stack.enter_context(on_device(networks_of(judge).values(), drawing.device))
        stack.enter_context(setup.undo)
        for policy in policies:
            setup = policy(setup)
        keyed = keyed_noises(prompts, seed, shape, drawing.device)
        source = keyed if noises is None else noises
        rows = torch.stack([source(row, 0) for row in range(len(setup.scheduler.steps) + 1)])
        for name, given in (("noises", rows[0]), ("latents", latents)):
            if given is not None and given.shape != (len(prompts), *shape):
                raise InputError(f"{name} have the shape {tuple(given.shape)}, but this run starts from {(len(prompts), *shape)}.")
        if latents is not None:
            rows[0] = latents
        controls = _encode(setup.backbone, prompts, negatives, height, width, rows, text, null)
        problem = Problem(
            backbone=setup.backbone,
            scheduler=setup.scheduler,
            reward=setup.reward,
            prompts=prompts,
            controls=controls,
            noises=source,
            origin=None if pixels is None else origin(drawing, pixels, rows[0]),
            guidance=guidance,
            size=(height, width),
            look_ahead_decoder=setup.look_ahead,
            segment=setup.segment,
            loss_scale=setup.loss_scale,
            ledger=Ledger(prices=setup.prices, meter=setup.meter or _meter(drawing.device)),
        )
        problem = problem.check(setup.method.needs)
        handed = {"latents": latents, "noises": noises, "text": text, "null": null, f"image, strength {strength:g}": image}
        names = tuple(name for name, value in handed.items() if value is not None)
        asked = scheduler if isinstance(scheduler, str) else ""
        yield Prepared(problem, setup.method, setup, (*map(repr, policies), *setup.remarks), negatives, names, asked)


def _meter(device: torch.device) -> Meter | None:
    return CudaMeter(device) if device.type == "cuda" else None


def _encode(
    backbone: Backbone,
    prompts: tuple[str, ...],
    negatives: tuple[str | None, ...],
    height: int,
    width: int,
    noise: torch.Tensor,
    text: Embedding | None,
    null: Embedding | None,
) -> Controls:
    for name, given in (("text", text), ("null", null)):
        if given is not None and given.tokens.shape[0] != len(prompts):
            raise InputError(f"{name} has {given.tokens.shape[0]} rows, but there are {len(prompts)} prompts. Give one row for each.")
    with torch.no_grad():
        text = text or backbone.encode(prompts, height, width)
        null = null or backbone.encode_null(negatives, height, width)
    return Controls(text, null, noise)
