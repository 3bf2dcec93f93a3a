"""Trains the autoencoder: images to 8 x 8 x 8 latents and back, robust to small errors of the latents."""

import random
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from tta_plugins.shapes import models
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import draw_pairs
from tta_plugins.shapes.stages.loop import Loop, Plan

NOISE = 0.05  # standard deviation, where the latents have 1: less than the denoiser's own errors


def train_vae(out: Path, plan: Plan, seed: int, device: str) -> AutoencoderTiny:
    """The trained autoencoder, with averaged weights. Every channel of its latents has about mean 0 and deviation 1."""
    torch.manual_seed(seed)
    vae = models.vae().to(device)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        images = render(draw_pairs(rng, plan.batch)[1], models.SIZE).to(device) * 2 - 1
        latents = vae.encoder(images)
        decoded = vae.decoder(latents + NOISE * torch.randn_like(latents))
        deviation, mean = torch.std_mean(latents, (0, 2, 3))
        spread = (deviation - 1).square().mean() + mean.square().mean()
        square = functional.mse_loss(decoded, images)
        loss = square + 0.2 * functional.l1_loss(decoded, images) + 0.01 * spread
        return {"loss": loss, "dB": -10 * torch.log10(square.detach() / 4), "spread": spread.detach()}

    Loop("vae", vae, plan, out / "vae.pt", seed).run(losses)
    return vae.eval()
