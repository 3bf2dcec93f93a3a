"""Prints every published figure of the embedded model: `python -m tta_plugins.shapes.evaluate`."""

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from tta_plugins.shapes import metrics, oracle
from tta_plugins.shapes.judge import read_judge
from tta_plugins.shapes.load import WEIGHTS, verify
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import draw_pairs


def evaluate(weights: Path, count: int, seed: int, steps: int, guidance: float, sheet: Path | None) -> None:
    """Measure the weights in a folder. The first 64 images of each kind of caption are saved under the name `sheet`."""
    verify(weights)
    pipeline = StableDiffusionPipeline.from_pretrained(weights / "pipeline")
    clip = CLIPModel.from_pretrained(weights / "clip").eval()
    tokenizer = CLIPTokenizer.from_pretrained(weights / "clip")
    judge = read_judge(weights / "judge")
    print(f"{weights}: {count} images per row, {steps} steps, guidance {guidance}, seed {seed}", flush=True)
    for figure in metrics.judge_figures(judge, lambda images: _through(pipeline.vae, images), 1000, seed):
        print(figure, flush=True)
    images = render(draw_pairs(random.Random(seed), 256)[1])
    error = (_through(pipeline.vae, images) - images).square().mean()
    print(f"{'autoencoder':<44} {-10 * torch.log10(error):.1f} dB", flush=True)
    for figure in metrics.reward_figures(clip, tokenizer, 1000, seed):
        print(figure, flush=True)
    for kind in metrics.KINDS:
        captions = metrics.captions_of(kind, count, seed)
        prompts = [str(caption) for caption in captions]
        images = metrics.sample(pipeline, prompts, seed, steps, guidance)
        for figure in metrics.drawing_figures(images, captions, kind):
            print(figure, flush=True)
        with torch.no_grad():
            means = {
                "oracle, soft": oracle.soft(images, captions),
                "judge": judge(images, prompts),
                "reward, cosine": metrics.clip_scores(clip, tokenizer, images, prompts),
            }
        for name, scores in means.items():
            error = scores.std() / len(scores) ** 0.5
            print(f"{kind + ': ' + name:<44} {scores.mean():.3f}  (standard error {error:.3f})", flush=True)
        if sheet is not None:
            save_sheet(images[:64], sheet.with_stem(f"{sheet.stem}-{kind}"))


def save_sheet(images: Tensor, file: Path, across: int = 16, zoom: int = 2) -> None:
    """Save images in rows, enlarged by repeating pixels."""
    rows = [torch.cat(list(row), 2) for row in images.split(across)]
    rows = [torch.nn.functional.pad(row, (0, rows[0].shape[2] - row.shape[2]), value=1.0) for row in rows]
    whole = torch.cat(rows, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    image = Image.fromarray(whole)
    image.resize((image.width * zoom, image.height * zoom), Image.Resampling.NEAREST).save(file)


@torch.no_grad()
def _through(vae: AutoencoderTiny, images: Tensor) -> Tensor:
    return (vae.decoder(vae.encoder(images * 2 - 1)) / 2 + 0.5).clamp(0, 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tta_plugins.shapes.evaluate", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--count", type=int, default=192, help="images for each kind of caption")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=metrics.STEPS)
    parser.add_argument("--guidance", type=float, default=metrics.GUIDANCE)
    parser.add_argument("--sheet", type=Path, help="save sheets of images under this name, such as sheet.png")
    given = parser.parse_args()
    evaluate(given.weights, given.count, given.seed, given.steps, given.guidance, given.sheet)


if __name__ == "__main__":
    main()
