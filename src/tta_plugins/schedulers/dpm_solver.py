"""DPM-Solver++ of order 1 and 2 (midpoint), and their SDE.

Source: DPM-Solver++ (arXiv 2211.01095) algorithm 2. The order drops to 1 at the first step and where diffusers drops it at the last.
"""

import math

from tta_core._typing import evolve
from tta_core.scheduler import GaussianScheduler, Step
from tta_plugins.schedulers.flow import flow_euler
from tta_plugins.schedulers.reading import (
    Eta,
    Native,
    Point,
    Share,
    floats,
    is_a,
    is_flow,
    output_of,
    rows,
    setting,
    sigmas_at,
    spaced,
    timed,
)


def dpm_solver(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """DPM-Solver++; its own eta is 0. A flow-matching model's own sigmas are taken at second order."""
    if is_a(native, "DPMSolverMultistepScheduler"):
        return _own(native, steps, eta or 0.0)
    if is_flow(native):
        flow = flow_euler(native, steps, eta or 0.0, shape)
        return evolve(flow, steps=_ended(tuple(evolve(step, order=2) for step in flow.steps), drops=True))
    times = [float(round(time)) for time in spaced(native, steps, setting(native, "timestep_spacing", "linspace"), beyond=1)]
    points = [*(_preserving(sigma) for sigma in sigmas_at(native, times)), (1.0, 0.0)]
    table = rows(native, times, points[:-1], points[1:], order=2)
    return GaussianScheduler(_ended(table, drops=True), output_of(native), eta=eta or 0.0)


def dpm_solver_sde(native: Native, steps: int, eta: Eta, shape: tuple[int, int, int]) -> GaussianScheduler:
    """DPM-Solver++ that draws the posterior's noise: its own eta is 1."""
    return dpm_solver(native, steps, 1.0 if eta is None else eta, shape)


def _own(native: Native, steps: int, eta: Share) -> GaussianScheduler:
    copied, config = timed(native, steps), native.config
    point = _flowing if is_flow(native) else _preserving
    points = [point(sigma) for sigma in floats(copied.sigmas)]
    table = rows(native, floats(copied.timesteps), points[:-1], points[1:], order=min(2, config["solver_order"]))
    drops = config["euler_at_final"] or (config["lower_order_final"] and steps < 15) or config["final_sigmas_type"] == "zero"
    return GaussianScheduler(_ended(table, drops), output_of(native), eta=eta)


def _ended(table: tuple[Step, ...], drops: bool) -> tuple[Step, ...]:
    return (*table[:-1], evolve(table[-1], order=1)) if drops else table


def _preserving(sigma: float) -> Point:
    a = 1 / math.hypot(1.0, sigma)
    return a, sigma * a


def _flowing(sigma: float) -> Point:
    return 1 - sigma, sigma
