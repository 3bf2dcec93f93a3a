"""Trains the denoiser together with its text encoder, whose layout loss is added with a factor of 0.1."""

import random
from pathlib import Path
from typing import cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from tta_plugins.shapes import models
from tta_plugins.shapes.grammar import parse
from tta_plugins.shapes.stages.dataset import Pool
from tta_plugins.shapes.stages.layout import LayoutHead, layout_loss, tokenize, train_layout
from tta_plugins.shapes.stages.loop import Loop, Plan
from tta_plugins.shapes.tokenizer import make_tokenizer

DROP = 0.1  # captions replaced by the empty text, for classifier-free guidance
COARSE_FROM, COARSE_SHARE, COARSE_UNTIL = 450, 0.5, 0.6  # early in training, half of the times are from the noisy half


def train_unet(out: Path, pool: Pool, layout: Plan, plan: Plan, seed: int, device: str) -> nn.ModuleDict:
    """The trained "unet" and "text", with averaged weights."""
    tokenizer = make_tokenizer()
    parts = denoiser(seed, device)
    head = cast(LayoutHead, parts["head"])
    train_layout(parts["text"], tokenizer, out, layout, seed, device, head=head)
    latents = pool.latents.to(device)
    signal = models.scheduler().alphas_cumprod.to(device)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        rows = torch.tensor(rng.sample(range(len(latents)), plan.batch))
        texts = [rng.choice(pool.captions[row]) for row in rows.tolist()]
        kept = torch.tensor([rng.random() >= DROP for _ in texts], device=device)
        tokens = tokenize(tokenizer, [text if keep else "" for text, keep in zip(texts, kept, strict=True)], device)
        states = parts["text"](input_ids=tokens).last_hidden_state
        times = _times(rng, plan, step).to(device)
        clean = latents[rows.to(device)].float()
        noise = torch.randn_like(clean)
        a = signal[times].sqrt()[:, None, None, None]
        s = (1 - signal[times]).sqrt()[:, None, None, None]
        velocity = parts["unet"](a * clean + s * noise, times, states).sample
        square = functional.mse_loss(velocity, a * noise - s * clean)
        captions = [parse(text) for text, keep in zip(texts, kept.tolist(), strict=True) if keep]
        end = tokenizer.eos_token_id
        word = layout_loss(head, states[kept], tokens[kept], end, captions)
        return {"loss": square + 0.1 * word, "velocity": square, "word": word}

    Loop("unet", parts, plan, out / "unet.pt", seed).run(losses)
    return parts.eval()


def denoiser(seed: int, device: str) -> nn.ModuleDict:
    """The untrained "unet", "text" and layout "head"."""
    torch.manual_seed(seed)
    text: CLIPTextModel = models.text_encoder(make_tokenizer())
    unet: UNet2DConditionModel = models.unet()
    return nn.ModuleDict({"unet": unet, "text": text, "head": LayoutHead(models.TEXT_WIDTH)}).to(device)


def _times(rng: random.Random, plan: Plan, step: int) -> torch.Tensor:
    coarse = COARSE_SHARE if step < COARSE_UNTIL * plan.steps else 0.0
    return torch.tensor([rng.randrange(COARSE_FROM if rng.random() < coarse else 0, 1000) for _ in range(plan.batch)])
