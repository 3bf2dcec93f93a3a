"""Euler in sigmas, x = x0 + sigma eps, and its ancestral form. The network's input is x / sqrt(1 + sigma^2).

Source: Karras et al. (arXiv 2206.00364) algorithm 1; k-diffusion's `sample_euler_ancestral`.
"""

import math

from tta_core.protocols.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, Shape, floats


def euler(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """Euler; its own eta is 0."""
    read = Native.of(native)
    if read.is_a("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        timed = read.timed(steps, shape)
        times, initial_std = floats(timed.timesteps), float(timed.init_noise_sigma)
        sigmas = floats(timed.sigmas)[: len(times) + 1]  # "log_linear" interpolation makes one more, which no step uses
    else:
        spacing = read.setting("timestep_spacing", "linspace")
        times = read.spaced(steps, spacing)
        sigmas = [*read.sigmas_at(times), 0.0]
        initial_std = math.hypot(sigmas[0], 1.0) if spacing == "leading" else sigmas[0]
    points = [(1.0, sigma) for sigma in sigmas]
    table = read.rows(times, points[:-1], points[1:], scaled=True)
    return GaussianScheduler(table, read.output, eta=eta or 0.0, initial_std=initial_std)


def euler_ancestral(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """Euler with the posterior's noise: its own eta is 1."""
    return euler(native, steps, 1.0 if eta is None else eta, shape)
