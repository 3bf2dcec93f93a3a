"""The memory policy protocol: a function of a setup, which composes with others and undoes its changes."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Protocol, runtime_checkable

import attrs
import torch

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Method
from tta_core.protocols.reward import Reward, networks_of
from tta_core.protocols.scheduler import Scheduler
from tta_core.values.ledger import Meter
from tta_core.values.schedules import Schedule
from tta_core.values.typing import Images, Latents, frozen

# A cosine's slope with respect to a pixel is 1e-5 to 1e-4, mostly below what float16 holds in full.
HALF_LOSS_SCALE = 1024.0


@runtime_checkable
class Decoder(Protocol):
    """Clean latents to images, 0 to 1, not clamped."""

    def __call__(self, x0: Latents, /) -> Images:
        """Decode."""
        ...


@frozen
class Setup:
    """Everything that a policy can wrap or change before a run.

    Attributes:
        look_ahead: the decoder for look-aheads inside the optimisation; None: the backbone's own.
        segment: how many steps of a differentiated chain share one checkpoint; None keeps all activations.
        loss_scale: multiplies the objective before its backward, and is divided out again; `HALF_LOSS_SCALE` where a network came in
            float16, 1 elsewhere.
        prompts, height, width, guidance: of the run: the batch, the size in pixels, the weight of the guidance; None: the backbone's
            default.
        prices, meter: with which the run's ledger counts FLOPs and peak memory.
        remarks: notes of policies for the run's record, such as which policies "auto" chose, and why.
        undo: callbacks that restore everything at the end of the run, also after an error.
    """

    backbone: Backbone
    scheduler: Scheduler
    reward: Reward
    method: Method
    look_ahead: Decoder | None = None
    segment: int | None = None
    loss_scale: float = attrs.field(default=attrs.Factory(lambda self: HALF_LOSS_SCALE if _in_half(self) else 1.0, takes_self=True))
    prompts: tuple[str, ...] = ("",)
    height: int | None = None
    width: int | None = None
    guidance: float | Schedule | None = None
    prices: Mapping[str, float] = attrs.field(factory=dict, repr=False)
    meter: Meter | None = attrs.field(default=None, repr=False)
    remarks: tuple[str, ...] = ()
    undo: ExitStack = attrs.field(factory=ExitStack, repr=False)


def _in_half(setup: Setup) -> bool:
    networks = (*setup.backbone.networks.values(), *networks_of(setup.reward).values())
    return any(parameter.dtype == torch.float16 for network in networks for parameter in network.parameters())


@runtime_checkable
class MemoryPolicy(Protocol):
    """Setup -> Setup. `tolerance` is 0 for an exact policy (same outputs and gradients up to the order of sums), else the relative
    difference of a prediction that it may cause."""

    @property
    def tolerance(self) -> float:
        """Relative difference it may cause; 0 for an exact policy."""
        ...

    def __call__(self, setup: Setup) -> Setup:
        """The setup under this policy; `setup.undo` undoes every change that it makes in place."""
        ...


@runtime_checkable
class Chooser(MemoryPolicy, Protocol):
    """A policy that chooses policies, by predicting what a run needs. The registry's entry "auto" is one, made with a limit in bytes."""

    def leaner(self) -> "Chooser | None":
        """The chooser for another attempt after its choice ran out of memory; None if nothing is left to try."""
        ...

    def advice(self, setup: Setup) -> str:
        """The message for a run that ran out of memory: its predicted need, and which policies to try next."""
        ...
