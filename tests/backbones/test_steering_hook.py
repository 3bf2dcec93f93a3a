"""A method inside the pipeline's own call gives the same result as our own loop."""

import copy

import attrs
import jaxtyping
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
)
from stock import NEGATIVE, PROMPTS, backbone, brightness, close, drawn, prepared, stock
from tiny_pipelines import unet

import tta_core
from tta_core import steering_hook
from tta_core.errors import IncompatibleError, InputError, RunError
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.solving.from_image import last_steps
from tta_core.values.schedules import Every
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.backbones.stable_diffusion_xl import stable_diffusion_xl
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.das import DAS
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.dps import DPS
from tta_plugins.methods.ebca import EBCA
from tta_plugins.methods.fk import FK
from tta_plugins.methods.freedom import FreeDoM
from tta_plugins.methods.lgd import LGD
from tta_plugins.methods.mpgd import MPGD
from tta_plugins.methods.noise_search import NoiseSearch
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.methods.path_search import PathSearch
from tta_plugins.methods.rbf import RBF
from tta_plugins.methods.reno import ReNO
from tta_plugins.methods.sequential import Sequential
from tta_plugins.methods.svdd import SVDD
from tta_plugins.methods.tfg import TFG
from tta_plugins.methods.universal_guidance import UniversalGuidance
from tta_plugins.schedulers.native import SamplerReplaced, native

METHODS = {
    "date": DATE(rho=2.0, updates=Every(2), start="original", prior=0.01),
    "null-tta": NullTTA(particles=1, inner_min=1, inner_max=2),
    "ebca": EBCA(0.5, 0.5),
    "mpgd": MPGD(20.0),
    "mpgd recomputed": MPGD(20.0, noise="recomputed"),
    "universal-guidance": UniversalGuidance(60.0, backward_steps=1, updates=Every(2)),
}
SIZE = {"num_inference_steps": 4, "height": 32, "width": 32, "output_type": "latent"}


def aligned(name, pipe, method, steps=4, **options):
    with prepared(name, pipe, steps, **options) as problem:
        *_, last = method.align(problem)
    return last.x0


# Every family with DATE; every method with families of each way to call the denoiser; other pairs are slow.
@pytest.mark.parametrize(
    ("name", "method", "eta"),
    [
        ("sd", "date", 0.0),
        ("sd", "date", 1.0),
        ("sd", "null-tta", 1.0),
        ("sd", "ebca", 0.0),
        ("sd", "mpgd", 0.0),
        ("sd", "mpgd", 1.0),
        ("sd", "universal-guidance", 1.0),
        pytest.param("sdxl", "universal-guidance", None, marks=pytest.mark.slow),
        ("sd3", "mpgd", None),
        ("flux-dev", "universal-guidance", None),
        pytest.param("pixart-alpha", "universal-guidance", None, marks=pytest.mark.slow),
        ("qwen-image", "universal-guidance", None),
        ("z-image", "universal-guidance", None),
        pytest.param("lumina2", "universal-guidance", None, marks=pytest.mark.slow),
        pytest.param("flux2-klein", "universal-guidance", None, marks=pytest.mark.slow),
        ("sdxl", "ebca", None),
        ("sdxl", "date", None),
        ("sd3", "date", None),
        ("flux-dev", "date", None),
        ("flux-schnell", "date", None),
        ("pixart-alpha", "date", None),
        ("qwen-image", "date", None),
        ("z-image", "date", None),
        ("flux2-dev", "date", None),
        ("flux2-klein", "date", None),
        ("sana", "date", None),
        ("lumina2", "date", None),
        ("auraflow", "date", None),
        ("chroma", "date", None),
        ("kolors", "date", None),
        pytest.param("kolors", "ebca", None, marks=pytest.mark.slow),
        ("hunyuan-dit", "date", None),
        pytest.param("hunyuan-dit", "null-tta", None, marks=pytest.mark.slow),
    ],
)
def test_steering_equals_our_own_loop(pipelines, name, method, eta):
    pipe, method = pipelines(name), METHODS[method]
    guidance = 1.0 if name in ("flux-dev", "flux-schnell", "flux2-dev") else 5.0
    options = {"eta": eta, "guidance": guidance, **({"negative": None} if name.startswith("flux2") else {})}
    plain = stock(name, pipe, 3, **options)
    with steering_hook(backbone(name, pipe), method, brightness, prompts=PROMPTS, eta=eta, guidance=guidance) as snapshots:
        steered = stock(name, pipe, 3, **options)
    ours = aligned(name, pipe, method, steps=3, **options)
    assert close(ours, steered, 1e-5)
    assert not close(plain, steered, 1e-4), "the method did nothing"
    assert {snapshot.index for snapshot in snapshots} >= {0, 2}
    denoiser = pipe.unet if hasattr(pipe, "unet") else pipe.transformer
    assert not {**denoiser._forward_hooks, **denoiser._forward_pre_hooks}, "a hook was left behind"


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def check_steered(pipe, call, method, ours, tolerance=1e-5):
    """The call gives the result of our loop under the hook, and a different result without it, before and after."""
    plain = pipe(PROMPTS, generator=torch.Generator().manual_seed(0), **call).images
    with steering_hook(pipe, method, brightness, prompts=PROMPTS, eta=call.get("eta")) as snapshots:
        steered = pipe(PROMPTS, generator=torch.Generator().manual_seed(0), **call).images
    assert close(ours, steered, tolerance)
    assert not close(plain, steered, 1e-3), "the method did nothing"
    assert snapshots
    assert torch.equal(pipe(PROMPTS, generator=torch.Generator().manual_seed(0), **call).images, plain)


