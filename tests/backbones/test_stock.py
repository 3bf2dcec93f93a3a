"""Our loop samples what each family's stock pipeline samples, with every supported sampler of the family."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
)
from stock import PACKED, close, drawn, draws_by_itself, prepared, stock

from tta_core.values.controls import Embedding
from tta_core.values.typing import evolve
from tta_plugins.backbones.flux import packed, unpacked

DPM = DPMSolverMultistepScheduler
FLOW = FlowMatchEulerDiscreteScheduler
DPM_FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}

# name: (pipeline, scheduler class, its settings, options of the run)
ROWS = {
    "ddim": ("sd", None, {}, {"eta": 0.0}),
    "ddim-eta-1": ("sd", None, {}, {"eta": 1.0}),
    "ddim-eta-.3-trailing": ("sd", DDIMScheduler, {"timestep_spacing": "trailing"}, {"eta": 0.3}),
    "ddim-no-negative": ("sd", None, {}, {"negative": None}),
    "ddim-no-guidance": ("sd", None, {}, {"guidance": 1.0}),
    "ddpm": ("sd", DDPMScheduler, {}, {}),
    "ddim-linspace": ("sd", DDIMScheduler, {"timestep_spacing": "linspace"}, {}),
    "euler": ("sd", EulerDiscreteScheduler, {}, {}),
    "euler-leading": ("sd", EulerDiscreteScheduler, {"timestep_spacing": "leading", "steps_offset": 1}, {}),
    "euler-karras": ("sd", EulerDiscreteScheduler, {"use_karras_sigmas": True}, {}),
    "euler-ancestral": ("sd", EulerAncestralDiscreteScheduler, {}, {}),
    "dpm": ("sd", DPM, {}, {}),
    "dpm-karras": ("sd", DPM, {"use_karras_sigmas": True}, {}),
    "dpm-sde": ("sd", DPM, {"algorithm_type": "sde-dpmsolver++"}, {}),
    "dpm-sigma-min": ("sd", DPM, {"final_sigmas_type": "sigma_min"}, {}),
    "dpm-order-1": ("sd", DPM, {"solver_order": 1}, {}),
    "ddim-guidance-0": ("sd", None, {}, {"guidance": 0.0}),
    "euler-log-linear": ("sd", EulerDiscreteScheduler, {"interpolation_type": "log_linear"}, {}),
    "euler-exponential": ("sd", EulerDiscreteScheduler, {"use_exponential_sigmas": True}, {}),
    "euler-sigma-min": ("sd", EulerDiscreteScheduler, {"final_sigmas_type": "sigma_min"}, {}),
    "lcm": ("sd", LCMScheduler, {}, {"guidance": 1.0}),
    "lcm-skip": ("sd", LCMScheduler, {"timestep_scaling": 0.01}, {"guidance": 1.5}),
    "lcm-distilled": ("lcm", None, {}, {"guidance": 7.5, "negative": None}),
    "tcd": ("sd", TCDScheduler, {}, {"guidance": 0.0, "eta": 0.3}),
    "tcd-deterministic": ("sd", TCDScheduler, {}, {"guidance": 1.0, "eta": 0.0}),
    "v-ddim": ("sd-v", None, {}, {"eta": 0.0}),
    "v-ddim-eta-1": ("sd-v", None, {}, {"eta": 1.0}),
    "v-ddpm": ("sd-v", DDPMScheduler, {}, {}),
    "v-euler": ("sd-v", EulerDiscreteScheduler, {}, {}),
    "v-euler-ancestral": ("sd-v", EulerAncestralDiscreteScheduler, {}, {}),
    "v-dpm": ("sd-v", DPM, {}, {}),
    "v-zero-snr": ("sd-v", DDIMScheduler, {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, {}),
    "tiny-vae": ("sd-tiny-vae", None, {}, {}),
    "sdxl": ("sdxl", None, {}, {}),
    "sdxl-no-negative": ("sdxl", None, {}, {"negative": None}),
    "sdxl-turbo": ("sdxl", EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}, {"guidance": 0.0}),
    "sdxl-lightning": ("sdxl", EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, {"guidance": 0.0}),
    "sdxl-hyper": ("sdxl", TCDScheduler, {}, {"guidance": 0.0, "eta": 1.0}),
    "sdxl-dpm-karras": ("sdxl", DPM, {"use_karras_sigmas": True}, {}),
    "sdxl-lcm": ("sdxl", LCMScheduler, {}, {"guidance": 1.0}),
    "sd3": ("sd3", None, {}, {}),
    "sd3-no-negative": ("sd3", None, {}, {"negative": None}),
    "sd3-dynamic": ("sd3", FLOW, {"use_dynamic_shifting": True}, {}),
    "sd3-dpm-flow": ("sd3", DPM, DPM_FLOW, {}),
    "sd3-stochastic": ("sd3", FLOW, {"stochastic_sampling": True}, {}),
    "sd3-dpm-flow-sde": ("sd3", DPM, {**DPM_FLOW, "algorithm_type": "sde-dpmsolver++"}, {}),
    "flux-dev": ("flux-dev", None, {}, {"guidance": 1.0}),
    "flux-stochastic": ("flux-dev", FLOW, {"stochastic_sampling": True}, {"guidance": 1.0}),
    "flux-true-guidance": ("flux-dev", None, {}, {"guidance": 2.0}),
    "flux-schnell": ("flux-schnell", None, {}, {"guidance": 1.0}),
    "qwen-image": ("qwen-image", None, {}, {}),
    "qwen-image-unguided": ("qwen-image", None, {}, {"guidance": 1.0, "negative": None}),
    "z-image": ("z-image", None, {}, {}),
    "z-image-no-negative": ("z-image", None, {}, {"negative": None}),
    "z-image-turbo": ("z-image", None, {}, {"guidance": 0.0, "negative": None}),
    "flux2-dev": ("flux2-dev", None, {}, {"guidance": 1.0, "negative": None}),
    "flux2-klein": ("flux2-klein", None, {}, {"negative": None}),
    "flux2-klein-unguided": ("flux2-klein", None, {}, {"guidance": 1.0, "negative": None}),
    "sana": ("sana", None, {}, {}),
    "sana-flow-euler": ("sana", FLOW, {"shift": 3.0}, {}),
    "auraflow": ("auraflow", None, {}, {}),
    "auraflow-no-negative": ("auraflow", None, {}, {"negative": None}),
    "chroma": ("chroma", None, {}, {}),
    "chroma-unguided": ("chroma", None, {}, {"guidance": 1.0}),
    "lumina2": ("lumina2", None, {}, {}),
    "lumina2-no-negative": ("lumina2", None, {}, {"negative": None}),
    "kolors": ("kolors", None, {}, {}),
    "kolors-no-negative": ("kolors", None, {}, {"negative": None}),
    "kolors-unguided": ("kolors", None, {}, {"guidance": 1.0}),
    "hunyuan-dit": ("hunyuan-dit", None, {}, {}),
    "hunyuan-dit-no-negative": ("hunyuan-dit", None, {}, {"negative": None}),
    "hunyuan-dit-ddim": ("hunyuan-dit", DDIMScheduler, {}, {"eta": 0.0}),
    "pixart-alpha": ("pixart-alpha", None, {}, {}),
    "pixart-sigma": ("pixart-sigma", None, {}, {"negative": None}),
    "pixart-sigma-euler": ("pixart-sigma", EulerDiscreteScheduler, {}, {}),
    "pixart-sigma-ddim": ("pixart-sigma", DDIMScheduler, {"clip_sample": False}, {}),
}


ALL = [
    *("sd", "sd-v", "sd-tiny-vae", "sdxl", "sd3", "flux-dev", "flux-schnell", "pixart-alpha", "pixart-sigma"),
    *("qwen-image", "z-image", "flux2-dev", "flux2-klein", "sana", "lumina2", "auraflow", "chroma", "kolors", "hunyuan-dit"),
]
UNGUIDED = {"guidance": 1.0, "negative": None}
OPTIONS = {"flux-dev": UNGUIDED, "flux-schnell": UNGUIDED, "flux2-dev": UNGUIDED, "flux2-klein": {"negative": None}}


@pytest.fixture(params=ROWS)
def row(request, pipelines):
    name, cls, settings, options = ROWS[request.param]
    pipe = pipelines(name)
    if cls is not None:
        pipe.scheduler = cls.from_config(pipe.scheduler.config, **settings)
    return name, pipe, options


LONG = ["ddim-eta-1", "euler-ancestral", "dpm-sde", "flux-dev"]  # their rounding errors add up


def test_latents(row):
    """The result equals stock's, with our tables and with stock's own scheduler. The bits depend on the processor's kernels."""
    name, pipe, options = row
    theirs = stock(name, pipe, 4, **options)
    with prepared(name, pipe, 4, **options) as problem, torch.no_grad(), torch.random.fork_rng(devices=[]):
        ours = problem.sample(problem.controls)
        torch.manual_seed(1)
        driven = stepped(name, pipe.scheduler, problem, options)
    assert close(ours, theirs)
    assert close(driven, theirs)


