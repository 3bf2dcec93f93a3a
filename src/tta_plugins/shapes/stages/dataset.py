"""The pool of training data: images that are rendered and encoded once, with three true captions each."""

import random
from pathlib import Path

import torch
from attrs import frozen
from diffusers import AutoencoderTiny
from torch import Tensor

from tta_plugins.shapes.grammar import Caption
from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.render import Scene, render
from tta_plugins.shapes.scenes import describe, draw_pairs

CAPTIONS = 3
BATCH = 64


@frozen
class Pool:
    """Latents [n 8 8 8] of unit variance (float16), their captions, and the factor that scaled them."""

    latents: Tensor
    captions: list[list[str]]
    scale: float


def make_pool(vae: AutoencoderTiny, count: int, seed: int, file: Path, device: str) -> Pool:
    """Create the pool, or read it if `file` exists."""
    if file.exists():
        return Pool(**torch.load(file, weights_only=True))
    rng = random.Random(seed)
    latents, captions = [], []
    for start in range(0, count, BATCH):
        sampled, scenes = draw_pairs(rng, min(BATCH, count - start))
        with torch.no_grad():
            latents.append(vae.encoder(render(scenes, SIZE).to(device) * 2 - 1).half().cpu())
        for caption, scene in zip(sampled, scenes, strict=True):
            captions.append([str(caption), *(str(paraphrase(rng, scene)) for _ in range(CAPTIONS - 1))])
        if start // BATCH % 100 == 0:
            print(f"pool {start}/{count}", flush=True)
    stacked = torch.cat(latents).float()
    scale = round(1 / stacked.std().item(), 4)
    pool = Pool((stacked * scale).half(), captions, scale)
    torch.save({"latents": pool.latents, "captions": pool.captions, "scale": pool.scale}, file)
    return pool


def paraphrase(rng: random.Random, scene: Scene) -> Caption:
    """Another true caption of the scene that is not held out: things in either order, "and" in one of five."""
    while True:
        objects = tuple(rng.sample(scene.objects, len(scene.objects)))
        full = describe(Scene(objects, scene.background))
        relation = "and" if full.relation is not None and rng.random() < 0.2 else full.relation
        caption = Caption(full.things, relation, scene.background if rng.random() < 0.7 else None)
        if not caption.held_out:
            return caption
