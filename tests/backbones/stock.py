"""Samples an image twice from the same noise: by the stock pipeline's call, and by our loop."""

from contextlib import contextmanager
from functools import partial
from types import MappingProxyType

import torch
from einops import rearrange

import tta_core
from tta_plugins.backbones import autoencoder
from tta_plugins.backbones.auraflow import auraflow
from tta_plugins.backbones.chroma import chroma
from tta_plugins.backbones.flux import flux as flux_backbone
from tta_plugins.backbones.flux import unpacked
from tta_plugins.backbones.flux2 import flux2
from tta_plugins.backbones.lumina2 import lumina2
from tta_plugins.backbones.pixart import pixart as pixart_backbone
from tta_plugins.backbones.qwen_image import qwen_image
from tta_plugins.backbones.sana import sana
from tta_plugins.backbones.stable_diffusion_3 import stable_diffusion_3
from tta_plugins.backbones.z_image import z_image

PROMPTS = ["a red circle", "two blue squares in the rain"]
NEGATIVE = "dull"
SHORT = 32  # tokens of T5
PACKED = ("flux-dev", "flux-schnell", "qwen-image", "chroma")
LAYERS = (1, 2, 3)  # of the language model of FLUX.2
SIZES = {"flux2-dev": (16, 8), "flux2-klein": (16, 8), "hunyuan-dit": (4, 4)}  # channels, side
LATENTS = {"qwen-image": 16, "z-image": 16, "lumina2": 16, "sd-tiny-vae": 8, "sd3": 16, "flux-dev": 16, "flux-schnell": 16, "chroma": 16}


MAKERS = {
    "auraflow": partial(auraflow, max_sequence_length=SHORT),
    "chroma": partial(chroma, max_sequence_length=SHORT),
    "qwen-image": partial(qwen_image, max_sequence_length=SHORT),
    "z-image": partial(z_image, max_sequence_length=SHORT),
    "flux2-dev": partial(flux2, max_sequence_length=SHORT, layers=LAYERS),
    "flux2-klein": partial(flux2, max_sequence_length=SHORT, layers=LAYERS),
    "sana": partial(sana, max_sequence_length=SHORT),
    "lumina2": partial(lumina2, max_sequence_length=SHORT),
}


def brightness(images, prompts):
    return images.mean((1, 2, 3))


def draws_by_itself(name):
    """Whether the pipeline passes no generator to its scheduler, so that a stochastic step uses torch's global generator, as FLUX does with
    tokens."""
    return name.startswith(("sd3", "flux", "qwen", "z-", "lumina", "auraflow", "chroma"))


def drawn(name, steps):
    """The noises of a stock call: x_T from its generator (seed 0), then one for each step, from that generator or from torch's global one
    (seed 1)."""
    first = torch.Generator().manual_seed(0)
    after = torch.Generator().manual_seed(1) if draws_by_itself(name) else first
    channels, side = SIZES.get(name, (LATENTS.get(name, 4), 16))
    shape = (2, channels, side, side)
    start = torch.randn(shape, generator=first)
    if name in PACKED:
        return torch.stack([start, *(unpacked(torch.randn(2, 64, 64, generator=after), 8) for _ in range(steps))])
    return torch.stack([start, *(torch.randn(shape, generator=after) for _ in range(steps))])


def backbone(name, pipe, true_guidance=False):
    """The pipeline as a backbone, with few T5 tokens."""
    if name in MAKERS:
        return MAKERS[name](pipe)
    if name.startswith("flux"):
        return flux_backbone(pipe, true_guidance=true_guidance, max_sequence_length=SHORT)
    if name.startswith("pixart"):
        return pixart_backbone(pipe, max_sequence_length=SHORT)
    return stable_diffusion_3(pipe, max_sequence_length=SHORT) if name == "sd3" else pipe


def arguments(name, steps, guidance, negative, eta=None):
    """The arguments of the stock call."""
    options = {"prompt": list(PROMPTS), "num_inference_steps": steps, "height": 32, "width": 32}
    if negative is not None:
        options["negative_prompt"] = [negative] * 2
    if name == "flux2-dev":
        options["guidance_scale"] = 4.0
    else:
        options["true_cfg_scale" if name in PACKED and name != "chroma" else "guidance_scale"] = guidance
    if eta is not None:
        options["eta"] = eta
    if name.startswith("pixart"):
        options |= {"use_resolution_binning": False, "clean_caption": False}
    if name in ("sana", "hunyuan-dit"):
        options["use_resolution_binning"] = False
    if name.startswith("flux2"):
        options["text_encoder_out_layers"] = LAYERS
        options.pop("negative_prompt", None)
    if name.startswith(("flux", "pixart", "sd3")) or (name in MAKERS and name != "kolors"):
        options["max_sequence_length"] = SHORT
    return options


def stock(name, pipe, steps, guidance=5.0, negative=NEGATIVE, eta=None, kind="latent", more=MappingProxyType({})):
    """The result of the pipeline's own call."""
    seeded = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        images = pipe(**arguments(name, steps, guidance, negative, eta), **more, generator=seeded, output_type=kind).images
    if kind != "latent":
        return images
    if name == "flux2-klein":  # its call returns denormalised latents
        return autoencoder.patched(pipe.vae, images)
    if name == "flux2-dev":
        return rearrange(images, "b (h w) c -> b c h w", h=8)
    return unpacked(images, 8) if name in PACKED else images


@contextmanager
def prepared(name, pipe, steps, guidance=5.0, negative=NEGATIVE, drawing=None, **options):
    """Our problem with the same noises: as many as the steps, or the given number."""
    with tta_core.prepare(
        PROMPTS,
        backbone=backbone(name, pipe, guidance != 1),
        method="fixed",
        reward=brightness,
        steps=steps,
        guidance=None if name == "lcm" else guidance,
        negative=None if guidance <= 1 else negative,  # without guidance it has no effect
        height=32,
        width=32,
        noises=tta_core.GivenNoise(tuple(row[None] for row in drawn(name, drawing or steps))),
        **options,
    ) as made:
        yield made.problem


def close(ours, theirs, relative=2e-5):
    """Whether the largest difference is small relative to the largest value: up to 2e-6 was seen, depending on the processor's kernels."""
    return (ours - theirs).abs().max() <= relative * theirs.abs().max()
