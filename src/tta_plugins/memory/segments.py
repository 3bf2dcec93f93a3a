"""Checkpoints of a differentiated sampling chain, for methods that differentiate the whole chain."""

import math
from typing import Literal

import attrs

from tta_core.errors import InputError
from tta_core.protocols.memory import Setup
from tta_core.values.provenance import name_of
from tta_core.values.typing import evolve, frozen
from tta_plugins.memory.components import refusal


@frozen
class Segments:
    """Recompute the chain in segments: only the latents between them are kept, and one segment's activations at a time.

    Attributes:
        every: steps in a segment. 1 needs the least memory, since latents are small beside one step's activations; "sqrt" makes
            sqrt(T) segments; "all" makes one; "none" keeps everything and recomputes nothing, which is fastest.

    The last segment is recomputed too, although its backward comes first: kept, its graph would exist beside those of decoder and reward.
    On SD v1.5 that is half as much memory again for 0.6 % of the FLOPs.

    Exact. Of 50 steps of SD v1.5 in float16, "none" keeps 72 GiB, 1 keeps 1.5 GiB at 44 % more work.
    """

    every: int | Literal["sqrt", "all", "none"] = 1
    tolerance: float = attrs.field(default=0.0, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self.every, int) and self.every < 1:
            raise InputError(f"{self!r} cannot run: a segment needs at least 1 step. Give 1 or more.")

    def __call__(self, setup: Setup) -> Setup:
        """The setup whose chain is split into segments."""
        if not setup.method.needs.chain:
            reason = f"it splits a chain that is differentiated as a whole, and {name_of(setup.method)} declares none"
            raise refusal(self, setup, reason, "Leave the policy out; a method that differentiates one declares Needs(chain=True).")
        total = len(setup.scheduler.steps)
        sizes = {"sqrt": math.ceil(math.sqrt(total)), "all": total, "none": None}
        return evolve(setup, segment=self.every if isinstance(self.every, int) else sizes[self.every])
