"""Trains the decoder further for sharper images, with the encoder frozen.

Its latents get errors as large as those of sampling, so that it learns to decode the nearest clean outlines: noise, and the
exaggeration of classifier-free guidance, which overshoots away from the other shapes (circles become diamonds).
"""

import random
from pathlib import Path

import torch
from attrs import evolve
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from tta_plugins.shapes.grammar import SHAPES
from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.render import Scene, render
from tta_plugins.shapes.scenes import draw_pairs
from tta_plugins.shapes.stages.loop import Loop, Plan

ERRORS = 0.3  # the largest standard deviation of the noise; each image's is sampled between 0 and this; latents have 1
OVERSHOOT = 0.4  # the largest exaggeration, as a fraction of the difference from the same scene with other shapes


def polish_decoder(vae: AutoencoderTiny, out: Path, plan: Plan, seed: int, device: str) -> None:
    """Train the decoder in place. The latents, and all that was trained on them, stay valid."""
    vae.to(device)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        scenes = draw_pairs(rng, plan.batch)[1]
        images, others = (render(drawn, SIZE).to(device) * 2 - 1 for drawn in (scenes, [reshape(rng, scene) for scene in scenes]))
        with torch.no_grad():
            latents = vae.encoder(images)
            away = latents - vae.encoder(others)
        latents = latents + OVERSHOOT * torch.rand(len(latents), 1, 1, 1, device=device) * away
        errors = ERRORS * torch.rand(len(latents), 1, 1, 1, device=device) * torch.randn_like(latents)
        decoded = vae.decoder(latents + errors)
        square = functional.mse_loss(decoded, images)
        return {"loss": square + 0.2 * functional.l1_loss(decoded, images), "dB": -10 * torch.log10(square.detach() / 4)}

    Loop("polish", vae.decoder, plan, out / "polish.pt", seed).run(losses)
    vae.eval()


def reshape(rng: random.Random, scene: Scene) -> Scene:
    """The same scene with new random shapes."""
    things = (evolve(placed.thing, shape=rng.choice(SHAPES)) for placed in scene.objects)
    objects = (evolve(placed, thing=thing) for placed, thing in zip(scene.objects, things, strict=True))
    return Scene(tuple(objects), scene.background)