@pytest.mark.parametrize("row", LONG, indirect=True)
def test_latents_of_many_steps(row):
    name, pipe, options = row
    with prepared(name, pipe, 12, **options) as problem, torch.no_grad():
        ours = problem.sample(problem.controls)
    assert close(ours, stock(name, pipe, 12, **options))


@pytest.mark.parametrize("name", ALL)
def test_images(name, pipelines):
    pipe, options = pipelines(name), OPTIONS.get(name, {})
    with prepared(name, pipe, 2, **options) as problem, torch.no_grad():
        ours = problem.backbone.decode(problem.sample(problem.controls)).clamp(0, 1)
    assert close(ours, stock(name, pipe, 2, kind="pt", **options))


def stepped(name, scheduler, problem, options):
    """Our backbone with the user's own scheduler, and batches as in the stock pipeline."""
    backbone, controls, guidance = problem.backbone, problem.controls, problem.guidance
    generator = torch.Generator().manual_seed(0)
    torch.randn(drawn(name, 0)[0].shape, generator=generator)
    draws = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames and not draws_by_itself(name) else {}
    if options.get("eta") is not None:
        draws["eta"] = options["eta"]
    sampler = backbone.sampler
    native = getattr(sampler, "scheduler", sampler)
    assert native is scheduler
    steps = len(problem.steps)
    timing = sampler.timing(steps, backbone.latent_shape(32, 32)) if native is not sampler else {}
    scheduler.set_timesteps(steps, **timing)
    x = controls.noise[0] * getattr(scheduler, "init_noise_sigma", 1.0)
    for step, time in zip(problem.steps, scheduler.timesteps, strict=True):
        assert step.time == float(time)
        scaled = scheduler.scale_model_input(x, time) if hasattr(scheduler, "scale_model_input") else x
        bare = evolve(step, input_scale=1.0)
        if controls.null is None or guidance <= 1:
            output = backbone.predict(scaled, bare, controls.text)
        elif apart(problem):
            text, null = (backbone.predict(scaled, bare, embedding) for embedding in (controls.text, controls.null))
            output = backbone.combine(text, null, guidance)
        else:
            first = backbone.family.traits.branches == "text first"
            branches = (controls.text, controls.null) if first else (controls.null, controls.text)
            outputs = backbone.predict(torch.cat([scaled] * 2), bare, stacked(*branches)).chunk(2)
            text, null = outputs if first else outputs[::-1]
            output = backbone.combine(text, null, guidance)
        if name in PACKED:  # its noise, if any, has the shape of tokens
            x = unpacked(scheduler.step(packed(output), time, packed(x), return_dict=False)[0], 8)
        else:
            x = scheduler.step(output, time, x, **draws, return_dict=False)[0]
    return x


