"""Builds a problem from a user's arguments, and restores the networks when the run ends."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event

import attrs
import torch

from tta_core.errors import InputError
from tta_core.plugins import resolve
from tta_core.protocols.memory import Setup
from tta_core.protocols.method import Method
from tta_core.protocols.reward import networks_of
from tta_core.running.embeddings import encoded, encoded_or_given
from tta_core.running.frozen_networks import frozen_networks, on_device, one_policy_at_a_time
from tta_core.running.out_of_memory import explained, ran_out
from tta_core.running.request import Request, takes
from tta_core.running.sampling import guidance_of, sampler_of
from tta_core.running.torch_settings import plain_torch
from tta_core.running.unused import warn_of_unused
from tta_core.solving.from_image import last_steps, origin
from tta_core.solving.problem import Problem
from tta_core.values.arguments import as_negatives, as_prompts, number, of_kind, require_numbers, shown, whole, written
from tta_core.values.images import as_pixels
from tta_core.values.ledger import CudaMeter, Ledger, Meter
from tta_core.values.noise import NoiseSource, keyed_noises
from tta_core.values.provenance import describe
from tta_core.values.typing import frozen


@frozen
class Prepared:
    """A problem and its method, after the memory policies were applied.

    `setup` is what the policies returned, `memory` their record, `request` the user's arguments, and `negatives` the negative prompts from
    which the null embedding was encoded; `ended` is set when the context ends.
    """

    problem: Problem
    method: Method
    setup: Setup
    request: Request
    memory: tuple[str, ...] = ()
    negatives: tuple[str | None, ...] = ()
    ended: Event = attrs.field(factory=Event, repr=False)


@takes(Request)
@contextmanager
def prepare(request: Request) -> Iterator[Prepared]:
    """The problem that `align` would solve, for code that runs methods itself: `*_, last = method.align(problem)`.

    Arguments are `align`'s; `budget` and `observers` are for `run(prepared)`. Inside the context the networks are frozen; afterwards, also
    after an exception, they are restored.
    """
    with prepared(request) as made:
        yield made


@contextmanager
def prepared(request: Request) -> Iterator[Prepared]:
    """The same as `prepare`, with the arguments as a `Request`."""
    with plain_torch(), _prepared(request) as made:
        yield made


@contextmanager
def _prepared(request: Request) -> Iterator[Prepared]:
    prompts = as_prompts(request.prompts)
    negatives = as_negatives(request.negative, len(prompts))
    strength = number("strength", request.strength)
    if not isinstance(request.baseline, bool):
        raise InputError(f"baseline is {shown(request.baseline)}, but it takes True or False.")
    of_kind("latents", request.latents, torch.Tensor)
    of_kind("noises", request.noises, NoiseSource)
    latents = request.latents
    if latents is not None:
        require_numbers("latents", latents)
    backbone = resolve.backbone(request.backbone)
    reward, method = resolve.reward(request.reward, backbone), resolve.method(request.method)
    pixels = None if request.image is None else as_pixels(request.image, len(prompts))
    height, width = backbone.defaults.height, backbone.defaults.width
    if pixels is not None:
        height, width = pixels.shape[2:]
    height = height if request.height is None else whole("height", request.height)
    width = width if request.width is None else whole("width", request.width)
    shape = backbone.latent_shape(height, width)
    table = sampler_of(request, backbone, shape, method.needs.eta)
    sampler = table if pixels is None else last_steps(table, strength)
    guidance = guidance_of(request.guidance, backbone, len(sampler.steps))
    networks = [*networks_of(backbone).values(), *networks_of(reward).values()]
    encoding = encoded_or_given(backbone, request.text, request.null)
    setup = Setup(encoding, sampler, reward, method, prompts=prompts, height=height, width=width, guidance=guidance)
    policies = resolve.policies(request.memory)
    with ExitStack() as stack:
        stack.enter_context(one_policy_at_a_time(networks, policies))
        stack.enter_context(frozen_networks(networks))
        stack.enter_context(on_device(networks_of(reward).values(), backbone.device))
        stack.enter_context(setup.undo)
        for policy in policies:
            setup = policy(setup)
            if not isinstance(setup, Setup):
                raise InputError(
                    f"The memory policy {describe(policy)} returned {shown(setup)}. Return a changed copy of the Setup that it gets."
                )
        warn_of_unused(request, setup.scheduler, method, backbone, guidance, negatives)
        keyed = keyed_noises(prompts, request.seed, shape, backbone.device)
        source = keyed if request.noises is None else request.noises
        noises = [source(row, 0) for row in range(len(setup.scheduler.steps) + 1)]
        for name, given in (*(("noises", row) for row in noises), ("latents", latents)):
            if given is not None and given.shape != (len(prompts), *shape):
                raise InputError(f"{name} have the shape {tuple(given.shape)}, but this run starts from {(len(prompts), *shape)}.")
        rows = torch.stack(noises)
        if request.noises is not None:
            require_numbers("noises", rows)
        if latents is not None:
            rows[0] = latents
        controls = encoded(setup.backbone, prompts, negatives, (height, width), rows, request.text, request.null)
        problem = Problem(
            backbone=setup.backbone,
            scheduler=setup.scheduler,
            reward=setup.reward,
            prompts=prompts,
            controls=controls,
            noises=source,
            origin=None if pixels is None else origin(backbone, pixels, rows[0]),
            guidance=guidance,
            size=(height, width),
            look_ahead_decoder=setup.look_ahead,
            segment=setup.segment,
            loss_scale=setup.loss_scale,
            ledger=Ledger(prices=setup.prices, meter=setup.meter or _meter(backbone.device)),
        )
        try:
            problem = problem.check(setup.method.needs)
        except Exception as error:
            if ran_out(error):
                raise explained(setup) from error
            raise
        made = Prepared(problem, setup.method, setup, request, (*map(written, policies), *setup.remarks), negatives)
        stack.callback(made.ended.set)
        yield made


def _meter(device: torch.device) -> Meter | None:
    return CudaMeter(device) if device.type == "cuda" else None
