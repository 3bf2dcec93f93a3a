"""Runs a method inside a pipeline's own call, for backbones that support it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from tta_core.errors import IncompatibleError
from tta_core.plugins import resolve
from tta_core.protocols.method import Method, Snapshot
from tta_core.values.arguments import number
from tta_core.values.provenance import name_of


@runtime_checkable
class Steerable(Protocol):
    """A backbone whose own pipeline's call can be steered while it runs."""

    def steered(
        self, method: Method, reward: object, *, prompts: Sequence[str] | str, guidance: float | None, eta: float | None, seed: int
    ) -> AbstractContextManager[list[Snapshot]]:
        """See `steering_hook`."""
        ...


def steering_hook(
    pipeline: object,
    method: object,
    reward: object,
    *,
    prompts: Sequence[str] | str,
    guidance: float | None = None,
    eta: float | None = None,
    seed: int = 0,
) -> AbstractContextManager[list[Snapshot]]:
    """Steers every call of the user's pipeline inside the context, also with ControlNet, IP-Adapter or a custom loop. The context returns a
    list, to which the method's snapshots are added.

        with steering_hook(pipe, DATE(rho=0.5), reward, prompts=prompts):
            images = pipe(prompts, num_inference_steps=50).images

    Args:
        pipeline: a loaded pipeline whose backbone is `Steerable`.
        method, reward: as in `align`; a method that updates step by step, without particles.
        prompts: the prompts of the pipeline's call, for the reward.
        guidance: the guidance of the pipeline's call; None: read from the pipeline.
        eta: the eta of the pipeline's call, which the hook cannot read; None: the sampler's own (0 for DDIM), as in a call without eta.
        seed: the seed of the method's random directions, if it uses any.

    Raises:
        IncompatibleError: the pipeline or the method cannot be steered this way; the message gives the reason.
        InputError: raised in the pipeline's call: it runs under `torch.inference_mode()`, or has another number of samples than prompts.
    """
    backbone = resolve.backbone(pipeline)
    if not isinstance(backbone, Steerable):
        raise IncompatibleError(
            f"Cannot steer {name_of(backbone)} inside its own call. This is because the backbone does not offer it (`Steerable`). "
            "Use tta_core.align, which has its own loop."
        )
    guidance = None if guidance is None else number("guidance", guidance)
    return backbone.steered(resolve.method(method), reward, prompts=prompts, guidance=guidance, eta=eta, seed=seed)
