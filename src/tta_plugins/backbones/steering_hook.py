"""Runs a per-step method inside the user's own `pipeline(...)` call, by hooks before and after the denoiser.

The pipeline keeps its loop, its scheduler, its noise and all other inputs of its denoiser. The method gets x at every step, and the
denoiser is called with the embeddings that the method has computed. If the method changes the clean estimate, the denoiser's output is
replaced by the one that leads to this estimate. Methods that change x, whole-chain methods (DNO, best-of-n) and particles need the loop of
`align`.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

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

_steered: WeakSet[nn.Module] = WeakSet()  # the denoisers of the hooks that are open


@contextmanager
def steered(
    backbone: FamilyBackbone,
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
        IncompatibleError: a whole-chain method, particles, or a sampler that cannot be read as a table.
        InputError: the pipeline is steered already; raised in its call: under `torch.inference_mode()`, or for another number of samples
            than prompts.

    Warns:
        UserWarning: at the end, if the pipeline was not called.
    """
    refuse(method.needs)
    denoiser = backbone.networks["denoiser"]
    if denoiser in _steered:
        raise InputError("This pipeline is already steered by an open steering_hook. Leave that context before you open another.")
    calls = FollowedCalls(Steered(backbone, method, reward, as_prompts(prompts), guidance, eta, seed))
    apart = backbone.family.traits.branches == "apart"
    steering = _Steering(calls, BranchesApart(calls) if apart else BranchesTogether(calls))
    compiled, denoiser._compiled_call_impl = denoiser._compiled_call_impl, None  # if compiled in place: hooks cannot be traced
    hooks = [  # they are not traced if the denoiser is compiled later
        denoiser.register_forward_pre_hook(torch.compiler.disable(steering.before), with_kwargs=True),
        denoiser.register_forward_hook(torch.compiler.disable(steering.after)),
    ]
    _steered.add(denoiser)
    try:
        yield calls.steered.snapshots
        if calls.run is None:
            warnings.warn("The pipeline of steering_hook was not called inside its context, so nothing was steered.", stacklevel=3)
    finally:
        _steered.discard(denoiser)
        denoiser._compiled_call_impl = compiled
        for hook in hooks:
            hook.remove()
        steering.end()


def refuse(needs: Needs) -> None:
    """Raises `IncompatibleError`, with the reason, for a method that cannot run inside a pipeline's own call."""
    parts = needs.variable.parts if isinstance(needs.variable, Product) else (needs.variable,)
    if needs.moves_x:
        raise IncompatibleError(MOVES_X)
    if needs.image:
        raise IncompatibleError(
            "Cannot use a method that edits an image inside a pipeline's own call. This is because the call chooses its own start. Use "
            "tta_core.align with `image=`."
        )
    if needs.chain or any(isinstance(part, Noise) for part in parts):
        raise IncompatibleError(ONE_PASS)
    if not needs.one_trajectory:
        raise IncompatibleError(PARTICLES if needs.children else ONE_PASS)


@attrs.frozen
class _Steering:
    """The hooks before and after the denoiser. Calls by the method itself are not changed."""

    calls: FollowedCalls
    branches: BranchesApart | BranchesTogether

    def before(self, denoiser: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Replaced | None:
        """The arguments, with the method's embeddings in place of the pipeline's."""
        if self.calls.is_own:
            return None
        if torch.is_inference_mode_enabled():
            raise InputError(
                "Cannot steer under torch.inference_mode(). This is because its tensors cannot have gradients. Use torch.no_grad(), which "
                "the pipeline's call already uses."
            )
        return self.branches.before(DenoiserCall.made(self.calls.steered.backbone, args, kwargs))

    def after(self, denoiser: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Changes the output in place if the method changed the clean estimate."""
        if not self.calls.is_own:
            self.branches.after(output)

    def end(self) -> None:
        """Ends the run, and waits until it has restored everything."""
        self.branches.end()
        self.calls.end()
