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

# The gradient of a cosine by a pixel is 1e-5 to 1e-4, mostly below the smallest normal float16 (6e-5).
HALF_LOSS_SCALE = 1024.0


@runtime_checkable
class Decoder(Protocol):
    """Decodes clean latents to RGB images, 0 to 1, not clamped."""

    def __call__(self, x0: Latents, /) -> Images:
        """The images, one per row of x0."""
        ...


@frozen
class Setup:
    """Everything that a policy can wrap or change before a run.

    Attributes:
        look_ahead: the decoder for look-aheads inside the optimisation; None: the backbone's own.
        segment: how many steps of a differentiated chain share one checkpoint; None keeps all activations.
        loss_scale: the objective is multiplied by it before the backward pass, and gradients are divided by it. `HALF_LOSS_SCALE` if a
            network is in float16, else 1.
        prompts, height, width, guidance: the run's prompts, its size in pixels and its guidance weight; None: the backbone's default.
        prices, meter: the run's ledger counts FLOPs and peak memory with them.
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
    """A function of a `Setup` that returns a changed one. `tolerance` is 0 for an exact policy (same outputs and gradients up to the order
    of sums), else the relative difference of a prediction that it may cause."""

    @property
    def tolerance(self) -> float:
        """The relative difference of a prediction that it may cause; 0 for an exact policy."""
        ...

    def __call__(self, setup: Setup) -> Setup:
        """The setup with this policy applied; callbacks in `setup.undo` undo every change that it makes in place."""
        ...


@runtime_checkable
class Chooser(MemoryPolicy, Protocol):
    """A policy that predicts the memory need of a run and chooses other policies. The registry's entry "auto" is one; it takes a limit in
    bytes."""

    def leaner(self) -> "Chooser | None":
        """The chooser for another attempt after its choice ran out of memory; None if there is no other choice."""
        ...

    def advice(self, setup: Setup) -> str:
        """The message for a run that ran out of memory: its predicted need, and which policies to try next."""
        ...
