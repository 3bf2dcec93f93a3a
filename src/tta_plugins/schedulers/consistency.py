"""Few-step samplers for consistency models, which predict x0 in one evaluation: LCM, and TCD, whose gamma sets how much noise a step adds.

Source: Latent Consistency Models (arXiv 2310.04378) algorithm 3; Trajectory Consistency Distillation (arXiv 2402.19159) algorithm 2.
"""

import math

import torch

from tta_core.protocols.scheduler import GaussianScheduler
from tta_core.values.schedules import at_step
from tta_core.values.typing import evolve
from tta_plugins.schedulers.reading import Eta, Native, Shape, floats

_SIGMA_DATA = 0.5


def lcm(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """LCM: every step adds new noise to x0, so it has no eta. The last step adds no noise."""
    read = Native.of(native)
    shares, times = read.alphas_cumprod, _times(read, steps, shape, "LCMScheduler")
    here = [_point(float(shares[int(time)])) for time in times]
    rows = read.rows(times, here, [*here[1:], (1.0, 0.0)])
    scaling = float(read.config.get("timestep_scaling", 10.0))
    square = _SIGMA_DATA**2
    table = tuple(evolve(row, skip=square / ((row.time * scaling) ** 2 + square)) for row in rows)
    return GaussianScheduler(table, read.output, renoise=True)


def tcd(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """TCD; its own eta is 0, as in the pipelines' calls. A step goes to (1 - eta) of the next time, and adds noise to x up to that time."""
    read = Native.of(native)
    shares, times = read.alphas_cumprod, _times(read, steps, shape, "TCDScheduler")
    after = [*times[1:], 0.0]
    points = [_point(float(shares[int(time)])) for time in [*times, 0.0]]
    table = []
    for row in read.rows(times, points[:-1], points[1:]):
        share = 1 - at_step(eta or 0.0, row.index, len(times))
        reached = int(torch.tensor(share * after[row.index], dtype=torch.float32, device="cpu").floor())  # rounded as diffusers' float32
        last = row.index + 1 == len(times)
        table.append(evolve(row, std=0.0 if last else math.sqrt(max(0.0, 1 - float(shares[int(after[row.index])] / shares[reached])))))
    return GaussianScheduler(tuple(table), read.output)


def _times(read: Native, steps: int, shape: Shape, own: str) -> list[float]:
    """Every k-th of the distillation's times (50 by default), latest first; or the times that the user gave."""
    if read.is_a(own):
        return floats(read.timed(steps, shape).timesteps)
    if read.sampler.timesteps is not None or read.sampler.sigmas is not None:
        return read.spaced(steps, "leading")
    trained, distilled = int(read.config["num_train_timesteps"]), int(read.setting("original_inference_steps", max(50, steps)))
    stride = trained // distilled
    origin = [(i + 1) * stride - 1 for i in reversed(range(distilled))]
    return [float(origin[math.floor(i * distilled / steps)]) for i in range(steps)]


def _point(share: float) -> tuple[float, float]:
    return math.sqrt(share), math.sqrt(1 - share)
