"""A run uses a pipeline's parts and does not change them: embeddings equal the pipeline's own, all parts are restored, and every dtype
works."""

import copy
import inspect
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from diffusers import EulerDiscreteScheduler, FirstBlockCacheConfig, LCMScheduler, StableDiffusionXLImg2ImgPipeline
from PIL import Image
from stock import NEGATIVE, PROMPTS, SHORT, backbone, brightness, close, drawn, prepared
from tiny_pipelines import REFINER, unet
from torch.utils.checkpoint import checkpoint

import tta_core
from tta_core.errors import IncompatibleError, InputError, LoadError, RewardError
from tta_core.plugins.resolve import backbone as resolved
from tta_core.solving.from_image import last_steps
from tta_core.values.schedules import Every
from tta_plugins.backbones.denoiser import device_of
from tta_plugins.backbones.flux import flux
from tta_plugins.backbones.pretrained import load_pipeline
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.backbones.stable_diffusion_xl import stable_diffusion_xl
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.schedulers.native import native

ALL = ["sd", "sd-v", "sd-tiny-vae", "sdxl", "sd3", "flux-dev", "flux-schnell", "pixart-alpha", "pixart-sigma"]
METHODS = {
    "best-of-n": BestOfN(3),
    "date": DATE(rho=0.1),
    "dno": DNO(2),
    "null-tta": NullTTA(particles=3, inner_min=1, inner_max=1),
}
LANGUAGE_MODELS = ["qwen-image", "z-image", "flux2-klein", "sana", "lumina2", "auraflow", "chroma", "kolors", "hunyuan-dit"]
FAMILIES = ["sd", "sd-tiny-vae", "sdxl", "sd3", "flux-dev", "pixart-alpha"]


def encoded(name, pipe):
    """(text, pooled, null, null pooled) from the pipeline's own encode_prompt."""
    negative = [NEGATIVE] * 2
    if name.startswith("flux"):
        text, pooled, _ = pipe.encode_prompt(PROMPTS, None, max_sequence_length=SHORT)
        null, null_pooled, _ = pipe.encode_prompt(negative, None, max_sequence_length=SHORT)
        return text, pooled, null, null_pooled
    if name.startswith("pixart"):
        text, _, null, _ = pipe.encode_prompt(PROMPTS, True, negative, max_sequence_length=SHORT)
        return text, None, null, None
    if name == "sd3":
        text, null, pooled, null_pooled = pipe.encode_prompt(PROMPTS, None, None, negative_prompt=negative, max_sequence_length=SHORT)
        return text, pooled, null, null_pooled
    if name == "sdxl":
        text, null, pooled, null_pooled = pipe.encode_prompt(PROMPTS, negative_prompt=negative)
        return text, pooled, null, null_pooled
    text, null = pipe.encode_prompt(PROMPTS, "cpu", 1, True, negative)
    return text, None, null, None


@pytest.mark.parametrize("name", ALL)
def test_embeddings_are_the_pipelines_own(name, pipelines):
    pipe = pipelines(name)
    made = backbone(name, pipe, true_guidance=True)
    made = resolved(made)
    with torch.no_grad():
        text, null = made.encode(PROMPTS, 32, 32), made.encode_null([NEGATIVE] * 2, 32, 32)
        expected = encoded(name, pipe)
    for ours, theirs in zip((text.tokens, text.pooled, null.tokens, null.pooled), expected, strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "make", "most"), [("sd", stable_diffusion, 2), ("sdxl", stable_diffusion_xl, 1)])
