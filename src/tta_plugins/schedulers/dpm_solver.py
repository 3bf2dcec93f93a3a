"""DPM-Solver++ of order 1 and 2 (midpoint), and their SDE forms.

Source: DPM-Solver++ (arXiv 2211.01095) algorithm 2. The order is 1 at the first step, and at the last if diffusers lowers it there.
"""

import math

from tta_core.protocols.scheduler import GaussianScheduler
from tta_core.values.trajectory import Step
from tta_core.values.typing import evolve
from tta_plugins.schedulers.flow import flow_euler
from tta_plugins.schedulers.reading import Eta, Native, Point, Shape, floats


def dpm_solver(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """DPM-Solver++; its own eta is 0. For a flow-matching model it uses the model's sigmas at second order."""
    read = Native.of(native)
    if read.is_a("DPMSolverMultistepScheduler"):
        return _own(read, steps, eta, shape)
    if read.is_flow:
        flow = flow_euler(native, steps, eta, shape)
        return evolve(flow, steps=_lowered(tuple(evolve(step, order=2) for step in flow.steps)))
    times = [float(round(time)) for time in read.spaced(steps, read.setting("timestep_spacing", "linspace"), beyond=1)]
    points = [*(_preserving(sigma) for sigma in read.sigmas_at(times)), (1.0, 0.0)]
    table = read.rows(times, points[:-1], points[1:], order=2)
    return GaussianScheduler(_lowered(table), read.output, eta=eta or 0.0)


def dpm_solver_sde(native: object, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    """DPM-Solver++ with the posterior's noise: its own eta is 1."""
    return dpm_solver(native, steps, 1.0 if eta is None else eta, shape)


def _own(read: Native, steps: int, eta: Eta, shape: Shape) -> GaussianScheduler:
    timed, config = read.timed(steps, shape), read.config
    point = _flowing if read.is_flow else _preserving
    points = [point(sigma) for sigma in floats(timed.sigmas)]
    table = read.rows(floats(timed.timesteps), points[:-1], points[1:], order=min(2, config["solver_order"]))
    lowers = config["euler_at_final"] or (config["lower_order_final"] and len(table) < 15) or config["final_sigmas_type"] == "zero"
    return GaussianScheduler(_lowered(table) if lowers else table, read.output, eta=eta or 0.0)


def _lowered(table: tuple[Step, ...]) -> tuple[Step, ...]:
    return (*table[:-1], evolve(table[-1], order=1))


def _preserving(sigma: float) -> Point:
    a = 1 / math.hypot(1.0, sigma)
    return a, sigma * a


def _flowing(sigma: float) -> Point:
    return 1 - sigma, sigma
