"""Variance-preserving samplers, a^2 + s^2 = 1: DDIM and DDPM.

Source: DDIM (arXiv 2010.02502) eq. 12; DDPM (arXiv 2006.11239) eq. 7.
"""

import math

from tta_core.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, Point, alphas_cumprod, floats, is_a, output_of, rows, setting, spaced, timed


def ddim(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """DDIM; its own eta is 0. A step ends T // N training times earlier, and the last where `set_alpha_to_one` says."""
    shares = alphas_cumprod(native)
    times = _times(native, steps, "DDIMScheduler", "DDIMParallelScheduler")
    stride = int(native.config["num_train_timesteps"]) // steps
    final = 1.0 if setting(native, "set_alpha_to_one", True) else float(shares[0])
    here = [_point(float(shares[int(time)])) for time in times]
    after = [_point(float(shares[int(time) - stride]) if time >= stride else final) for time in times]
    return GaussianScheduler(rows(native, times, here, after), output_of(native), eta=eta or 0.0)


def ddpm(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """DDPM with the posterior's variance ("fixed_small"); its own eta is 1. A step ends at the next one's time, the last at x0."""
    shares = alphas_cumprod(native)
    times = _times(native, steps, "DDPMScheduler", "DDPMParallelScheduler")
    here = [_point(float(shares[int(time)])) for time in times]
    return GaussianScheduler(rows(native, times, here, [*here[1:], (1.0, 0.0)]), output_of(native), eta=1.0 if eta is None else eta)


def _times(native: Native, steps: int, *classes: str) -> list[float]:
    if is_a(native, *classes):
        return floats(timed(native, steps).timesteps)
    return [float(round(time)) for time in spaced(native, steps, setting(native, "timestep_spacing", "leading"))]


def _point(share: float) -> Point:
    return math.sqrt(share), math.sqrt(1 - share)
