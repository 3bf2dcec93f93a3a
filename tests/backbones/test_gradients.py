"""Gradients reach all steered tensors, and equal those of the stock pipeline without its no_grad."""

import pytest
import torch
from diffusers import DDIMScheduler
from stock import PACKED, arguments, brightness, drawn, prepared

from tta_core.protocols.backbone import classifier_free
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.controls import Controls, Embedding
from tta_core.values.typing import evolve
from tta_plugins.backbones.flux import packed
from tta_plugins.backbones.token_lists import listed

# name: (guidance, whether the pooled vector is steered too)
FAMILIES = {
    "sd": (5.0, False),
    "sd-tiny-vae": (5.0, False),
    "sdxl": (5.0, True),
    "sd3": (5.0, True),
    "flux-dev": (2.0, True),
    "flux-schnell": (1.0, True),
    "pixart-alpha": (5.0, False),
    "qwen-image": (3.0, False),
    "z-image": (3.0, False),
    "flux2-dev": (1.0, False),
    "flux2-klein": (3.0, False),
    "sana": (4.0, False),
    "lumina2": (4.0, False),
    "auraflow": (4.0, False),
    "kolors": (5.0, True),
    "hunyuan-dit": (5.0, False),
    "chroma": (4.0, False),
}


def leaf(tensor):
    return None if tensor is None else tensor.detach().clone().requires_grad_()


def leaves(controls):
    """The controls with new leaves, and the leaves by name."""
    text = evolve(controls.text, tokens=leaf(controls.text.tokens), pooled=leaf(controls.text.pooled))
    null = controls.null and evolve(controls.null, tokens=leaf(controls.null.tokens), pooled=leaf(controls.null.pooled))
    made = Controls(text, null, leaf(controls.noise))
    named = {"noise": made.noise, "text": text.tokens, "pooled": text.pooled}
    if null is not None:
        named |= {"null": null.tokens, "null_pooled": null.pooled}
    return made, {name: tensor for name, tensor in named.items() if tensor is not None}


def stock_images(name, pipe, controls, guidance):
    """The stock call with given embeddings and x_T, without its no_grad."""
    options = arguments(name, 2, guidance, None)
    del options["prompt"]
    options["prompt_embeds"] = listed(controls.text) if name == "z-image" else controls.text.tokens
    x = controls.noise[0]
    options["latents"] = packed(x) if name in PACKED else x
    if controls.text.pooled is not None:
        options["pooled_prompt_embeds"] = controls.text.pooled
    mask = "prompt_embeds_mask" if name == "qwen-image" else "prompt_attention_mask"
    if name == "hunyuan-dit":
        return stock_hunyuan_images(pipe, controls, options)
    if name == "auraflow":  # it requires masks and does not use them
        options |= dict.fromkeys((mask, f"negative_{mask}"), torch.ones(2, 1))
    if controls.text.mask is not None and name != "z-image":
        options[mask] = controls.text.mask.float() if name == "chroma" else controls.text.mask
    if controls.null is not None:
        options["negative_prompt_embeds"] = listed(controls.null) if name == "z-image" else controls.null.tokens
        if controls.null.pooled is not None:
            options["negative_pooled_prompt_embeds"] = controls.null.pooled
        if controls.null.mask is not None and name != "z-image":
            negative = controls.null.mask.float() if name == "chroma" else controls.null.mask
            options |= {f"negative_{mask}": negative, "negative_prompt": None}
    return type(pipe).__call__.__wrapped__(pipe, **options, output_type="pt").images


def stock_hunyuan_images(pipe, controls, options):
    """The pipeline takes the embeddings of each of its two encoders."""
    for sign, embedding in (("", controls.text), ("negative_", controls.null)):
        for which, part, width in (("", slice(77), 32), ("_2", slice(77, None), 64)):
            options[f"{sign}prompt_embeds{which}"] = embedding.tokens[:, part, :width]
            options[f"{sign}prompt_attention_mask{which}"] = embedding.mask[:, part]
    return type(pipe).__call__.__wrapped__(pipe, **options, output_type="pt").images


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_the_stock_pipelines(name, pipelines):
    pipe, (guidance, pooled) = pipelines(name), FAMILIES[name]
    weight = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    if name == "hunyuan-dit":  # its own DDPM adds noise at each step
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    with prepared(name, pipe, 2, guidance=guidance) as problem:
        ours_controls, ours = leaves(problem.controls)
        theirs_controls, theirs = leaves(problem.controls)
        images = problem.backbone.decode(problem.sample(ours_controls)).clamp(0, 1)
        gradients = torch.autograd.grad((images * weight).sum(), tuple(ours.values()), allow_unused=True)
        stock = stock_images(name, pipe, theirs_controls, guidance)
        expected = torch.autograd.grad((stock * weight).sum(), tuple(theirs.values()), allow_unused=True)
    wanted = {"noise", "text"} | ({"pooled"} if pooled else set()) | ({"null"} if guidance != 1 else set())
    for leaf_name, gradient, reference in zip(ours, gradients, expected, strict=True):
        if leaf_name in wanted:
            assert gradient is not None, leaf_name
            assert gradient.abs().max() > 0, leaf_name
            assert (gradient - reference).norm() <= 5e-5 * reference.norm(), leaf_name


