"""Sampler tables of the three families, made here so that tests need no sampler of a model library."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch

from tta_core.protocols.scheduler import GaussianScheduler, Output
from tta_core.values.schedules import Schedule
from tta_core.values.trajectory import Step


def vp_scheduler(
    steps: int = 10, eta: float | Schedule | None = None, output: Output = "epsilon", order: int = 1, last_alpha_bar: float = 1.0
) -> GaussianScheduler:
    """Variance preserving, a^2 + s^2 = 1: Stable Diffusion's betas, every (1000 // steps)-th time, offset 1.

    `last_alpha_bar` is the level after the last step: 1 for clean latents (std 0 there); Stable Diffusion's own is alpha-bar_0 = 0.99915.
    """
    alphas, bars = _training()
    times = [1 + i * (1000 // steps) for i in reversed(range(steps))]
    levels = [(math.sqrt(bar), math.sqrt(1 - bar)) for bar in (*(bars[time] for time in times), last_alpha_bar)]
    return _scheduler(levels, [float(time) for time in times], [alphas[time] for time in times], output, eta, order)


def ve_scheduler(steps: int = 10, eta: float | Schedule | None = None, output: Output = "epsilon", order: int = 1) -> GaussianScheduler:
    """Variance exploding, a = 1: the same training levels as sigma = s / a, from 14.6 down to 0."""
    alphas, bars = _training()
    times = [999 * i / max(1, steps - 1) for i in reversed(range(steps))]
    sigmas = [math.sqrt((1 - bar) / bar) for bar in bars]
    levels = [(1.0, _interpolated(sigmas, time)) for time in times]
    scales = [1 / math.hypot(a, s) for a, s in levels]
    return _scheduler([*levels, (1.0, 0.0)], times, [alphas[round(time)] for time in times], output, eta, order, scales)


def flow_scheduler(
    steps: int = 10, eta: float | Schedule | None = None, output: Output = "flow", order: int = 1, shift: float = 3.0
) -> GaussianScheduler:
    """Flow matching, a = 1 - s: times from 1 to the smallest training time, both shifted. At the first step a = 0."""
    smallest = _shifted(1 / 1000, shift)
    sigmas = [_shifted(1 + (smallest - 1) * i / max(1, steps - 1), shift) for i in range(steps)]
    levels = [(1 - sigma, sigma) for sigma in (*sigmas, 0.0)]
    return _scheduler(levels, [1000 * sigma for sigma in sigmas], [None] * steps, output, eta, order)


def _scheduler(
    levels: Sequence[tuple[float, float]],
    times: Sequence[float],
    alphas: Sequence[float | None],
    output: Output,
    eta: float | Schedule | None,
    order: int,
    scales: Sequence[float] | None = None,
) -> GaussianScheduler:
    scales = scales or [1.0] * len(times)
    table = tuple(
        Step(index, float(times[index]), *here, *there, input_scale=scales[index], alpha=alphas[index], order=order)
        for index, (here, there) in enumerate(pairwise(levels))
    )
    first = table[0]
    return GaussianScheduler(table, output, 0.0 if eta is None else eta, initial_std=1.0 if first.a < 1 else first.s)


def _training() -> tuple[list[float], list[float]]:
    """alpha_t and alpha-bar_t of 1000 training steps, betas linear in their square roots from 0.00085 to 0.012."""
    alphas = 1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    return alphas.tolist(), alphas.cumprod(0).tolist()


def _interpolated(values: Sequence[float], place: float) -> float:
    below = min(int(place), len(values) - 2)
    return values[below] + (place - below) * (values[below + 1] - values[below])


def _shifted(time: float, shift: float) -> float:
    return shift * time / (1 + (shift - 1) * time)
