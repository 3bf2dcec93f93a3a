"""The figures by which weights are selected and published. Each is a count out of a total."""

import math
import random
from collections.abc import Callable

import torch
from attrs import frozen
from diffusers import StableDiffusionPipeline
from torch import Tensor
from torch.nn import functional
from transformers import CLIPModel, CLIPTokenizer

from tta_plugins.shapes import oracle
from tta_plugins.shapes.grammar import Caption, change_one_word, draw_caption, every_caption
from tta_plugins.shapes.judge import Judge, presence
from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import arrange, draw_pairs
from tta_plugins.shapes.tokenizer import CONTEXT

KINDS = ("one", "two", "unseen")
STEPS, GUIDANCE = 20, 4.5
BATCH = 64


@frozen
class Figure:
    """A named count out of a total."""

    name: str
    right: int
    total: int

    @property
    def share(self) -> float:
        """The fraction, in [0, 1]."""
        return self.right / self.total

    def __str__(self) -> str:
        low, high = wilson(self.right, self.total)
        return f"{self.name:<44} {self.share:.3f}  ({self.right}/{self.total}, 95 % {low:.2f} to {high:.2f})"


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % score interval of a fraction."""
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def captions_of(kind: str, count: int, seed: int) -> list[Caption]:
    """Captions with "one" thing, with "two", or held-out captions with two ("unseen")."""
    rng = random.Random(seed)
    if kind == "unseen":
        return rng.sample([caption for caption in every_caption() if caption.held_out], count)
    return [draw_caption(rng, {"one": 1, "two": 2}[kind]) for _ in range(count)]


def sample(
    pipeline: StableDiffusionPipeline,
    prompts: list[str],
    seed: int,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
) -> Tensor:
    """Images [n 3 64 64] in [0, 1]. Each prompt has its own generator, so that the batch size does not change its image."""
    pipeline.set_progress_bar_config(disable=True)
    images = []
    for start in range(0, len(prompts), BATCH):
        some = prompts[start : start + BATCH]
        generators = [torch.Generator().manual_seed(seed * 100_003 + start + row) for row in range(len(some))]
        made = pipeline(
            some,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            output_type="pt",
        )
        images.append(made.images.float().cpu())
    return torch.cat(images)


def drawing_figures(images: Tensor, captions: list[Caption], name: str) -> list[Figure]:
    """The oracle's figures for images that were sampled for captions."""
    total = len(captions)
    readings = [oracle.read(image) for image in images]
    pairs = list(zip(readings, captions, strict=True))
    recognised = [{placed.thing for placed in reading.scene.objects} for reading in readings]
    figures = [
        Figure(f"{name}: strictly right", sum(reading.shows(caption) for reading, caption in pairs), total),
        Figure(
            f"{name}: every thing found, nothing else",
            sum(reading.shows(Caption(caption.things, "and" if caption.relation else None)) for reading, caption in pairs),
            total,
        ),
    ]
    named = [reading.scene.background == caption.background for reading, caption in pairs if caption.background]
    figures.append(Figure(f"{name}: background as named", sum(named), len(named)))
    things = [thing in found for caption, found in zip(captions, recognised, strict=True) for thing in caption.things]
    figures.append(Figure(f"{name}: things found", sum(things), len(things)))
    both = [
        reading.shows(Caption(caption.things, caption.relation))
        for reading, caption in pairs
        if caption.relation not in (None, "and") and reading.shows(Caption(caption.things, "and"))
    ]
    if both:
        figures.append(Figure(f"{name}: relation right, given the things", sum(both), len(both)))
    return figures


def reward_figures(clip: CLIPModel, tokenizer: CLIPTokenizer, count: int, seed: int) -> list[Figure]:
    """How often the reward prefers the true caption of a new render to one with one changed word."""
    rng = random.Random(seed)
    figures = []
    for what in ("colour", "shape", "relation", "background"):
        rivals: list[tuple[Caption, Caption]] = []
        while len(rivals) < count:
            caption = draw_caption(rng, rng.choice((1, 2)))
            other = change_one_word(rng, caption, what)
            if other is not None:
                rivals.append((caption, other))
        images = render([arrange(rng, caption) for caption, _ in rivals], SIZE)
        true, false = (clip_scores(clip, tokenizer, images, [str(pair[side]) for pair in rivals]) for side in (0, 1))
        figures.append(Figure(f"reward prefers the true {what}", int((true > false).sum()), count))
    return figures


@torch.no_grad()
def clip_scores(clip: CLIPModel, tokenizer: CLIPTokenizer, images: Tensor, prompts: list[str]) -> Tensor:
    """Cosines [b] of images in [0, 1] with their prompts."""
    tokens = tokenizer(prompts, padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt")
    of_images = clip.visual_projection(clip.vision_model(pixel_values=images * 2 - 1).pooler_output)
    of_texts = clip.text_projection(clip.text_model(input_ids=tokens.input_ids).pooler_output)
    return functional.cosine_similarity(of_images, of_texts)


@torch.no_grad()
def judge_figures(judge: Judge, reconstruct: Callable[[Tensor], Tensor], count: int, seed: int) -> list[Figure]:
    """Figures of the oracle and the judge on new renders, and of the oracle on the autoencoder's reconstructions."""
    captions, scenes = draw_pairs(random.Random(seed), count)
    images = render(scenes, SIZE)
    exact = ((judge.network(images) > 0) == (presence(captions) > 0)).all(1)
    return [
        Figure("oracle right on renders", int(oracle.strict(images, captions).sum()), count),
        Figure("judge names every thing on renders", int(exact.sum()), count),
        Figure("oracle right on autoencoded renders", int(oracle.strict(reconstruct(images), captions).sum()), count),
    ]