def in_our_loop(pipe, method, more, **options):
    """The method's result in our own loop, where the U-Net also gets the inputs `more(x, time, unsteered embedding)`."""
    plain = (stable_diffusion_xl if hasattr(pipe, "text_encoder_2") else stable_diffusion)(pipe)
    text, null = plain.encode(PROMPTS, 32, 32), plain.encode_null([None] * 2, 32, 32)

    def predict(x, step, embedding):
        """Predicts each branch by itself, since the additional inputs differ between the branches."""
        branches = (slice(first, first + 2) for first in range(0, len(x), 2))
        return torch.cat([one_branch(x[rows], step, embedding[rows]) for rows in branches])

    def one_branch(x, step, embedding):
        kept, steered = (text, null) if isinstance(method, NullTTA) else (null, text)
        x, unsteered = x * step.input_scale, kept if torch.equal(embedding.tokens, kept.tokens) else steered
        told, also = plain.family.conditioning(embedding), more(x, step.time, plain.family.conditioning(unsteered))
        x = torch.cat([x, *also.pop("beside", [])], dim=1)
        added = {**told.pop("added_cond_kwargs", {}), **also.pop("added_cond_kwargs", {})}
        return pipe.unet(x, step.time, **told, **also, added_cond_kwargs=added, return_dict=False)[0]

    noises = tta_core.GivenNoise(tuple(row[None] for row in drawn("sd", 4)))
    options |= {"steps": 4, "guidance": 5.0, "height": 32, "width": 32, "noises": noises}
    shown = WrappedBackbone(plain, predicting=predict)
    with tta_core.prepare(PROMPTS, backbone=shown, method=method, reward=brightness, **options) as prepared:
        *_, last = method.align(prepared.problem)
    return last.x0


@pytest.fixture
def borrowed(pipelines):
    """The parts of a pipeline with its own copy of the U-Net, which a test may change."""

    def parts(name):
        pipe = pipelines(name)
        return {**pipe.components, "unet": copy.deepcopy(pipe.unet)}

    return parts


