"""Samplers that are read from diffusers schedulers: by name as `from_config` would make them, natively, or replaced with a warning."""

import pickle

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from tta_core.errors import IncompatibleError, InputError
from tta_core.plugins.discovery import plugins
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.protocols.scheduler import Scheduler
from tta_core.values.schedules import AllButLast
from tta_plugins.schedulers.native import SamplerReplaced, native

CURVE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = PNDMScheduler(**CURVE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
SHAPE = (4, 8, 8)


def make(name, source, steps=7, eta=None):
    return plugins().registry.find("schedulers", name).load()(source, steps, eta, SHAPE)


def columns(scheduler):
    return torch.tensor([(row.time, row.a, row.s, row.a_next, row.s_next, row.input_scale) for row in scheduler.steps], dtype=torch.float64)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize(
    ("name", "cls", "eta"),
    [
        ("ddim", DDIMScheduler, 0.0),
        ("ddpm", DDPMScheduler, 1.0),
        ("euler", EulerDiscreteScheduler, 0.0),
        ("euler-ancestral", EulerAncestralDiscreteScheduler, 1.0),
        ("dpm++2m", DPMSolverMultistepScheduler, 0.0),
        ("dpm++2m-sde", DPMSolverMultistepScheduler, 1.0),
    ],
)
def test_a_name_gives_what_diffusers_makes_from_the_same_config(name, cls, eta, spacing):
    source = PNDMScheduler.from_config(PNDM.config, timestep_spacing=spacing)
    options = {"clip_sample": False} if cls in (DDIMScheduler, DDPMScheduler) else {}
    options |= {"algorithm_type": "sde-dpmsolver++"} if name == "dpm++2m-sde" else {}
    ours, theirs = make(name, source), native(cls.from_config(source.config, **options), 7, None, SHAPE)
    torch.testing.assert_close(columns(ours), columns(theirs), rtol=1e-6, atol=1e-7)
    assert [row.order for row in ours.steps] == [row.order for row in theirs.steps]
    assert ours.eta == theirs.eta == eta
    assert ours.initial_std == pytest.approx(theirs.initial_std, rel=1e-6)


@pytest.mark.parametrize("name", [entry.name for entry in plugins().registry.entries("schedulers")])
def test_every_registered_sampler_is_a_scheduler_of_as_many_steps(name):
    source = FlowMatchEulerDiscreteScheduler(shift=3.0) if name.startswith("flow") else DDIMScheduler(**CURVE, clip_sample=False)
    made = make(name, source, eta=AllButLast())
    assert isinstance(made, Scheduler)
    assert [row.index for row in made.steps] == list(range(7))


def test_the_step_carries_alpha_of_one_training_step():
    table = DDIMScheduler(**CURVE, clip_sample=False)
    for row in make("native", table).steps:
        assert row.alpha == pytest.approx(float(table.alphas[int(row.time)]), rel=1e-6)
    assert {row.alpha for row in make("native", FlowMatchEulerDiscreteScheduler()).steps} == {None}


@pytest.mark.parametrize(
    "source", [PNDM, DDIMScheduler(**CURVE, clip_sample=False), EulerDiscreteScheduler(**CURVE)], ids=lambda s: type(s).__name__
)
def test_the_users_scheduler_is_not_changed(source):
    before = pickle.dumps(source)
    for name in ("ddim", "euler", "dpm++2m"):
        make(name, source)
    assert pickle.dumps(source) == before


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (PNDM, "PNDMScheduler is replaced by ddim"),
        (HeunDiscreteScheduler(**CURVE), "HeunDiscreteScheduler is replaced by ddim"),
        (UniPCMultistepScheduler(**CURVE), "UniPCMultistepScheduler is replaced by ddim"),
        (DPMSolverMultistepScheduler(**CURVE, solver_order=3), "order 3"),
        (DPMSolverMultistepScheduler(**CURVE, solver_type="heun"), "solver_type='heun'"),
        (DDPMScheduler(**CURVE, variance_type="fixed_large", clip_sample=False), "variance_type='fixed_large'"),
        (FlowMatchHeunDiscreteScheduler(shift=3.0), "replaced by flow-euler"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_unsupported_samplers_are_replaced_with_a_warning(source, why):
    with pytest.warns(SamplerReplaced, match=why):
        made = make("native", source)
    assert len(made.steps) == 7


@pytest.mark.parametrize("clipping", ["clip_sample", "thresholding"])
def test_clipping_is_left_out_with_a_warning(clipping):
    source = DDIMScheduler(**CURVE, **{"clip_sample": False, clipping: True})
    with pytest.warns(SamplerReplaced, match=f"without {clipping}"):
        make("native", source)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # numpy's, in diffusers
def test_refusals_give_the_reason():
    flow, betas = FlowMatchEulerDiscreteScheduler(), DDIMScheduler(**CURVE, clip_sample=False)
    with pytest.raises(IncompatibleError, match="no table of the training's betas"):
        make("ddim", flow)
    with pytest.raises(IncompatibleError, match="not by flow matching"):
        make("flow-euler", betas)
    with pytest.raises(IncompatibleError, match="no config"):
        make("native", object())
    with pytest.raises(IncompatibleError, match="learned"):
        make("native", DDPMScheduler(**CURVE, variance_type="learned"))
    with pytest.raises(InputError, match="cannot use 2000 steps"):
        make("native", betas, steps=2000)
    with pytest.raises(InputError, match="more than the 1000"):
        make("ddim", PNDM, steps=2000)
    with pytest.raises(InputError, match="`mu` must be passed"):
        make("native", FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))
    with pytest.raises(InputError, match=r"no times for 1 steps.* Use more steps"):
        make("native", FlowMatchEulerDiscreteScheduler(shift_terminal=0.02), steps=1)


def test_a_pipelines_timing_reaches_its_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    slow, fast = (make("native", NativeSampler(scheduler, lambda steps, shape, mu=mu: {"mu": mu})) for mu in (0.0, 1.0))
    assert slow.steps[3].s < fast.steps[3].s


def test_subclasses_are_recognised_and_flow_models_take_second_order():
    class Mine(DDIMScheduler):
        pass

    assert columns(make("native", Mine(**CURVE, clip_sample=False))).shape == (7, 6)
    assert [row.order for row in make("dpm++2m", FlowMatchEulerDiscreteScheduler(shift=3.0)).steps] == [2] * 6 + [1]


def test_stochastic_sampling_does_not_depend_on_x():
    made = make("native", FlowMatchEulerDiscreteScheduler(stochastic_sampling=True))
    assert made.renoise


def test_the_history_of_an_earlier_run_has_no_effect():
    source = DPMSolverMultistepScheduler(**CURVE)
    source.set_timesteps(4)
    x = torch.zeros(1, 4, 8, 8, requires_grad=True)
    source.step(2 * x, source.timesteps[0], 3 * x)
    assert columns(make("native", source)).equal(columns(make("native", DPMSolverMultistepScheduler(**CURVE))))


@pytest.mark.parametrize("name", ["euler", "dpm++2m"])
def test_a_terminal_snr_of_zero_is_read_as_by_diffusers(name):
    source = DDIMScheduler(**CURVE, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    cls = EulerDiscreteScheduler if name == "euler" else DPMSolverMultistepScheduler
    torch.testing.assert_close(
        columns(make(name, source)), columns(native(cls.from_config(source.config), 7, None, SHAPE)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    "setting", [{"use_karras_sigmas": True}, {"use_exponential_sigmas": True}, {"final_sigmas_type": "sigma_min"}], ids=str
)
def test_a_choice_of_sigmas_that_another_sampler_does_not_use_gives_a_warning(setting):
    with pytest.warns(UserWarning, match=f"EulerDiscreteScheduler does not use its {next(iter(setting))}"):
        make("dpm++2m", EulerDiscreteScheduler(**CURVE, **setting))


def test_a_sampler_without_betas_is_not_taken_for_flow_matching():
    with pytest.raises(IncompatibleError, match=r"EDMEulerScheduler.*no table of the training's betas. Give the pipeline"):
        make("ddim", EDMEulerScheduler())
