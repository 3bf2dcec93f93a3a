"""Flow matching, x = (1 - sigma) x0 + sigma eps: Euler, and its SDE by the posterior's noise.

Source: flow matching (arXiv 2210.02747); the shift of time by resolution, Stable Diffusion 3 (arXiv 2403.03206) eq. 23.
"""

from tta_core.errors import IncompatibleError
from tta_core.scheduler import GaussianScheduler
from tta_plugins.schedulers.reading import Eta, Native, floats, is_a, is_flow, rows, setting, timed


def flow_euler(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """Flow Euler; its own eta is 0. With diffusers' `stochastic_sampling` x is forgotten, and x0 noised afresh, at each step."""
    if not is_flow(native):
        raise IncompatibleError(
            f"Cannot use a flow sampler with {type(native).__name__}. This is because the model was trained on betas, not by "
            "flow matching. Use scheduler='native', 'ddim', 'euler' or 'dpm++2m'."
        )
    if is_a(native, "FlowMatchEulerDiscreteScheduler"):
        timing = {"mu": mu(native, shape)} if native.config["use_dynamic_shifting"] else {}
        copied = timed(native, steps, **timing)
        times, sigmas = floats(copied.timesteps), floats(copied.sigmas)
    else:
        shift = setting(native, "shift", setting(native, "flow_shift", 1.0))
        even = [1 - i / steps for i in range(steps)]
        sigmas = [*(shift * sigma / (1 + (shift - 1) * sigma) for sigma in even), 0.0]
        times = [sigma * native.config["num_train_timesteps"] for sigma in sigmas[:-1]]
    points = [(1 - sigma, sigma) for sigma in sigmas]
    renoise = bool(setting(native, "stochastic_sampling", False))
    return GaussianScheduler(rows(native, times, points[:-1], points[1:]), "flow", eta=eta or 0.0, renoise=renoise)


def flow_sde(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """Flow Euler that draws the posterior's noise: its own eta is 1."""
    return flow_euler(native, steps, 1.0 if eta is None else eta, shape)


def mu(native: Native, shape: tuple[int, int, int]) -> float:
    """The logarithm of the time shift, linear in the number of latent tokens (2 x 2 latent pixels each)."""
    short, long = setting(native, "base_image_seq_len", 256), setting(native, "max_image_seq_len", 4096)
    low, high = setting(native, "base_shift", 0.5), setting(native, "max_shift", 1.15)
    tokens = (shape[1] // 2) * (shape[2] // 2)
    return float(low + (high - low) * (tokens - short) / (long - short))
