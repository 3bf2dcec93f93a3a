"""The pipeline's own sampler if its steps are Gaussian transitions of a table; otherwise DDIM or flow Euler, with a warning."""

import warnings

from tta_core.errors import IncompatibleError
from tta_core.protocols.scheduler import GaussianScheduler
from tta_plugins.schedulers.consistency import lcm, tcd
from tta_plugins.schedulers.diffusion import ddim, ddpm
from tta_plugins.schedulers.dpm_solver import dpm_solver, dpm_solver_sde
from tta_plugins.schedulers.euler import euler, euler_ancestral
from tta_plugins.schedulers.flow import flow_euler
from tta_plugins.schedulers.reading import Eta, Native, Shape

_FAMILY = (
    (("DDIMScheduler", "DDIMParallelScheduler"), ddim),
    (("DDPMScheduler", "DDPMParallelScheduler"), ddpm),
    (("EulerDiscreteScheduler",), euler),
    (("EulerAncestralDiscreteScheduler",), euler_ancestral),
    (("DPMSolverMultistepScheduler",), dpm_solver),
    (("LCMScheduler",), lcm),
    (("TCDScheduler",), tcd),
    (("FlowMatchEulerDiscreteScheduler", "FlowMatchLCMScheduler"), flow_euler),
)


class SamplerReplaced(UserWarning):
    """The pipeline's own sampler is replaced or changed; the message says by what, and why."""


def native(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """The pipeline's own sampler. Warns with `SamplerReplaced` if it is replaced by another, or if it clips x0, which is left out.

    Raises:
        IncompatibleError: the sampler has learned variances.
    """
    read = Native.of(native)
    if read.config.get("variance_type") in ("learned", "learned_range"):
        raise IncompatibleError(
            f"Cannot read {read.name} with variance_type={read.config['variance_type']!r}. This is because half of the "
            "network's output channels are its variances, and the backbone returns only the other half. Give the pipeline a scheduler with "
            "fixed variances."
        )
    outside = _outside(read)
    if outside:
        instead, name = (flow_euler, "flow-euler") if read.is_flow else (ddim, "ddim")
        _warn(f"{read.name} is replaced by {name}: {outside}. Pass scheduler={name!r} to choose it explicitly.")
        return instead(native, steps, eta, shape)
    clipping = [name for name in ("clip_sample", "thresholding") if read.config.get(name)]
    if clipping:
        _warn(f"{read.name} is read without {' and '.join(clipping)}: latents have no fixed range.")
    make = next(make for classes, make in _FAMILY if read.is_a(*classes))
    if make is dpm_solver and read.config["algorithm_type"] == "sde-dpmsolver++":
        make = dpm_solver_sde
    return make(native, steps, eta, shape)


def _outside(read: Native) -> str:
    """Why a scheduler's steps are not Gaussian transitions that follow from a table; empty if they are."""
    config = read.config
    if not any(read.is_a(*classes) for classes, _ in _FAMILY):
        return "its step is not a Gaussian around a combination of the current x and the last two clean estimates"
    if config.get("solver_order", 1) > 2:
        return f"order {config['solver_order']} needs more than the previous clean estimate"
    if config.get("algorithm_type", "dpmsolver++") not in ("dpmsolver++", "sde-dpmsolver++"):
        return f"algorithm_type={config['algorithm_type']!r} extrapolates the noise instead of the clean estimate"
    if config.get("solver_type", "midpoint") != "midpoint":
        return f"solver_type={config['solver_type']!r} is another second-order formula"
    if config.get("variance_type", "fixed_small") not in (None, "fixed_small", "fixed_small_log"):
        return f"variance_type={config['variance_type']!r} adds more noise than the posterior has"
    if config.get("scale_factors"):
        return "scale_factors change the size of x between steps"
    if config.get("invert_sigmas"):
        return "invert_sigmas runs time backwards"
    return ""


def _warn(message: str) -> None:
    warnings.warn(message, SamplerReplaced, stacklevel=3)
