"""The same picture drawn twice: by the stock pipeline's call, and by our loop."""

from contextlib import contextmanager

import torch

import tta_core
from tta_plugins.backbones.flux import flux as flux_backbone
from tta_plugins.backbones.flux import unpacked
from tta_plugins.backbones.pixart import pixart as pixart_backbone
from tta_plugins.backbones.stable_diffusion_3 import stable_diffusion_3

PROMPTS = ["a red circle", "two blue squares in the rain"]
NEGATIVE = "dull"
SHORT = 32  # tokens of T5
LATENTS = {"sd-tiny-vae": 8, "sd3": 16, "flux-dev": 16, "flux-schnell": 16}


def brightness(images, prompts):
    return images.mean((1, 2, 3))


def drawn(name, steps):
    """The noises that a stock pipeline draws from its generator: x_T, then one for each step."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(2, LATENTS.get(name, 4), 16, 16, generator=generator) for _ in range(steps + 1)])


def backbone(name, pipe, true_guidance=False):
    """The pipeline as a backbone, T5's tokens few."""
    if name.startswith("flux"):
        return flux_backbone(pipe, true_guidance=true_guidance, max_sequence_length=SHORT)
    if name.startswith("pixart"):
        return pixart_backbone(pipe, max_sequence_length=SHORT)
    return stable_diffusion_3(pipe, max_sequence_length=SHORT) if name == "sd3" else pipe


def arguments(name, steps, guidance, negative, eta=None):
    """The arguments of the stock call."""
    options = {"prompt": PROMPTS, "num_inference_steps": steps, "height": 32, "width": 32}
    if negative is not None:
        options["negative_prompt"] = [negative] * 2
    options["true_cfg_scale" if name.startswith("flux") else "guidance_scale"] = guidance
    if eta is not None:
        options["eta"] = eta
    if name.startswith("pixart"):
        options |= {"use_resolution_binning": False, "clean_caption": False}
    if name.startswith(("flux", "pixart", "sd3")):
        options["max_sequence_length"] = SHORT
    return options


def stock(name, pipe, steps, guidance=5.0, negative=NEGATIVE, eta=None, kind="latent"):
    """What the pipeline's own call draws."""
    seeded = torch.Generator().manual_seed(0)
    images = pipe(**arguments(name, steps, guidance, negative, eta), generator=seeded, output_type=kind).images
    return unpacked(images, 8) if kind == "latent" and name.startswith("flux") else images


@contextmanager
def prepared(name, pipe, steps, guidance=5.0, negative=NEGATIVE, **options):
    """Our problem from the same noises."""
    with tta_core.prepare(
        PROMPTS,
        backbone=backbone(name, pipe, guidance != 1),
        method="fixed",
        reward=brightness,
        steps=steps,
        guidance=guidance,
        negative=negative,
        height=32,
        width=32,
        noises=tta_core.GivenNoise(tuple(row[None] for row in drawn(name, steps))),
        **options,
    ) as made:
        yield made.problem


def close(ours, theirs, relative=3e-6):
    """Whether the largest difference is small beside the largest value."""
    return (ours - theirs).abs().max() <= relative * theirs.abs().max()
