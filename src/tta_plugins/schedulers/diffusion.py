"""Variance-preserving samplers, a^2 + s^2 = 1: DDIM and DDPM.

Source: DDIM (arXiv 2010.02502) eq. 12; DDPM (arXiv 2006.11239) eq. 7.
"""

import math

from tta_core.protocols.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, Point, Shape, floats

_DDIM = ("DDIMScheduler", "DDIMParallelScheduler")


def ddim(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """DDIM; its own eta is 0. A step ends T // N training times earlier, or at the user's next time; `set_alpha_to_one` decides where the
    last one ends."""
    read = Native.of(native)
    shares, own = read.alphas_cumprod, read.is_a(*_DDIM)
    times = _times(read, steps, shape, *_DDIM)
    final = 1.0 if read.setting("set_alpha_to_one", True) else float(shares[0])
    here = [_point(float(shares[int(time)])) for time in times]
    if read.sampler.timesteps is not None and not own:
        after = [*here[1:], _point(final)]
    else:
        stride = int(read.config["num_train_timesteps"]) // (read.scheduler.num_inference_steps if read.sampler.is_set and own else steps)
        after = [_point(float(shares[int(time) - stride]) if time >= stride else final) for time in times]
    return GaussianScheduler(read.rows(times, here, after), read.output, eta=eta or 0.0)


def ddpm(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """DDPM with the posterior's variance ("fixed_small"); its own eta is 1. A step ends at the next step's time, the last at x0."""
    read = Native.of(native)
    times = _times(read, steps, shape, "DDPMScheduler", "DDPMParallelScheduler")
    here = [_point(float(read.alphas_cumprod[int(time)])) for time in times]
    return GaussianScheduler(read.rows(times, here, [*here[1:], (1.0, 0.0)]), read.output, eta=1.0 if eta is None else eta)


def _times(read: Native, steps: int, shape: Shape, *classes: str) -> list[float]:
    if read.is_a(*classes):
        return floats(read.timed(steps, shape).timesteps)
    return [float(round(time)) for time in read.spaced(steps, read.setting("timestep_spacing", "leading"))]


def _point(share: float) -> Point:
    return math.sqrt(share), math.sqrt(1 - share)
