"""The fastest policies whose prediction fits the device."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import cast

import attrs
import torch

from tta_core.errors import IncompatibleError, InputError, OutOfMemoryError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.memory import MemoryPolicy, Setup
from tta_core.values.typing import evolve, frozen
from tta_plugins.cost.fake_setup import on_fake_tensors
from tta_plugins.cost.memory_profile import memory_profile

_log = logging.getLogger(__name__)

Choice = tuple[tuple[str, tuple[tuple[str, object], ...]], ...]

_LADDER: tuple[Choice, ...] = (
    (("frozen-convolutions", ()),),
    (("frozen-convolutions", ()), ("checkpointing", (("components", ("decoder",)),))),
    (("frozen-convolutions", ()), ("segments", ())),
    (("frozen-convolutions", ()), ("segments", ()), ("checkpointing", (("components", ("decoder",)),))),
    (("offload", ()), ("frozen-convolutions", ()), ("segments", ()), ("checkpointing", ())),
    (("offload", ()), ("frozen-convolutions", ()), ("segments", ()), ("checkpointing", ()), ("chunked", ())),
)
_HALF: Choice = (("bf16", ()),)


@frozen
class Auto:
    """The first choice of a ladder, fastest first, whose predicted peak fits. Exact choices come first: bfloat16 is taken only where no
    exact one fits.

    Attributes:
        limit: bytes; None: the device's memory (of the CPU: the machine's).
        share: of the limit that a prediction may fill. Allocators and libraries need some that no prediction sees.
    """

    limit: int | None = None
    share: float = 0.9
    tolerance: float = attrs.field(default=0.05, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if (self.limit is not None and self.limit <= 0) or not 0 < self.share <= 1:
            raise InputError(f"{self!r} cannot choose: the limit is a number of bytes above 0, and the share of it in (0, 1].")

    def __call__(self, setup: Setup) -> Setup:
        """The setup under the chosen policies. Raises `OutOfMemoryError` if none fits."""
        choice, remark = self._chosen(setup, self.limit or memory_of(setup.backbone.device))
        _log.info(remark)
        for policy in _made(choice):
            setup = policy(setup)
        return evolve(setup, remarks=(*setup.remarks, remark))

    def leaner(self) -> "Auto | None":
        """The chooser that leaves more room; None when a tenth of the limit was not enough."""
        return evolve(self, share=0.6 * self.share) if self.share > 0.1 else None

    def advice(self, setup: Setup) -> str:
        """The prediction for this setup, and the least of the ladder."""
        now = memory_profile(setup).total
        with on_fake_tensors(setup) as fake:
            choice, trial = _applicable(fake, _LADDER[-1])
            trial.undo.close()
        leanest = [name for name, _ in choice]
        return (
            f"The run was predicted to need {_size(now)} (allocators and libraries need more). Try memory='auto', which chooses; the "
            f"leanest exact choice is memory={leanest!r}, before it 'bf16'. Or draw fewer prompts at once."
        )

    def _chosen(self, setup: Setup, limit: int) -> tuple[Choice, str]:
        """The first choice that fits, and why; everything is tried on copies without data, which are gone when this returns."""
        tried: dict[Choice, int] = {}
        with on_fake_tensors(setup) as fake:
            for half in ((), _HALF):
                for rung in _LADDER:
                    choice, trial = _applicable(fake, (*half, *rung))
                    with trial.undo:
                        if choice in tried:
                            continue
                        tried[choice] = memory_profile(trial).total
                    if tried[choice] <= self.share * limit:
                        *more, last = (f"{_named(choice)} {_size(total)}" for choice, total in tried.items())
                        too_much = f"; too much: {', '.join(more)}" if more else ""
                        return choice, f"auto chose the fastest within {_size(limit)}: {last} predicted{too_much}"
        raise OutOfMemoryError(
            f"No choice of memory policies fits {_size(limit)}. Predicted: "
            f"{'; '.join(f'{_named(choice)} {_size(total)}' for choice, total in tried.items())}. "
            "Draw fewer prompts at once, or smaller images, or load the networks in half precision."
        )


def _applicable(fake: Setup, choice: Choice) -> tuple[Choice, Setup]:
    """The policies of a choice that do something here, and a setup under them with an undo of its own."""
    trial, kept = evolve(fake, undo=ExitStack()), []
    for named in choice:
        (policy,) = _made((named,))
        try:
            trial = policy(trial)
        except IncompatibleError:
            continue
        kept.append(named)
    return tuple(kept), trial


def _made(choice: Choice) -> list[MemoryPolicy]:
    registry = plugins().registry
    return [cast(Callable[..., MemoryPolicy], registry.find("memory", name).load())(**dict(settings)) for name, settings in choice]


def memory_of(device: torch.device) -> int:
    """Bytes of the device: on CUDA what is free or held by this process, else the machine's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _named(choice: Choice) -> str:
    """As it can be typed: names, with the settings that differ."""
    return " + ".join(name + "".join(f" ({field}={value})" for field, value in settings) for name, settings in choice) or "no policy"


def _size(count: int | float) -> str:
    return f"{count / 1e9:.3g} GB"