def random_controlnet(unet):
    torch.manual_seed(1)
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(4, 8)).eval()
    for parameter in (*controlnet.controlnet_down_blocks.parameters(), *controlnet.controlnet_mid_block.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    for parameter in controlnet.controlnet_cond_embedding.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return controlnet


@pytest.mark.parametrize(
    ("name", "cls", "method"),
    [
        ("sd", StableDiffusionControlNetPipeline, "date"),
        ("sd", StableDiffusionControlNetPipeline, "null-tta"),
        ("sdxl", StableDiffusionXLControlNetPipeline, "date"),
    ],
)
def test_a_controlnet_is_steered(borrowed, name, cls, method):
    parts, method = borrowed(name), METHODS[method]
    controlnet = random_controlnet(parts["unet"])
    pipe = quiet(cls(**parts, controlnet=controlnet, **({"requires_safety_checker": False} if name == "sd" else {})))
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    call = {"image": image, "guidance_scale": 5.0, "controlnet_conditioning_scale": 0.8, **SIZE, **({"eta": 1.0} if name == "sd" else {})}

    def more(x, time, conditioning):
        down, middle = controlnet(x, time, controlnet_cond=image, conditioning_scale=0.8, return_dict=False, **conditioning)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    check_steered(pipe, call, method, in_our_loop(pipe, method, more, eta=call.get("eta")))


def test_an_ip_adapter_is_steered(borrowed):
    parts = borrowed("sd")
    unet = parts["unet"]
    torch.manual_seed(1)
    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    widths = {name: unet.get_submodule(name.removesuffix(".processor")).to_k.out_features for name in names}
    keys = {2 * row + 1: widths[name] for row, name in enumerate(names)}
    weights = {f"{key}.to_{kind}_ip.weight": torch.randn(width, 32) * 0.3 for key, width in keys.items() for kind in "kv"}
    projection = {
        "proj.weight": torch.randn(4 * 32, 16),
        "proj.bias": torch.randn(4 * 32),
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
    }
    pipe = quiet(StableDiffusionPipeline(**parts, requires_safety_checker=False))
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": weights}], low_cpu_mem_usage=False)
    images = torch.randn(2, 1, 1, 16)  # null, text
    call = {"ip_adapter_image_embeds": [images.flatten(0, 1)], "guidance_scale": 5.0, **SIZE}
    with pytest.raises(IncompatibleError, match="IP-Adapter"):
        tta_core.align(PROMPTS, backbone=pipe, method="fixed", reward=brightness, steps=2)
    nulls = stable_diffusion(pipe).encode_null([None] * 2, 32, 32).tokens

    def more(x, time, conditioning):
        image = images[0 if torch.equal(conditioning["encoder_hidden_states"], nulls) else 1]
        return {"added_cond_kwargs": {"image_embeds": [image.expand(2, 1, 16)]}}

    check_steered(pipe, call, METHODS["date"], in_our_loop(pipe, METHODS["date"], more))


@pytest.mark.parametrize("method", ["date", "universal-guidance"])
def test_a_mask_in_additional_channels_is_steered(borrowed, method):
    parts, method = borrowed("sd"), METHODS[method]
    torch.manual_seed(1)
    parts["unet"] = unet(in_channels=9).eval()
    pipe = quiet(StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False))
    generator = torch.Generator().manual_seed(3)
    image, masked = torch.rand(2, 3, 32, 32, generator=generator), torch.randn(2, 4, 16, 16, generator=generator)
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 16:] = 1
    call = {
        "image": image,
        "mask_image": mask,
        "masked_image_latents": masked,
        "strength": 1.0,
        "guidance_scale": 5.0,
        "eta": 0.0,
        **SIZE,
    }
    with pytest.raises(IncompatibleError, match="a mask"):
        tta_core.align(PROMPTS, backbone=pipe, method="fixed", reward=brightness, steps=2, height=32, width=32)

    def more(x, time, conditioning):
        return {"beside": [mask[..., ::2, ::2], masked]}

    check_steered(pipe, {**call, **SIZE, "latents": drawn("sd", 0)[0]}, method, in_our_loop(pipe, method, more, eta=0.0))


