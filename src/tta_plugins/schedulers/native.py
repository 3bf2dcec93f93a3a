"""The pipeline's own sampler, if it is one of the family; otherwise DDIM or flow Euler instead of it, with a warning."""

import warnings

from tta_core.errors import IncompatibleError
from tta_core.scheduler import GaussianScheduler
from tta_plugins.schedulers.diffusion import ddim, ddpm
from tta_plugins.schedulers.dpm_solver import dpm_solver, dpm_solver_sde
from tta_plugins.schedulers.euler import euler, euler_ancestral
from tta_plugins.schedulers.flow import flow_euler
from tta_plugins.schedulers.reading import Eta, Native, is_a, is_flow

_FAMILY = (
    (("DDIMScheduler", "DDIMParallelScheduler"), ddim),
    (("DDPMScheduler", "DDPMParallelScheduler"), ddpm),
    (("EulerDiscreteScheduler",), euler),
    (("EulerAncestralDiscreteScheduler",), euler_ancestral),
    (("DPMSolverMultistepScheduler",), dpm_solver),
    (("FlowMatchEulerDiscreteScheduler",), flow_euler),
)


class SamplerReplaced(UserWarning):
    """The pipeline's own sampler is not used as it is; the message says what takes its place, and why."""


def native(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """The sampler that the pipeline came with. Warns with `SamplerReplaced` where it is outside the family, or clips x0."""
    if native.config.get("variance_type") in ("learned", "learned_range"):
        raise IncompatibleError(
            f"Cannot read {type(native).__name__} with variance_type={native.config['variance_type']!r}. This is because the network's "
            "variances are left aside here, and so would its channels be miscounted. Use a sampler with fixed variances."
        )
    outside = _outside(native)
    if outside:
        instead = flow_euler if is_flow(native) else ddim
        name = instead.__name__.replace("_", "-")
        _warn(f"{type(native).__name__} is replaced by {name}: {outside}. Name a scheduler ({name!r}) to choose it silently.")
        return instead(native, steps, eta, shape)
    clipping = [name for name in ("clip_sample", "thresholding") if native.config.get(name)]
    if clipping:
        _warn(f"{type(native).__name__} is read without {' and '.join(clipping)}: latents have no range to clip to, and x0 stays Gaussian.")
    make = next(make for classes, make in _FAMILY if is_a(native, *classes))
    if make is dpm_solver and native.config["algorithm_type"] == "sde-dpmsolver++":
        make = dpm_solver_sde
    return make(native, steps, eta, shape)


def _outside(native: Native) -> str:
    """Why a scheduler is not one Gaussian per step that a table gives; empty if it is."""
    config = native.config
    if not any(is_a(native, *classes) for classes, _ in _FAMILY):
        return "its steps are not one Gaussian of the current x and the last two predictions"
    if config.get("solver_order", 1) > 2:
        return f"order {config['solver_order']} needs more than the previous prediction"
    if config.get("algorithm_type", "dpmsolver++") not in ("dpmsolver++", "sde-dpmsolver++"):
        return f"algorithm_type={config['algorithm_type']!r} extrapolates the noise instead of x0"
    if config.get("solver_type", "midpoint") != "midpoint":
        return f"solver_type={config['solver_type']!r} is another second-order formula"
    if config.get("variance_type", "fixed_small") not in (None, "fixed_small", "fixed_small_log"):
        return f"variance_type={config['variance_type']!r} draws more noise than the posterior"
    if config.get("invert_sigmas"):
        return "invert_sigmas runs time backwards"
    return ""


def _warn(message: str) -> None:
    warnings.warn(message, SamplerReplaced, stacklevel=3)
