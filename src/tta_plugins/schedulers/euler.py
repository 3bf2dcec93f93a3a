"""Euler in sigmas, x = x0 + sigma eps, and its ancestral form. The network is shown x / sqrt(1 + sigma^2).

Source: Karras et al. (arXiv 2206.00364) algorithm 1; k-diffusion's `sample_euler_ancestral`.
"""

import math

from tta_core.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, Share, floats, is_a, output_of, rows, setting, sigmas_at, spaced, timed


def euler(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """Euler; its own eta is 0."""
    return _euler(native, steps, eta or 0.0)


def euler_ancestral(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """Euler that draws the posterior's noise: its own eta is 1."""
    return _euler(native, steps, 1.0 if eta is None else eta)


def _euler(native: Native, steps: int, eta: Share) -> GaussianScheduler:
    if is_a(native, "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"):
        copied = timed(native, steps)
        times, sigmas, initial_std = floats(copied.timesteps), floats(copied.sigmas), float(copied.init_noise_sigma)
    else:
        spacing = setting(native, "timestep_spacing", "linspace")
        times = spaced(native, steps, spacing)
        sigmas = [*sigmas_at(native, times), 0.0]
        initial_std = math.hypot(sigmas[0], 1.0) if spacing == "leading" else sigmas[0]
    points = [(1.0, sigma) for sigma in sigmas]
    return GaussianScheduler(rows(native, times, points[:-1], points[1:], scaled=True), output_of(native), eta=eta, initial_std=initial_std)
