"""Samplers, each read as a table from a diffusers scheduler.

A registered sampler is a function `(native, steps, eta, shape) -> tta_core.Scheduler`. `native` is the backbone's scheduler object: it is
copied, never changed. `eta` is the share of the posterior's noise that a step adds; None is the sampler's own: 0 for DDIM, Euler,
DPM-Solver++ and flow Euler, 1 for the samplers named after their noise. `shape` is the latents' `(c, h, w)`.
"""

from tta_core.plugins.hookspecs import Register, hookimpl

_HERE = "tta_plugins.schedulers"


@hookimpl
def tta_register_schedulers(register: Register) -> None:
    """The pipeline's own sampler, and the samplers with one Gaussian kernel, by name."""
    register("native", f"{_HERE}.native:native", "the pipeline's own sampler; DDIM or flow Euler, with a warning, if it cannot be read")
    register("ddim", f"{_HERE}.diffusion:ddim", "DDIM; eta 1 is DDPM's noise")
    register("ddpm", f"{_HERE}.diffusion:ddpm", "DDPM with the posterior's variance")
    register("euler", f"{_HERE}.euler:euler", "Euler in sigmas")
    register("euler-ancestral", f"{_HERE}.euler:euler_ancestral", "Euler with ancestral noise")
    register("dpm++2m", f"{_HERE}.dpm_solver:dpm_solver", "DPM-Solver++ 2M")
    register("dpm++2m-sde", f"{_HERE}.dpm_solver:dpm_solver_sde", "DPM-Solver++ 2M with noise")
    register("lcm", f"{_HERE}.consistency:lcm", "consistency sampling of LCMs: few steps, with new noise on x0")
    register("tcd", f"{_HERE}.consistency:tcd", "trajectory consistency: few steps; eta is its gamma")
    register("flow-euler", f"{_HERE}.flow:flow_euler", "Euler for flow-matching models")
    register("flow-sde", f"{_HERE}.flow:flow_sde", "flow Euler with the posterior's noise")