@pytest.mark.parametrize(
    ("scheduler", "method"),
    [(DDIMScheduler, "date"), (DPMSolverMultistepScheduler, "date"), (DPMSolverMultistepScheduler, "mpgd recomputed")],
)
def test_an_image_to_image_call_is_steered(pipelines, scheduler, method):
    pipe = pipelines("sd")
    pipe.scheduler = scheduler.from_config(pipe.scheduler.config)
    other, method = quiet(StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)), METHODS[method]
    x0, (noise, *_) = drawn("sd", 1)[1] * 0.5, drawn("sd", 0)
    table = native(pipe.scheduler, 8, None, (4, 16, 16))
    sampler = last_steps(table, 0.6)
    first = sampler.steps[0]
    options = {"guidance": 5.0, "scheduler": sampler, "latents": (first.a * x0 + first.s * noise) / table.initial_std}
    with tta_core.prepare(PROMPTS, backbone=pipe, method=method, reward=brightness, **options) as prepared:
        *_, last = method.align(prepared.problem)
    call = {"image": x0, "strength": 0.6, "num_inference_steps": 8, "guidance_scale": 5.0, "output_type": "latent"}
    check_steered(other, call, method, last.x0)


class Custom:
    """A pipeline that is not a diffusers class: its own loop, positional arguments, and a compiled U-Net."""

    def __init__(self, pipe):
        self.text, self.unet, self.vae = pipe, torch.compile(pipe.unet, backend="eager"), pipe.vae
        self.scheduler, self.vae_scale_factor = pipe.scheduler, pipe.vae_scale_factor

    @torch.no_grad()
    def __call__(self, prompts, x):
        text, null = self.text.encode_prompt(prompts, "cpu", 1, True, [NEGATIVE] * 2)
        self.scheduler.set_timesteps(4)
        for time in self.scheduler.timesteps:
            without, given = self.unet(torch.cat([x, x]), time, torch.cat([null, text])).sample.chunk(2)
            x = self.scheduler.step(without + 5.0 * (given - without), time, x).prev_sample
        return x


@pytest.mark.parametrize("stance", ["force_eager", pytest.param("default", marks=pytest.mark.slow)])  # compilation takes a minute
def test_a_users_own_pipeline_is_steered(pipelines, stance):
    with torch.compiler.set_stance(stance):
        check_a_pipeline_of_ones_own(pipelines("sd"), METHODS["date"])


def check_a_pipeline_of_ones_own(pipe, method):
    own, x = Custom(pipe), drawn("sd", 0)[0]
    plain = own(PROMPTS, x)
    with pytest.raises(InputError, match="Custom"):
        steering_hook(own, method, brightness, prompts=PROMPTS)
    with steering_hook(stable_diffusion(own), method, brightness, prompts=PROMPTS, guidance=5.0):
        steered = own(PROMPTS, x)
    assert close(aligned("sd", pipe, method), steered, 1e-5)
    assert not close(plain, steered, 1e-3)


def test_a_second_call_is_steered_from_the_start(pipelines):
    pipe = pipelines("sd")
    with steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS) as snapshots:
        first, second = stock("sd", pipe, 3), stock("sd", pipe, 3)
    assert torch.equal(first, second)
    indices = [snapshot.index for snapshot in snapshots]
    assert indices == [*indices[: len(indices) // 2]] * 2


def test_without_guidance_the_text_alone_is_steered(pipelines):
    pipe = pipelines("sd")
    with steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS):
        steered = stock("sd", pipe, 4, guidance=1.0)
    assert close(aligned("sd", pipe, METHODS["date"], guidance=1.0), steered, 1e-5)


def test_an_error_of_the_reward_reaches_the_pipelines_caller(pipelines):
    def broken(images, prompts):
        raise ValueError("the reward broke")

    pipe = pipelines("sd")
    flags = [parameter.requires_grad for parameter in pipe.unet.parameters()]
    with pytest.raises(Exception, match="the reward broke"), steering_hook(pipe, METHODS["date"], broken, prompts=PROMPTS):
        stock("sd", pipe, 3)
    assert [parameter.requires_grad for parameter in pipe.unet.parameters()] == flags
    assert not pipe.unet._forward_pre_hooks


def test_an_interrupted_call_restores_everything(pipelines):
    pipe = pipelines("sd")
    flags = [parameter.requires_grad for parameter in pipe.unet.parameters()]

    def interrupt(pipe, index, time, tensors):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), steering_hook(pipe, METHODS["date"], brightness, prompts=PROMPTS):
        pipe(PROMPTS, num_inference_steps=4, height=32, width=32, latents=drawn("sd", 0)[0], callback_on_step_end=interrupt)
    assert [parameter.requires_grad for parameter in pipe.unet.parameters()] == flags
    assert not pipe.unet._forward_pre_hooks


