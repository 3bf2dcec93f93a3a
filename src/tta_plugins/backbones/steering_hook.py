"""A per-step method inside the user's own `pipeline(...)` call, by a hook before the denoiser.

The pipeline keeps its loop, its scheduler and its noise, and what else it passes to its denoiser; the method sees x at every
step, the first included, and the denoiser is called with the embeddings that the method arrives at; where it moves the clean estimate, the
denoiser's output becomes the one that says so. Methods that move x, whole-chain methods (DNO, best-of-n) and particles need a loop of
their own: `align`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.method import Method, Needs, Snapshot
from tta_core.protocols.variables import Noise, Product
from tta_core.values.arguments import as_prompts
from tta_plugins.backbones.branches_apart import BranchesApart
from tta_plugins.backbones.branches_together import BranchesTogether
from tta_plugins.backbones.denoiser_call import DenoiserCall, Replaced
from tta_plugins.backbones.family import FamilyBackbone
from tta_plugins.backbones.followed_calls import FollowedCalls
from tta_plugins.backbones.hook_refusals import MOVES_X, ONE_PASS, PARTICLES
from tta_plugins.backbones.hooked_run import Steered


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
    calls = FollowedCalls(Steered(drawing, method, reward, as_prompts(prompts), guidance, eta, seed))
    apart = drawing.family.traits.branches == "apart"
    steering = _Steering(calls, BranchesApart(calls) if apart else BranchesTogether(calls))
    denoiser = drawing.networks["denoiser"]
    compiled, denoiser._compiled_call_impl = denoiser._compiled_call_impl, None  # compiled in place: a hook cannot be traced
    hooks = [  # which are not traced where the denoiser is compiled from here on
        denoiser.register_forward_pre_hook(torch.compiler.disable(steering.before), with_kwargs=True),
        denoiser.register_forward_hook(torch.compiler.disable(steering.after)),
    ]
    try:
        yield calls.steered.snapshots
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
    if needs.image:
        raise IncompatibleError(
            "Cannot use a method that edits an image inside a pipeline's own call. This is because the call starts where it likes. Use "
            "tta_core.align with `image=`."
        )
    if needs.chain or any(isinstance(part, Noise) for part in parts):
        raise IncompatibleError(ONE_PASS)
    if not needs.one_trajectory:
        raise IncompatibleError(PARTICLES if needs.children else ONE_PASS)


@attrs.frozen
class _Steering:
    """The hooks before and after the denoiser. What the method itself evaluates is left as it is."""

    calls: FollowedCalls
    branches: BranchesApart | BranchesTogether

    def before(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Replaced | None:
        """The arguments, with the method's embeddings in place of the pipeline's."""
        if self.calls.is_own:
            return None
        if torch.is_inference_mode_enabled():
            raise InputError(
                "Cannot steer under torch.inference_mode(). This is because its tensors never get gradients. Use torch.no_grad(), which "
                "the pipeline's call brings by itself."
            )
        return self.branches.before(DenoiserCall.made(self.calls.steered.drawing, args, kwargs))

    def after(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """The output, changed in place where the method moved the clean estimate."""
        if not self.calls.is_own:
            self.branches.after(output)

    def end(self) -> None:
        """Ends the run, and waits until it has handed everything back."""
        self.branches.end()
        self.calls.end()
