"""Chooses the fastest memory policies with which a run is predicted to fit on the device."""

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

_CHOICES: tuple[Choice, ...] = (
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
    """Takes the first of several choices, fastest first, whose predicted peak fits. Exact choices come first; bfloat16 is taken only if
    no exact choice fits.

    Attributes:
        limit: bytes; None: the memory of the device (on the CPU, of the machine).
        share: the share of the limit that a prediction may fill, in (0, 1]. Allocators and libraries need memory that is not predicted.
    """

    limit: int | None = None
    share: float = 0.9
    tolerance: float = attrs.field(default=0.05, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if (self.limit is not None and self.limit <= 0) or not 0 < self.share <= 1:
            raise InputError(f"{self!r} cannot choose: the limit is a number of bytes above 0, and the share of it in (0, 1].")

    def __call__(self, setup: Setup) -> Setup:
        """Apply the chosen policies. Raises `OutOfMemoryError` if no choice fits."""
        choice, remark = self._chosen(setup, self.limit or memory_of(setup.backbone.device))
        _log.info(remark)
        for policy in _made(choice):
            setup = policy(setup)
        return evolve(setup, remarks=(*setup.remarks, remark))

    def leaner(self) -> "Auto | None":
        """An `Auto` that leaves more memory free; None if a tenth of the limit was already too much."""
        return evolve(self, share=0.6 * self.share) if self.share > 0.1 else None

    def advice(self, setup: Setup) -> str:
        """The prediction for this setup, and the choice that needs the least memory, for an error message."""
        now = memory_profile(setup).total
        with on_fake_tensors(setup) as fake:
            choice, trial = _applicable(fake, _CHOICES[-1])
            trial.undo.close()
        leanest = [name for name, _ in choice]
        return (
            f"The run was predicted to need {_size(now)} (allocators and libraries need more). Try memory='auto', which chooses; the "
            f"leanest exact choice is memory={leanest!r}, before it 'bf16'. Or use fewer prompts at once."
        )

    def _chosen(self, setup: Setup, limit: int) -> tuple[Choice, str]:
        """The first choice that fits, and the reason. Choices are tried on copies of the networks without data."""
        tried: dict[Choice, int] = {}
        with on_fake_tensors(setup) as fake:
            for half in ((), _HALF):
                for named in _CHOICES:
                    choice, trial = _applicable(fake, (*half, *named))
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
            "Use fewer prompts at once, or smaller images, or load the networks in half precision."
        )


def _applicable(fake: Setup, choice: Choice) -> tuple[Choice, Setup]:
    """The policies of a choice that apply to this setup, and the setup under them, with an undo of its own."""
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
    """Bytes of memory: on CUDA what is free or reserved by this process, elsewhere the memory of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _named(choice: Choice) -> str:
    """The names of the policies, with the settings that differ from the defaults."""
    return " + ".join(name + "".join(f" ({field}={value})" for field, value in settings) for name, settings in choice) or "no policy"


def _size(count: int | float) -> str:
    return f"{count / 1e9:.3g} GB"