def refused(pipe, method, error, match, call):
    with pytest.raises(error, match=match), steering_hook(pipe, method, brightness, prompts=PROMPTS, guidance=5.0):
        call()


REFUSED = {
    "changes x": [FreeDoM(), DPS(), LGD(), TFG(), DAS(1), DAS(2), PathSearch()],
    "several particles": [NullTTA(particles=2), FK(2), SVDD(2), RBF()],
    "more than once": [DNO(), ReNO(), NoiseSearch(), BestOfN(2), UniversalGuidance(repetitions=2), MPGD(repetitions=2)],
}
CASES = [(method, reason) for reason, methods in REFUSED.items() for method in methods]


@pytest.mark.parametrize(("method", "reason"), CASES, ids=lambda value: type(value).__name__)
def test_a_method_that_does_not_work_inside_a_call_is_refused_with_the_reason(pipelines, method, reason):
    refused(pipelines("sd"), method, IncompatibleError, f"Cannot use a method .*{reason}", lambda: pytest.fail("the call was made"))


def test_keeping_the_predicted_noise_is_refused_with_a_second_order_sampler(pipelines):
    pipe = pipelines("sd")
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    refused(pipe, METHODS["mpgd"], IncompatibleError, "second order.*noise='recomputed'", lambda: stock("sd", pipe, 3))


def test_attention_that_cannot_be_changed_is_refused_by_name(pipelines):
    pipe = pipelines("sd3")
    refused(backbone("sd3", pipe), EBCA(), IncompatibleError, "cross-attention with", lambda: stock("sd3", pipe, 2, guidance=5.0))


def test_impossible_combinations_are_refused_with_the_reason(pipelines):
    pipe, flux = pipelines("sd"), pipelines("flux-dev")
    refused(pipe, Sequential((METHODS["date"], METHODS["date"])), IncompatibleError, "more than once", lambda: stock("sd", pipe, 2))
    refused(
        backbone("flux-dev", flux), DATE(), IncompatibleError, "no unconditional branch", lambda: stock("flux-dev", flux, 2, guidance=2.0)
    )
    with torch.inference_mode():
        refused(pipe, DATE(), InputError, "inference_mode", lambda: stock("sd", pipe, 2))
    refused(pipe, DATE(), InputError, "one prompt for each sample", lambda: pipe(["a"] * 3, num_inference_steps=2, height=32, width=32))
    refused(pipe, DATE(), InputError, "one prompt for each sample", lambda: pipe("a", guidance_scale=5.0, **SIZE))
    refused(pipe, DATE(), InputError, "guidance 5, but the pipeline is called with 3", lambda: stock("sd", pipe, 2, guidance=3.0))
    pipe.scheduler = PNDMScheduler.from_config(pipe.scheduler.config, skip_prk_steps=True)
    with pytest.warns(SamplerReplaced):
        refused(pipe, DATE(), IncompatibleError, "not Gaussian transitions", lambda: stock("sd", pipe, 3))


@pytest.mark.parametrize("own", [{"timesteps": [900, 400, 10]}, {"sigmas": [9.0, 3.0, 0.5, 0.0]}])
def test_custom_timesteps_are_steered(pipelines, own):
    pipe, method = pipelines("sd"), METHODS["date"]
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    noises = tta_core.GivenNoise(tuple(row[None] for row in drawn("sd", 3)))
    options = {"guidance": 5.0, "height": 32, "width": 32, "noises": noises, **own}
    with tta_core.prepare(PROMPTS, backbone=pipe, method=method, reward=brightness, **options) as prepared:
        *_, last = method.align(prepared.problem)
    call = {"guidance_scale": 5.0, "height": 32, "width": 32, "output_type": "latent", **own}
    check_steered(pipe, call, method, last.x0)


