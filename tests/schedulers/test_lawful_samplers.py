"""Samplers that are read from diffusers schedulers keep the laws of samplers."""

import pytest
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from tta_core.testing import SchedulerSuite
from tta_plugins.schedulers.native import native

CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def read(scheduler):
    return native(scheduler, 8, None, (4, 8, 8))


class TestDeterministic(SchedulerSuite):
    @pytest.fixture(
        params=[
            DDIMScheduler(**CURVE, clip_sample=False),
            EulerDiscreteScheduler(**CURVE, timestep_spacing="leading", steps_offset=1),
            DPMSolverMultistepScheduler(**CURVE, use_karras_sigmas=True),
        ],
        ids=lambda scheduler: type(scheduler).__name__,
    )
    def scheduler(self, request):
        return read(request.param)


class TestStochastic(SchedulerSuite):
    stochastic = True

    @pytest.fixture(
        params=[
            DDPMScheduler(**CURVE, clip_sample=False),
            EulerAncestralDiscreteScheduler(**CURVE),
            DPMSolverMultistepScheduler(**CURVE, algorithm_type="sde-dpmsolver++"),
        ],
        ids=lambda scheduler: type(scheduler).__name__,
    )
    def scheduler(self, request):
        return read(request.param)


class TestFlow(SchedulerSuite):
    output = "flow"

    @pytest.fixture
    def scheduler(self):
        return read(FlowMatchEulerDiscreteScheduler(shift=3.0))