def test_layers_of_the_text_encoder_are_skipped(name, make, most, pipelines):
    pipe = pipelines(name)
    tokens = [make(pipe, clip_skip=skip).encode(PROMPTS, 32, 32).tokens for skip in (None, *range(most + 1))]
    assert torch.equal(tokens[0], tokens[1])
    assert not torch.equal(tokens[1], tokens[2])
    encoder = pipe.text_encoder
    ids = pipe.tokenizer(PROMPTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states = encoder(ids, output_hidden_states=True).hidden_states
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    expected = norm(states[-2]) if name == "sd" else states[-3]
    torch.testing.assert_close(tokens[2][..., : expected.shape[-1]], expected)
    for skip in (-1, most + 1):
        with pytest.raises(InputError, match=f"clip_skip is {skip}, .* 0 to {most} layers"):
            make(pipe, clip_skip=skip)


def test_sdxl_null_embeddings_are_zeros_only_without_a_negative_prompt(pipelines):
    null = resolved(pipelines("sdxl")).encode_null([None, ""], 32, 32)
    assert not null.tokens[0].any()
    assert not null.pooled[0].any()
    assert null.tokens[1].any()
    assert null.pooled[1].any()


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-schnell", "pixart-sigma", "kolors", "hunyuan-dit"])
def test_a_folder_samples_what_the_object_samples(name, folders, pipelines):
    loaded = load_pipeline(str(folders(name)), torch.float32, "cpu")
    with prepared(name, loaded, 2, guidance=1.0 if "flux" in name else 5.0) as ours, torch.no_grad():
        from_folder = ours.sample(ours.controls)
    with prepared(name, pipelines(name), 2, guidance=1.0 if "flux" in name else 5.0) as ours, torch.no_grad():
        assert torch.equal(ours.sample(ours.controls), from_folder)


def test_subclasses_are_recognised(pipelines):
    pipe = pipelines("sd")

    class Mine(type(pipe)):
        pass

    made = resolved(Mine(**pipe.components, requires_safety_checker=False))
    assert made.defaults.height == 32
    assert made.__name__ == "Mine"
    with pytest.raises(InputError, match="StableDiffusionPipeline"):
        resolved(pipe.unet)


def state(pipe):
    """Everything about a pipeline that a run could change.

    The text encoder is called once before, because transformers 5 adds hooks at the first call that requests hidden states.
    """
    encoder = pipe.text_encoder
    encoder(torch.zeros(1, 8, dtype=torch.long), output_hidden_states=True)
    if getattr(pipe, "text_encoder_2", None) is not None:
        pipe.text_encoder_2(torch.zeros(1, 8, dtype=torch.long), output_hidden_states=True)
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    return {
        "scheduler": (id(pipe.scheduler), pickle.dumps(pipe.scheduler)),
        "config": pickle.dumps(dict(pipe.config)),
        "parts": {name: id(part) for name, part in parts.items()},
        "flags": {
            name: [(m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in part.modules()] for name, part in parts.items()
        },
        "parameters": {
            name: [(p.data_ptr(), p.dtype, p.device, p.requires_grad, p.grad) for p in part.parameters()] for name, part in parts.items()
        },
        "values": {name: [p.double().sum().item() for p in part.parameters()] for name, part in parts.items()},
    }


def broken(images, prompts):
    raise ValueError("broken")


def interrupted(snapshot):
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["sd", "sdxl", "flux-dev"])
def test_a_run_leaves_the_pipeline_as_it_was(name, pipelines):
    pipe = pipelines(name)
    pipe.vae.train()
    next(pipe.vae.parameters()).requires_grad_(False)
    before = state(pipe)
    options = {"backbone": backbone(name, pipe), "method": DATE(rho=0.1), "steps": 2, "height": 32, "width": 32}
    tta_core.align(PROMPTS, reward=brightness, **options)
    assert state(pipe) == before
    with pytest.raises(RewardError, match="broken"):
        tta_core.align(PROMPTS, reward=broken, **options)
    assert state(pipe) == before
    stopped = tta_core.align(PROMPTS, reward=brightness, observers=[interrupted], **options)
    assert stopped.stopped.startswith("interrupted")
    assert state(pipe) == before
    pipe.vae.eval()
    next(pipe.vae.parameters()).requires_grad_(True)


@pytest.mark.parametrize("name", ["sdxl", "flux-dev"])
@pytest.mark.parametrize(("memory", "tolerance"), [("bf16", 0.1), ("fp16", 0.02), ("checkpointing", 1e-5)])
def test_memory_policies_apply_and_are_undone(name, memory, tolerance, pipelines):
    pipe = pipelines(name)
    before = state(pipe)
    options = {"backbone": backbone(name, pipe), "method": DATE(rho=0.1), "reward": brightness, "steps": 2, "height": 32, "width": 32}
    options |= {"baseline": False}
    plain, saved = tta_core.align(PROMPTS, **options), tta_core.align(PROMPTS, memory=memory, **options)
    assert (saved.result.pixels - plain.result.pixels).norm() <= tolerance * plain.result.pixels.norm()
    after = state(pipe)
    if memory in ("bf16", "fp16"):
        before["parameters"] = after["parameters"] = ()
    assert after == before


# FLUX in bfloat16 on the oldest diffusers: 0.062, else below 0.05
HALVES = {"bf16": (torch.bfloat16, 0.08, 0.03), "fp16": (torch.float16, 0.01, 0.004)}


@pytest.mark.parametrize(
    ("name", "halves"),
    [
        *((name, ("bf16", "fp16")) for name in FAMILIES),
        *((name, ("bf16",)) for name in LANGUAGE_MODELS),
        *(pytest.param(name, ("fp16",), marks=pytest.mark.slow) for name in LANGUAGE_MODELS),
    ],
)
def test_half_precision_networks_take_and_return_float32(name, halves, pipelines):
    x = drawn(name, 0)[0]
    # Chroma's modulation is a network of the rounded time: 0.84 in bfloat16 on the oldest diffusers
    coarser, alike = (5, 0.75) if name == "chroma" else (1, 0.95)
    with prepared(name, pipelines(name), 2, guidance=2.0 if "flux" in name else 5.0) as exact:
        tokens = exact.controls.text.tokens.clone().requires_grad_()
        step, text = (
            exact.steps[1],
            tta_core.Embedding(tokens, exact.controls.text.pooled, exact.controls.text.mask, exact.controls.text.extra),
        )
        full, images = exact.backbone.predict(x, step, text), exact.backbone.decode(x)
        (gradient,) = torch.autograd.grad(full.square().sum(), tokens)
        for dtype, outputs, decoded in map(HALVES.get, halves):
            half_backbone = resolved(backbone(name, copy.deepcopy(pipelines(name)).to(dtype)))
            half, half_images = half_backbone.predict(x, step, text), half_backbone.decode(x)
            assert half_backbone.encode(PROMPTS, 32, 32).tokens.dtype == half.dtype == half_images.dtype == torch.float32
            assert (half - full).norm() <= coarser * outputs * full.norm()
            assert (half_images - images).norm() <= decoded * images.norm()
            (other,) = torch.autograd.grad(half.square().sum(), tokens)
            assert other.dtype == torch.float32
            assert torch.cosine_similarity(gradient.flatten(), other.flatten(), dim=0) > alike


@pytest.mark.parametrize("name", ["sd-tiny-vae", "sdxl", "sd3", "flux-dev"])
def test_checkpointing_and_slicing_change_nothing(name, pipelines):
    pipe = copy.deepcopy(pipelines(name))
    with prepared(name, pipe, 2, guidance=2.0 if "flux" in name else 5.0) as problem:
        tokens = problem.controls.text.tokens.clone().requires_grad_()
        text = tta_core.Embedding(tokens, problem.controls.text.pooled, problem.controls.text.mask, problem.controls.text.extra)

        def gradient():
            output = problem.backbone.predict(drawn(name, 0)[0], problem.steps[0], text)
            return torch.autograd.grad(problem.backbone.decode(output).square().sum(), tokens)[0]

        plain = gradient()
        for network in (problem.backbone.networks["denoiser"], problem.backbone.networks["decoder"]):
            if network._supports_gradient_checkpointing:
                network.enable_gradient_checkpointing()
        assert torch.equal(gradient(), plain)
        pipe.vae.enable_slicing()
        assert (gradient() - plain).norm() <= 5e-5 * plain.norm()


def test_a_float16_sdxl_decodes_in_float32_and_stays_float16(pipelines):
    pipe = copy.deepcopy(pipelines("sdxl"))
    pipe.vae.half()
    x0 = drawn("sdxl", 0)[0].requires_grad_()
    images = resolved(pipe).decode(x0)
    exact = copy.deepcopy(pipe.vae).float()
    expected = exact.decode(x0 / exact.config.scaling_factor, return_dict=False)[0] / 2 + 0.5
    assert torch.equal(images, expected)
    assert {parameter.dtype for parameter in pipe.vae.parameters()} == {torch.float16}
    recomputed = checkpoint(resolved(pipe).decode, x0, use_reentrant=False)
    gradients = [torch.autograd.grad(value.sum(), x0)[0] for value in (images, recomputed)]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("name", ["flux-dev", "qwen-image", "z-image"])
def test_families_are_predicted_and_run(name, pipelines):
    options = {"backbone": backbone(name, pipelines(name)), "method": "fixed", "reward": brightness, "steps": 2, "height": 32, "width": 32}
    assert "chose the fastest" in str(tta_core.align(PROMPTS, memory="16GB", **options).manifest["memory"])


def test_a_float16_sdxl_is_predicted_and_run(pipelines):
    pipe = copy.deepcopy(pipelines("sdxl")).to(torch.float16)
    made = resolved(pipe)
    assert made.networks["decoder"] is made.networks["decoder"]
    assert made.networks["decoder"].dtype == torch.float32
    assert pipe.vae.dtype == torch.float16
    alignment = tta_core.align(PROMPTS, backbone=pipe, method="fixed", reward=brightness, steps=1, memory="16GB")
    assert "auto" in str(alignment.manifest["memory"]).lower()
    assert pipe.vae.dtype == torch.float16


def test_a_float16_pipeline_has_its_loss_scaled(pipelines):
    def faint(images, prompts):
        return 2e-2 * images.mean((1, 2, 3))

    gradients = []
    for pipe in (pipelines("sd"), copy.deepcopy(pipelines("sd")).to(torch.float16)):
        with tta_core.prepare(PROMPTS, backbone=pipe, method=DATE(rho=0.1), reward=faint, steps=2, height=32, width=32) as prepared:
            gradients.append(next(snapshot.gradient[0] for snapshot in prepared.method.align(prepared.problem) if snapshot.gradient))
    exact, half = (gradient.flatten(1) for gradient in gradients)
    assert torch.cosine_similarity(exact, half).min() > 0.98  # without scaling the whole gradient is 0


def test_force_upcast_is_used_if_the_familys_own_pipeline_uses_it(pipelines, tmp_path):
    pipe = copy.deepcopy(pipelines("sd"))
    pipe.vae.register_to_config(force_upcast=True)
    assert resolved(pipe).defaults.float32 == ()
    assert resolved(pipelines("sdxl")).defaults.float32 == ("decoder",)


def test_impossible_sizes_are_refused(pipelines):
    assert resolved(pipelines("sd")).latent_shape(32, 48) == (4, 16, 24)
    with pytest.raises(InputError, match="multiples of 2"):
        resolved(pipelines("sd")).latent_shape(33, 32)
    with pytest.raises(InputError, match="multiples of 4"):
        resolved(pipelines("flux-dev")).latent_shape(34, 32)
    with pytest.raises(InputError, match="multiples of 2"):
        resolved(pipelines("sd")).latent_shape(0, 32)


def test_flux_has_no_null_embedding_by_default(pipelines):
    assert not resolved(pipelines("flux-dev")).has_null
    assert flux(pipelines("flux-dev"), true_guidance=True).has_null
    with (
        pytest.raises(IncompatibleError, match="no unconditional branch"),
        tta_core.prepare(PROMPTS, backbone=pipelines("flux-dev"), method="fixed", reward=brightness, guidance=3.0),
    ):
        pass


def test_sd3_samples_without_t5(pipelines):
    pipe = pipelines("sd3")
    without = type(pipe)(**{**pipe.components, "text_encoder_3": None, "tokenizer_3": None})
    made = resolved(without)
    tokens = made.encode(PROMPTS, 32, 32).tokens
    assert set(made.networks) == {"denoiser", "decoder", "text_encoder", "text_encoder_2"}
    assert not tokens[:, 77:].any()


def test_a_pipeline_is_recognised_without_diffusers():
    script = """
import sys, types
from tta_core.plugins.resolve import backbone

class FluxPipeline:
    vae_scale_factor, default_sample_size = 8, 128
    vae = types.SimpleNamespace(config={})
    transformer = types.SimpleNamespace(config=types.SimpleNamespace(guidance_embeds=True))

class Mine(FluxPipeline): pass

assert backbone(Mine()).defaults.height == 1024
assert "diffusers" not in sys.modules and "transformers" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_pipelines_whose_denoiser_needs_more_than_text_are_refused(pipelines):
    def refused(pipe, why, name="sd"):
        options = {"method": "fixed", "reward": brightness, "steps": 1, "height": 32, "width": 32}
        with pytest.raises(IncompatibleError, match=why) as caught:
            tta_core.align(PROMPTS, backbone=backbone(name, pipe), **options)
        assert "steering_hook" in str(caught.value)

    pipe = copy.deepcopy(pipelines("sd"))
    pipe.unet.register_to_config(in_channels=9)
    refused(pipe, "9 input channels")
    pipe.unet.register_to_config(in_channels=4)
    pipe.unet.encoder_hid_proj = torch.nn.Identity()
    refused(pipe, "IP-Adapter")
    for name in ("sd", "flux-dev", "sd3"):
        pipe = copy.deepcopy(pipelines(name))
        pipe.controlnet = torch.nn.Identity()
        refused(pipe, "ControlNet", name)


def test_objects_that_are_not_pipelines_are_refused_by_name(tmp_path, folders):
    with pytest.raises(LoadError, match=r"no model_index\.json"):
        load_pipeline(str(tmp_path))
    damaged = tmp_path / "damaged"
    shutil.copytree(folders("sd"), damaged)
    weights = damaged / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(LoadError, match="missing or damaged"):
        load_pipeline(str(damaged))
    with pytest.raises(LoadError, match="not a folder"):
        load_pipeline(str(tmp_path / "nowhere"))


def test_a_run_starts_from_an_image(pipelines):
    pipe = pipelines("sd")
    image = Image.new("RGB", (32, 32), (200, 30, 30))
    options = {"backbone": pipe, "method": "fixed", "reward": brightness, "steps": 5, "guidance": 2.0}
    with tta_core.prepare(PROMPTS, image=image, strength=0.6, **options) as prepared:
        problem = prepared.problem
        assert [step.index for step in problem.steps] == [0, 1, 2]
        x0 = problem.backbone.encode_image(torch.tensor([200, 30, 30]).view(1, 3, 1, 1).expand(1, 3, 32, 32) / 255)
        noise = problem.noises(0, 0)
        step = problem.steps[0]
        torch.testing.assert_close(problem.start(problem.controls).x, step.a * x0 + step.s * noise)


def test_starting_from_an_images_latents_equals_stock_image_to_image(pipelines):
    from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline

    pipe = pipelines("sd")
    latents = drawn("sd", 1)[1] * 0.5
    for scheduler in (None, EulerDiscreteScheduler, DPMSolverMultistepScheduler):
        pipe.scheduler = scheduler.from_config(pipe.scheduler.config) if scheduler else pipe.scheduler
        other = StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False)
        other.set_progress_bar_config(disable=True)
        theirs = other(
            PROMPTS,
            image=latents,
            strength=0.6,
            num_inference_steps=8,
            guidance_scale=5.0,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images
        noises = tta_core.GivenNoise(tuple(row[None] for row in drawn("sd", 4)))
        options = {"backbone": other, "method": "fixed", "reward": brightness, "steps": 8, "guidance": 5.0, "noises": noises}
        made = resolved(other)
        image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
        with tta_core.prepare(PROMPTS, image=image, strength=0.6, **options) as prepared, torch.no_grad():
            problem = prepared.problem
            assert len(problem.steps) == 4
            step, x0 = problem.steps[0], made.encode_image(image)
            moved = step.a * (latents - x0) / step.s
            noise = problem.controls.noise.clone()
            noise[0] += moved
            ours = problem.sample(tta_core.Controls(problem.controls.text, problem.controls.null, noise))
        assert close(ours, theirs)


@pytest.mark.parametrize("refiner", [False, True])
def test_sdxl_image_to_image_and_the_refiner_get_the_stock_conditioning(pipelines, refiner):
    parts = dict(pipelines("sdxl").components)
    if refiner:
        torch.manual_seed(1)
        parts |= {"text_encoder": None, "tokenizer": None, "unet": unet(**REFINER).eval()}
    other = StableDiffusionXLImg2ImgPipeline(
        **parts, add_watermarker=False, requires_aesthetics_score=refiner, force_zeros_for_empty_prompt=not refiner
    )
    other.set_progress_bar_config(disable=True)
    made, x0, noise = resolved(other), drawn("sdxl", 1)[1] * 0.5, drawn("sdxl", 0)[0]
    call = {"strength": 0.6, "num_inference_steps": 8, "guidance_scale": 5.0, "output_type": "latent"}
    theirs = other(
        PROMPTS, image=x0, generator=torch.Generator().manual_seed(0), original_size=(32, 32), target_size=(32, 32), **call
    ).images
    sampler = last_steps(native(other.scheduler, 8, None, (4, 16, 16)), 0.6)
    start = (sampler.steps[0].a * x0 + sampler.steps[0].s * noise) / sampler.initial_std
    options = {"method": "fixed", "reward": brightness, "guidance": 5.0, "scheduler": sampler, "latents": start, "height": 32, "width": 32}
    with tta_core.prepare(PROMPTS, backbone=made, **options) as prepared, torch.no_grad():
        ours = prepared.problem.sample(prepared.problem.controls)
    assert close(ours, theirs)
    assert prepared.problem.controls.null.extra["time_ids"][0, -1] == (2.5 if refiner else 32)


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3", "flux-dev", "kolors"])
def test_image_to_image_classes_are_recognised(name, pipelines):
    import diffusers

    pipe = pipelines(name)
    cls = getattr(diffusers, type(pipe).__name__.replace("Pipeline", "Img2ImgPipeline"))
    names = inspect.signature(cls.__init__).parameters
    made = resolved(cls(**{name: part for name, part in pipe.components.items() if name in names}))
    assert made.family == resolved(pipe).family
    assert made.defaults == resolved(pipe).defaults


@pytest.mark.parametrize("name", METHODS)
def test_every_method_starts_from_the_image_with_every_particle(name, pipelines):
    image = torch.full((1, 3, 32, 32), 0.7)
    options = {"backbone": pipelines("sd"), "reward": brightness, "steps": 5, "guidance": 2.0, "image": image, "strength": 0.6}
    with tta_core.prepare(PROMPTS, method=METHODS[name], **options) as prepared:
        problem, method = prepared.problem, prepared.method
        first, x0 = problem.steps[0], problem.backbone.encode_image(image)
        for copy_, start in enumerate(problem.start(problem.controls, 3).x.split(2)):
            torch.testing.assert_close((start - first.a * x0) / first.s, problem.noises(0, copy_))
        *_, last = method.align(problem)
        assert torch.isfinite(last.x0).all()


def test_images_that_do_not_fit_are_refused(pipelines):
    pipe = pipelines("sd")
    options = {"backbone": pipe, "method": "fixed", "reward": brightness, "steps": 5}
    for image, strength, why in (
        (torch.rand(3, 3, 32, 32), 0.8, "samples take"),
        (torch.rand(1, 3, 32, 32) * 255, 0.8, "pixels must be numbers in"),
        ("image.png", 0.8, "could not be read as an image"),
        (torch.rand(1, 3, 32, 32), 0.1, "strength is 0.1"),
        (torch.rand(1, 3, 32, 32), 1.5, "strength is 1.5"),
    ):
        with pytest.raises((InputError, LoadError), match=why), tta_core.prepare(PROMPTS, image=image, strength=strength, **options):
            pass
    with (
        pytest.raises(InputError, match="Leave height and width out"),
        tta_core.prepare(PROMPTS, image=torch.rand(1, 3, 32, 32), height=64, width=64, **options),
    ):
        pass


@pytest.mark.parametrize("name", FAMILIES)
def test_images_are_encoded_to_latents(name, pipelines):
    made = resolved(pipelines(name))
    shape = made.latent_shape(32, 32)
    assert made.encode_image(torch.rand(2, 3, 32, 32)).shape == (2, *shape)


def test_given_embeddings_are_checked_and_completed(pipelines):
    pipe = pipelines("sdxl")
    made = resolved(pipe)
    own = made.encode(PROMPTS, 32, 32)
    options = {"backbone": pipe, "method": "fixed", "reward": brightness, "steps": 1, "height": 32, "width": 32}
    with tta_core.prepare(PROMPTS, text=tta_core.Embedding(own.tokens, own.pooled), **options) as prepared, torch.no_grad():
        assert torch.equal(prepared.problem.controls.text.extra["time_ids"], own.extra["time_ids"])
        prepared.problem.sample(prepared.problem.controls)
    for wrong, match in (
        (tta_core.Embedding(own.tokens), "text.pooled has no features"),
        (tta_core.Embedding(own.tokens[..., :8], own.pooled), "text.tokens has 8 features"),
    ):
        with pytest.raises(InputError, match=match), tta_core.prepare(PROMPTS, text=wrong, **options):
            pass


def test_a_distilled_pipelines_own_steps_and_guidance_are_used(pipelines):
    pipe = pipelines("sd")
    assert (resolved(pipe).defaults.steps, resolved(pipe).defaults.guidance) == (50, 7.5)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    assert (resolved(pipe).defaults.steps, resolved(pipe).defaults.guidance) == (4, 1.0)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    with pytest.warns(UserWarning, match="looks distilled"):
        alignment = tta_core.align(PROMPTS, backbone=pipe, method="fixed", reward=brightness)
    assert (alignment.manifest["steps"], alignment.manifest["guidance"]) == (4, 1.0)


def test_patched_denoisers_without_gradients_and_caches_are_refused(pipelines):
    pipe = copy.deepcopy(pipelines("sd"))
    pipe.unet.forward = torch.no_grad()(pipe.unet.forward)
    options = {"reward": brightness, "steps": 2, "height": 32, "width": 32}
    with pytest.raises(IncompatibleError, match="Cannot differentiate UNet2DConditionModel"):
        tta_core.align(PROMPTS, backbone=pipe, method=DATE(rho=0.1), **options)
    flux_pipe = copy.deepcopy(pipelines("flux-dev"))
    flux_pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.1))
    with pytest.raises(IncompatibleError, match="depends on earlier calls"):
        tta_core.align(PROMPTS, backbone=backbone("flux-dev", flux_pipe), method="fixed", **options)
    with (
        pytest.raises(IncompatibleError, match="depends on earlier calls"),
        tta_core.steering_hook(backbone("flux-dev", flux_pipe), DATE(rho=0.1), brightness, prompts=PROMPTS),
    ):
        flux_pipe(PROMPTS, num_inference_steps=2, height=32, width=32, max_sequence_length=SHORT)


def test_the_dtype_is_the_models_and_parameters_on_meta_are_named(pipelines):
    pipe = copy.deepcopy(pipelines("sd"))
    pipe.unet.conv_in.weight = torch.nn.Parameter(pipe.unet.conv_in.weight.to(torch.uint8), requires_grad=False)  # as in a quantised layer
    assert resolved(pipe).dtype == torch.float32
    pipe.unet = torch.nn.DataParallel(copy.deepcopy(pipelines("sd").unet))
    made = resolved(pipe)
    assert (made.dtype, made.device.type, made.defaults.height) == (torch.float32, "cpu", 32)
    options = {"method": DATE(rho=0.1), "reward": brightness, "steps": 2, "height": 32, "width": 32, "baseline": False}
    runs = [tta_core.align(PROMPTS, backbone=which, **options).result.pixels for which in (pipe, pipelines("sd"))]
    assert torch.equal(*runs)
    pipe.unet = copy.deepcopy(pipelines("sd").unet)
    pipe.unet.conv_in.to("meta")
    with pytest.raises(InputError, match=r"conv_in\.weight of UNet2DConditionModel has no values"):
        device_of(pipe.unet, pipe)


def offload_groups(pipe):
    if not hasattr(pipe, "enable_group_offload"):
        pytest.skip("This diffusers' pipelines offload no groups.")
    pipe.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")


OFFLOADED = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
    "groups": offload_groups,
}
# offloading moves weights to the same device here; tests/accelerator has two devices


@pytest.mark.parametrize("kind", OFFLOADED)
def test_an_offloaded_pipeline_samples_the_same_with_every_policy(kind, pipelines):
    pipe = copy.deepcopy(pipelines("flux-schnell"))
    OFFLOADED[kind](pipe)
    options = {"method": DATE(rho=0.1, updates=Every(1)), "reward": brightness, "steps": 1, "height": 32, "width": 32, "baseline": False}
    own, offloaded = (backbone("flux-schnell", which) for which in (pipelines("flux-schnell"), pipe))
    plain = tta_core.align(PROMPTS, backbone=own, **options).result.pixels
    for memory in ((), "checkpointing"):
        drawn_so = tta_core.align(PROMPTS, backbone=offloaded, memory=memory, **options).result.pixels
        assert (drawn_so - plain).norm() <= 5e-5 * plain.norm(), memory
    foreseen = tta_core.align(PROMPTS, backbone=offloaded, memory="16GB", **{**options, "method": "fixed"})
    assert "chose the fastest" in str(foreseen.manifest["memory"])


def test_a_differentiated_decoder_keeps_the_denoiser_on_the_device_for_the_backward(pipelines):
    """enable_model_cpu_offload moves the denoiser off the device when the decoder is called."""
    pipe = copy.deepcopy(pipelines("sd"))
    pipe.enable_model_cpu_offload(device="cpu")
    moved, hook = [], pipe.vae._hf_hook.prev_module_hook
    hook.model, hook.offload = torch.nn.Linear(1, 1, device="meta"), lambda: moved.append("denoiser")  # a network on another device
    x0 = drawn("sd", 0)[0]
    resolved(pipe).decode(x0.clone().requires_grad_())
    assert moved == []
    resolved(pipe).decode(x0)
    assert moved == ["denoiser"]


def test_gradients_through_weights_that_are_moved_or_changed_after_a_call_are_refused(pipelines):
    options = {"reward": brightness, "steps": 2, "height": 32, "width": 32}
    groups, cast = copy.deepcopy(pipelines("sd")), copy.deepcopy(pipelines("sd"))
    OFFLOADED["groups"](groups)
    for module in groups.unet.modules():
        hook = getattr(getattr(module, "_diffusers_hook", None), "hooks", {}).get("group_offloading")
        if hook is not None:
            hook.group.offload_device, hook.group.offload_ = torch.device("meta"), lambda: None
    cast.unet.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    for pipe, why in ((groups, "group offloading"), (cast, "layerwise casting")):
        with pytest.raises(IncompatibleError, match=f"Cannot differentiate UNet2DConditionModel with {why}"):
            tta_core.align(PROMPTS, backbone=pipe, method=DATE(rho=0.1), **options)
    assert resolved(cast).dtype == torch.float32
    drawn_anyway = tta_core.align(PROMPTS, backbone=cast, method=BestOfN(2), **options)
    assert torch.isfinite(drawn_anyway.result.pixels).all()
    with pytest.raises(IncompatibleError, match="predict the memory of a network with layerwise casting"):
        tta_core.align(PROMPTS, backbone=cast, method=BestOfN(2), memory="16GB", **options)