def changing(pipe, guidances, call):
    """The call with a callback that changes the guidance from step to step; below 1 the null branch is not evaluated."""

    def change(pipe, index, time, tensors):
        pipe._guidance_scale = guidances[min(index + 1, 3)]
        embeddings = tensors["prompt_embeds"]
        return {"prompt_embeds": embeddings if pipe._guidance_scale > 1 or len(embeddings) == 2 else embeddings.chunk(2)[1]}

    options = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    return pipe(PROMPTS, generator=torch.Generator().manual_seed(0), guidance_scale=guidances[0], **SIZE, **call, **options).images


@pytest.mark.parametrize("guidances", [(9.0, 6.0, 3.0, 2.0), (5.0, 5.0, 1.0, 0.0)])
def test_guidance_that_changes_during_the_call_is_used(pipelines, guidances):
    @attrs.frozen
    class Told:
        def __call__(self, index, total):
            return guidances[index]

        def __mul__(self, other):
            raise NotImplementedError

    pipe, method = pipelines("sd"), DATE(rho=2.0, updates=Every(1))
    plain = changing(pipe, guidances, {})
    with steering_hook(pipe, method, brightness, prompts=PROMPTS):
        steered = changing(pipe, guidances, {})
    noises = tta_core.GivenNoise(tuple(row[None] for row in drawn("sd", 4)))
    options = {"steps": 4, "guidance": Told(), "noises": noises}
    with tta_core.prepare(PROMPTS, backbone=pipe, method=method, reward=brightness, **options) as prepared:
        *_, last = method.align(prepared.problem)
    assert close(last.x0, steered, 1e-5)
    assert not close(plain, steered, 1e-3)


def test_embeddings_that_a_callback_changes_are_refused(pipelines):
    pipe = pipelines("sd")

    def change(pipe, index, time, tensors):
        return {"prompt_embeds": tensors["prompt_embeds"] * 1.1}

    options = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["prompt_embeds"], "guidance_scale": 5.0}
    refused(pipe, DATE(), InputError, "embedding changed", lambda: pipe(PROMPTS, **SIZE, **options))


def test_look_aheads_use_rescaled_guidance(pipelines):
    pipe, method = pipelines("sd"), METHODS["date"]
    call = {"guidance_scale": 5.0, "guidance_rescale": 0.7, **SIZE}
    noises = tta_core.GivenNoise(tuple(row[None] for row in drawn("sd", 4)))
    options = {"steps": 4, "guidance": 5.0, "noises": noises, "backbone": stable_diffusion(pipe, guidance_rescale=0.7)}
    with tta_core.prepare(PROMPTS, method=method, reward=brightness, **options) as prepared:
        *_, last = method.align(prepared.problem)
    check_steered(pipe, call, method, last.x0)


def test_a_denoiser_that_was_compiled_in_place_is_steered(borrowed):
    pipe, method = quiet(StableDiffusionPipeline(**borrowed("sd"), requires_safety_checker=False)), METHODS["date"]
    with steering_hook(pipe, method, brightness, prompts=PROMPTS):
        expected = stock("sd", pipe, 3)
    pipe.unet.compile(backend="eager")
    with steering_hook(pipe, method, brightness, prompts=PROMPTS):
        steered = stock("sd", pipe, 3)
    assert pipe.unet._compiled_call_impl is not None
    assert close(expected, steered, 1e-5)


@pytest.mark.slow  # compilation takes long
@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_denoiser_that_is_compiled_under_the_hook_is_steered(borrowed, how):
    pipe, method = quiet(StableDiffusionPipeline(**borrowed("sd"), requires_safety_checker=False)), METHODS["date"]
    with steering_hook(pipe, method, brightness, prompts=PROMPTS):
        expected = stock("sd", pipe, 2)
    with steering_hook(pipe, method, brightness, prompts=PROMPTS) as snapshots:
        if how == "in place":
            pipe.unet.compile(backend="eager")
        else:
            pipe.unet = torch.compile(pipe.unet, backend="eager")
        steered = stock("sd", pipe, 2)
    assert snapshots
    assert close(expected, steered, 1e-5)