def apart(problem):
    """Whether the pipeline calls its denoiser once for each branch."""
    return problem.backbone.family.traits.branches == "apart"


def stacked(first, second):
    """The two branches as one batch."""

    def joined(one, other):
        return None if one is None else torch.cat([one, other])

    extra = {name: torch.cat([first.extra[name], second.extra[name]]) for name in first.extra}
    return Embedding(torch.cat([first.tokens, second.tokens]), joined(first.pooled, second.pooled), joined(first.mask, second.mask), extra)


FEW = {
    "sdxl-turbo": ("sdxl", EulerAncestralDiscreteScheduler, {"timestep_spacing": "trailing"}, {"guidance": 0.0}),
    "z-image-turbo": ("z-image", None, {}, {"guidance": 0.0, "negative": None}),
    "klein": ("flux2-klein", None, {}, {"guidance": 1.0, "negative": None}),
    "tcd": ("sd", TCDScheduler, {}, {"guidance": 0.0, "eta": 0.3}),
    "turbo": ("sd", EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, {"guidance": 0.0}),
    "lightning": ("sdxl", EulerDiscreteScheduler, {"timestep_spacing": "trailing"}, {"guidance": 0.0}),
    "hyper": ("sdxl", TCDScheduler, {}, {"guidance": 0.0, "eta": 1.0}),
    "lcm": ("lcm", None, {}, {"guidance": 7.5, "negative": None}),
    "schnell": ("flux-schnell", None, {}, {"guidance": 1.0}),
}