@pytest.mark.parametrize(("null_mask", "live"), [("keep", 1), ("full", 32)])
def test_pixarts_null_gradient_reaches_the_unmasked_tokens(pipelines, null_mask, live):
    from tta_plugins.backbones.pixart import pixart

    backbone = pixart(pipelines("pixart-alpha"), max_sequence_length=32, null_mask=null_mask)
    null = backbone.encode_null([None], 32, 32)
    tokens = leaf(null.tokens)
    with prepared("pixart-alpha", pipelines("pixart-alpha"), 3) as problem:
        output = backbone.predict(drawn("pixart-alpha", 0)[0, :1], problem.steps[0], evolve(null, tokens=tokens))
    (gradient,) = torch.autograd.grad(output.sum(), tokens)
    assert (gradient.abs().sum(-1) > 0).sum() == live


# by name: the function that makes the controls wrong
WRONG = {
    "branches": lambda c: Controls(c.null, c.text, c.noise),
    "pooled": lambda c: evolve(c, text=evolve(c.text, pooled=c.text.pooled.flip(0) + 1)),
    "time_ids": lambda c: evolve(c, text=evolve(c.text, extra={"time_ids": c.text.extra["time_ids"] * 0})),
    "size": lambda c: evolve(c, text=evolve(c.text, extra={"image_meta_size": c.text.extra["image_meta_size"] * 0})),
    "t5": lambda c: evolve(c, text=evolve(c.text, tokens=torch.cat([c.text.tokens[:, :77], c.null.tokens[:, 77:]], dim=1))),
    "mask": lambda c: evolve(c, text=Embedding(c.text.tokens, mask=torch.ones_like(c.text.mask), extra=c.text.extra)),
}


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(
            (name, "branches")
            for name in (
                "sd",
                "sdxl",
                "sd3",
                "pixart-alpha",
                "qwen-image",
                "z-image",
                "flux2-klein",
                "sana",
                "lumina2",
                "auraflow",
                "chroma",
                "kolors",
                "hunyuan-dit",
            )
        ),
        *((name, "pooled") for name in ("sdxl", "sd3", "flux-dev", "kolors")),
        ("sdxl", "time_ids"),
        ("kolors", "time_ids"),
        ("hunyuan-dit", "size"),
        ("hunyuan-dit", "t5"),
        *((name, "mask") for name in ("pixart-alpha", "qwen-image", "z-image", "sana", "lumina2", "chroma", "hunyuan-dit")),
        *((name, "rescaling") for name in ("qwen-image", "z-image", "lumina2")),
    ],
)
def test_the_comparison_depends_on_each_part(name, wrong, pipelines):
    """Negative controls: if one of these parts is changed, the comparison with stock fails."""
    if wrong == "rescaling":
        with prepared(name, pipelines(name), 2) as problem, torch.no_grad():
            plain = WrappedBackbone(problem.backbone, combining=classifier_free)
            right, other = problem.sample(problem.controls), evolve(problem, backbone=plain).sample(problem.controls)
        assert (right - other).abs().max() > 1e-3 * right.abs().max()
        return
    with prepared(name, pipelines(name), 2, guidance=2.0 if name == "flux-dev" else 5.0) as problem, torch.no_grad():
        right, other = problem.sample(problem.controls), problem.sample(WRONG[wrong](problem.controls))
    assert (right - other).abs().max() > 1e-3 * right.abs().max()


def test_images_are_not_clamped(pipelines):
    with prepared("sd", pipelines("sd"), 2) as problem, torch.no_grad():
        images = problem.backbone.decode(100 * problem.controls.noise[0])
    assert images.max() > 1 or images.min() < 0
    assert brightness(images, ()).shape == (2,)
