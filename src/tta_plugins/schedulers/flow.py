"""Flow matching, x = (1 - sigma) x0 + sigma eps: Euler, and its SDE with the posterior's noise.

Source: flow matching (arXiv 2210.02747); the shift of time, Stable Diffusion 3 (arXiv 2403.03206) eq. 23.
"""

from tta_core.errors import IncompatibleError
from tta_core.protocols.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, Shape, floats


def flow_euler(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """Flow Euler; its own eta is 0. With diffusers' `stochastic_sampling` each step adds new noise to x0 and does not use x."""
    read = Native.of(native)
    if not read.is_flow:
        raise IncompatibleError(
            f"Cannot use a flow sampler with {read.name}. This is because the model was trained on betas, not by flow matching. "
            "Use scheduler='native', 'ddim', 'euler' or 'dpm++2m'."
        )
    if read.is_a("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"):
        timed = read.timed(steps, shape)
        times, sigmas = floats(timed.timesteps), floats(timed.sigmas)
    else:
        shift = read.setting("shift", read.setting("flow_shift", 1.0))
        even = [1 - i / steps for i in range(steps)] if read.sampler.sigmas is None else read.sampler.sigmas
        sigmas = [*(shift * sigma / (1 + (shift - 1) * sigma) for sigma in even), 0.0]
        times = [sigma * read.config["num_train_timesteps"] for sigma in sigmas[:-1]]
    points = [(1 - sigma, sigma) for sigma in sigmas]
    renoise = bool(read.setting("stochastic_sampling", False)) or read.is_a("FlowMatchLCMScheduler")
    return GaussianScheduler(read.rows(times, points[:-1], points[1:]), "flow", eta=eta or 0.0, renoise=renoise)


def flow_sde(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """Flow Euler with the posterior's noise: its own eta is 1."""
    return flow_euler(native, steps, 1.0 if eta is None else eta, shape)