@pytest.mark.parametrize("few", FEW)
def test_one_to_four_steps_give_the_pipelines_own_images(few, pipelines):
    name, cls, settings, options = FEW[few]
    pipe = pipelines(name)
    if cls is not None:
        pipe.scheduler = cls.from_config(pipe.scheduler.config, **settings)
    for steps in (1, 2, 4):
        with prepared(name, pipe, steps, **options) as problem, torch.no_grad():
            ours = problem.backbone.decode(problem.sample(problem.controls)).clamp(0, 1)
        assert close(ours, stock(name, pipe, steps, kind="pt", **options)), steps


@pytest.mark.parametrize(
    ("cls", "own", "steps"),
    [
        (EulerDiscreteScheduler, {"timesteps": [900, 400, 10]}, 3),
        (EulerDiscreteScheduler, {"sigmas": [9.0, 3.0, 0.5, 0.0]}, 3),
        (DPM, {"timesteps": [900, 400, 10]}, 3),
        (DDPMScheduler, {"timesteps": [900, 400, 10]}, 3),
        (LCMScheduler, {"timesteps": [999, 499, 19]}, 3),
        (TCDScheduler, {"timesteps": [999, 499, 19]}, 3),
    ],
)
def test_custom_timesteps(cls, own, steps, pipelines):
    pipe = pipelines("sd")
    pipe.scheduler = cls.from_config(pipe.scheduler.config)
    with prepared("sd", pipe, None, drawing=steps, **own) as problem, torch.no_grad():
        ours = problem.sample(problem.controls)
    assert close(ours, stock("sd", pipe, 50, more=own))


def test_one_step_at_a_custom_time(pipelines):
    """One step at time 400 without guidance, as PixArt-DMD is used. Few schedulers support one step in diffusers' own call; LCM is one of
    them."""
    pipe = pipelines("pixart-alpha")
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    own, options = {"timesteps": [400]}, {"guidance": 1.0, "negative": None}
    with prepared("pixart-alpha", pipe, None, drawing=1, **options, **own) as problem, torch.no_grad():
        ours = problem.sample(problem.controls)
    assert close(ours, stock("pixart-alpha", pipe, 1, more=own, **options))
