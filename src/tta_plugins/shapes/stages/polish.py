"""Sharper pictures from the same latents: the decoder goes on learning with the encoder frozen.

Its latents carry errors as large as the denoiser makes, so it learns to draw the nearest clean outlines.
"""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import draw_pairs
from tta_plugins.shapes.stages.loop import Loop, Plan

ERRORS = 0.3  # the largest deviation of the noise, each picture's drawn between 0 and this; latents have deviation 1


def polish_decoder(vae: AutoencoderTiny, out: Path, plan: Plan, seed: int, device: str) -> None:
    """Trains the decoder in place; the latents, and so everything trained on them, stay valid."""
    vae.to(device)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        images = render(draw_pairs(rng, plan.batch)[1], SIZE).to(device) * 2 - 1
        with torch.no_grad():
            latents = vae.encoder(images)
        errors = ERRORS * torch.rand(len(latents), 1, 1, 1, device=device) * torch.randn_like(latents)
        decoded = vae.decoder(latents + errors)
        square = functional.mse_loss(decoded, images)
        return {"loss": square + 0.2 * functional.l1_loss(decoded, images), "dB": -10 * torch.log10(square.detach() / 4)}

    Loop("polish", vae.decoder, plan, out / "polish.pt", seed).run(losses)
    vae.eval()