@pytest.mark.parametrize("steps", [5, 7, 9])
def test_every_number_of_steps_of_flux_is_steered(pipelines, steps):
    pipe = pipelines("flux-dev")
    with steering_hook(backbone("flux-dev", pipe), METHODS["date"], brightness, prompts=PROMPTS) as snapshots:
        stock("flux-dev", pipe, steps, guidance=1.0)
    assert snapshots


def test_true_guidance_with_two_calls_per_step_is_steered(pipelines):
    pipe, method = pipelines("flux-dev"), METHODS["date"]
    ours = aligned("flux-dev", pipe, method, guidance=2.0)
    plain = stock("flux-dev", pipe, 4, guidance=2.0)
    with steering_hook(backbone("flux-dev", pipe, true_guidance=True), method, brightness, prompts=PROMPTS, guidance=2.0):
        steered = stock("flux-dev", pipe, 4, guidance=2.0)
    assert close(ours, steered, 1e-5)
    assert not close(plain, steered, 1e-4)


@pytest.mark.parametrize("name", ["qwen-image", "z-image", "sd3", "sana", "lumina2"])
def test_null_embeddings_of_transformers_are_steered(pipelines, name):
    """With Null-TTA and the sampler's kernel."""
    pipe = pipelines(name)
    method = NullTTA(particles=1, inner_min=1, inner_max=2, kernel="sampler", variable=tta_core.NullEmbedding())
    with prepared(name, pipe, 3, scheduler="flow-sde") as problem:
        null, snapshots = problem.controls.null, list(method.align(problem))
    moved = (snapshots[-2].controls.null.tokens - null.tokens).abs().sum(-1)
    assert (moved > 0).any(1).all(), "a sample's null embedding was not steered"
    assert null.mask is None or not moved[null.mask == 0].any(), "a dead token was steered"


@pytest.mark.parametrize("name", ["sd3", "z-image", "lumina2"])  # null branch first, text branch first, one call per branch
def test_null_embeddings_of_transformers_are_steered_in_the_pipelines_call(pipelines, name):
    pipe, steering = pipelines(name), DATE(rho=2.0, updates=Every(1), variable=tta_core.NullEmbedding())
    with steering_hook(backbone(name, pipe), steering, brightness, prompts=PROMPTS, guidance=5.0):
        steered = stock(name, pipe, 4)
    assert close(aligned(name, pipe, steering), steered, 1e-5)
    assert not close(stock(name, pipe, 4), steered, 1e-4)


def steer(pipe, method=METHODS["date"], **options):
    return steering_hook(pipe, method, brightness, prompts=PROMPTS, **options)


def test_a_hook_whose_pipeline_is_not_called_says_so(pipelines):
    with pytest.warns(UserWarning, match="was not called inside its context, so nothing was steered"), steer(pipelines("sd")) as snapshots:
        pass
    assert not snapshots


def test_a_pipeline_is_not_steered_twice(pipelines):
    pipe = pipelines("sd")
    refused = pytest.raises(InputError, match="already steered by an open steering_hook")
    with pytest.warns(UserWarning, match="nothing was steered"), steer(pipe), refused, steer(pipe):
        pass


def test_guidance_that_is_no_number_is_refused_by_name(pipelines, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users do not have these checks
    with pytest.raises(InputError, match="guidance is '3', but it takes a finite number"):
        steer(pipelines("sd"), guidance="3")


@attrs.frozen
class Stranger:
    """A method whose code fails, or that makes no prediction."""

    fails: bool
    needs = tta_core.Needs()

    def align(self, problem):
        if self.fails:
            raise ZeroDivisionError("by a stranger")
        yield tta_core.Snapshot(0, 1, problem.controls, problem.controls.noise[0])


@pytest.mark.parametrize(("fails", "message"), [(True, "Stranger .* raised ZeroDivisionError: by a stranger"), (False, "no prediction")])
def test_a_method_that_fails_inside_a_call_is_named(pipelines, fails, message):
    pipe = pipelines("sd")
    with steer(pipe, Stranger(fails)), pytest.raises(RunError, match=message):
        pipe(PROMPTS, **SIZE)
