"""Trains the reward, a CLIP. Its batches are families of captions that differ in one word, each with its own image.

It learns relations for three reasons: its text tower starts from the layout pre-training, its image tower must also predict
the layout of the image, and every image is compared with captions that are wrong in only one word.
"""

import random
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel

from tta_plugins.shapes import models
from tta_plugins.shapes.grammar import Caption, Thing, change_one_word, draw_caption
from tta_plugins.shapes.render import Scene, render
from tta_plugins.shapes.scenes import arrange, describe, holds
from tta_plugins.shapes.stages.layout import THINGS, LayoutHead, layout_loss, layout_targets, tokenize, train_layout
from tta_plugins.shapes.stages.loop import Loop, Plan
from tta_plugins.shapes.tokenizer import make_tokenizer

FAMILY = 4
SHARPEST = 50.0  # the largest inverse temperature


def train_clip(out: Path, layout: Plan, plan: Plan, seed: int, device: str) -> CLIPModel:
    """The trained reward, with averaged weights."""
    tokenizer = make_tokenizer()
    parts = reward_parts(seed, device)
    clip, words, sights = cast(CLIPModel, parts["clip"]), cast(LayoutHead, parts["words"]), cast(LayoutHead, parts["sights"])
    (out / "clip-text").mkdir(exist_ok=True)
    train_layout(clip.text_model, tokenizer, out / "clip-text", layout, seed, device, head=words)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        captions = [caption for _ in range(plan.batch // FAMILY) for caption in family(rng)]
        scenes = [arrange(rng, caption) for caption in captions]
        pixels = (blemish(rng, render(scenes, models.SIZE)) * 2 - 1).to(device)
        tokens = tokenize(tokenizer, captions, device)
        pooled = clip.vision_model(pixel_values=pixels).pooler_output
        read = clip.text_model(input_ids=tokens)
        images = functional.normalize(clip.visual_projection(pooled), dim=-1)
        texts = functional.normalize(clip.text_projection(read.pooler_output), dim=-1)
        logits = clip.logit_scale.exp().clamp_max(SHARPEST) * images @ texts.T
        also_true = truths(captions, scenes).to(device)
        logits = logits.masked_fill(also_true & ~torch.eye(len(captions), dtype=torch.bool, device=device), -1e4)
        target = torch.arange(len(captions), device=device)
        match = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
        roles, ground = (part.to(device) for part in layout_targets([describe(scene) for scene in scenes]))
        sight = sights.loss(pooled, roles, ground)
        word = layout_loss(words, read.last_hidden_state, tokens, tokenizer.eos_token_id, captions)
        right = (logits.argmax(-1) == target).float().mean()
        return {"loss": match + 0.3 * sight + 0.1 * word, "match": match, "sight": sight, "word": word, "right": right}

    Loop("clip", parts, plan, out / "clip.pt", seed).run(losses)
    return clip.eval()


def reward_parts(seed: int, device: str) -> torch.nn.ModuleDict:
    """The untrained "clip", and the layout heads of its text tower ("words") and image tower ("sights")."""
    torch.manual_seed(seed)
    clip: CLIPModel = models.clip(make_tokenizer())
    words = LayoutHead(clip.config.text_config.hidden_size)
    sights = LayoutHead(clip.config.vision_config.hidden_size)
    return torch.nn.ModuleDict({"clip": clip, "words": words, "sights": sights}).to(device)


def family(rng: random.Random) -> list[Caption]:
    """A caption and three others that differ from it in one word, or in the number of things."""
    while True:
        first = draw_caption(rng, 1 if rng.random() < 0.3 else 2)
        relation = change_one_word(rng, first, "relation")
        changed = [relation, other_count(rng, first), *(change_one_word(rng, first, what) for what in ("colour", "shape", "background"))]
        kinds = [caption for caption in changed if caption is not None and not caption.held_out]
        if len(kinds) >= FAMILY - 1:
            keep = [caption for caption in kinds if caption is relation]  # the hardest, so always included
            kinds = [caption for caption in kinds if caption not in keep]
            return [first, *keep, *rng.sample(kinds, FAMILY - 1 - len(keep))]


def other_count(rng: random.Random, caption: Caption) -> Caption:
    """A caption with one thing more or one less."""
    if len(caption.things) == 2:
        return Caption((rng.choice(caption.things),), None, caption.background)
    more: Thing = rng.choice([thing for thing in THINGS if thing not in caption.things])
    return Caption((*caption.things, more), "and", caption.background)


def truths(captions: list[Caption], scenes: list[Scene]) -> Tensor:
    """[scenes, captions]: whether the scene satisfies the caption."""
    return torch.tensor([[holds(caption, scene) for caption in captions] for scene in scenes])


def blemish(rng: random.Random, images: Tensor) -> Tensor:
    """Blur some images and add noise to others, so that they resemble a sampler's clean estimates."""
    draw = torch.Generator().manual_seed(rng.getrandbits(32))
    kind = torch.rand(len(images), 1, 1, 1, generator=draw)
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    noise = torch.randn(images.shape, generator=draw) * 0.1 * torch.rand(kind.shape, generator=draw)
    return torch.where(kind < 0.25, blurred, torch.where(kind < 0.75, (images + noise).clamp(0, 1), images))
