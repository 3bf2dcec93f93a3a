"""Trains a tiny decoder of the embedded model's latents, as a user's TAESD is one of Stable Diffusion's, and measures its gradient.

    OMP_NUM_THREADS=1 python benchmarks/tiny_decoder.py runs/tiny [--estimates 4096] [--distil 2500] [--align 600]
    OMP_NUM_THREADS=1 python benchmarks/tiny_decoder.py runs/tiny --evaluate

Started again with the same arguments, it continues where it was stopped. Examples are clean estimates at random noise levels of random
captions, with the full decoder's image and the direction of the embedded CLIP's gradient. The decoder first learns the images and their
changes along random directions (`--distil` steps), then the images and the direction of the gradient (`--align` steps); its averaged
weights are written to the folder as an AutoencoderTiny. Then, and with `--evaluate` alone, it prints the mean squared error of the image
and the cosine of the gradient with the full decoder's, on estimates of other captions, with half the 95 % interval of the mean.
`benchmarks/cheaper_updates.py --decoder FOLDER` measures what a run reaches with it.
"""

import argparse
import random
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from results_table import shown
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import mse_loss, normalize

from tta_plugins.bench.statistics import interval
from tta_plugins.memory.tiny_autoencoder import Tiny
from tta_plugins.shapes.metrics import GUIDANCE
from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.registered import ShapesCLIP, shapes
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import draw_pairs
from tta_plugins.shapes.stages.layout import tokenize

BATCH, HELD_OUT, SAVE_EVERY = 16, 128, 100
BACKBONE, REWARD = shapes(), ShapesCLIP()


def new_decoder():
    """46,000 parameters and a fifth of the full decoder's FLOPs; the encoder is not used."""
    none = (0, 0, 0, 0)
    return AutoencoderTiny(
        encoder_block_out_channels=(4,) * 4,
        decoder_block_out_channels=(16,) * 4,
        num_encoder_blocks=none,
        num_decoder_blocks=(2, 2, 1, 0),
        latent_channels=8,
    )


def gradient(decode, x0, captions, create_graph=False):
    """The image, and the direction of the reward's gradient by x0."""
    x0 = x0.detach().requires_grad_()
    images = decode(x0)
    (slope,) = torch.autograd.grad(REWARD(images.clamp(0, 1), captions).sum(), x0, create_graph=create_graph)
    return images, normalize(slope.flatten(1), dim=1)


def examples(count, seed):
    """Captions, clean estimates of the model, the full decoder's images of them, and directions of the gradient."""
    pipeline, generator = BACKBONE.pipeline, random.Random(seed)
    torch.manual_seed(seed)
    bars, parts = pipeline.scheduler.alphas_cumprod, []
    null = pipeline.text_encoder(tokenize(pipeline.tokenizer, [""], "cpu"))[0]
    for _ in range(0, count, 64):
        captions, scenes = draw_pairs(generator, 64)
        with torch.no_grad():
            clean = pipeline.vae.encoder(render(scenes, SIZE) * 2 - 1) * pipeline.vae.config.scaling_factor
            times = torch.randint(len(bars), (64,))
            a, s = (part.sqrt().view(-1, 1, 1, 1) for part in (bars[times], 1 - bars[times]))
            x = a * clean + s * torch.randn_like(clean)
            text = pipeline.text_encoder(tokenize(pipeline.tokenizer, captions, "cpu"))[0]
            both = torch.cat([null.expand_as(text), text])
            null_out, text_out = pipeline.unet(x.repeat(2, 1, 1, 1), times.repeat(2), encoder_hidden_states=both).sample.chunk(2)
            x0 = a * x - s * (null_out + GUIDANCE * (text_out - null_out))
        parts.append((captions, x0, *(part.detach() for part in gradient(BACKBONE.decode, x0, captions))))
    captions, *tensors = zip(*parts, strict=True)
    return [str(caption) for some in captions for caption in some][:count], *(torch.cat(tensor)[:count] for tensor in tensors)


def loss_of(decoder, stage, captions, x0, images, directions):
    decode = Tiny(decoder)
    if stage == "distil":
        change = 0.2 * torch.randn_like(x0)
        with torch.no_grad():
            moved = BACKBONE.decode(x0 + change)
        seen, seen_moved = decode(torch.cat([x0, x0 + change])).chunk(2)
        return mse_loss(seen, images) + mse_loss(seen_moved - seen, moved - images)
    seen, slope = gradient(decode, x0, captions, create_graph=True)
    return 100 * mse_loss(seen, images) + 1 - (slope * directions).sum(1).mean()


def train(folder, count, steps):
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "examples.pt").exists():
        torch.save(examples(count, seed=0), folder / "examples.pt")
    captions, *tensors = torch.load(folder / "examples.pt")
    torch.manual_seed(0)
    decoder = new_decoder().requires_grad_(True)
    average = {name: value.clone() for name, value in decoder.decoder.state_dict().items()}
    saved = torch.load(folder / "state.pt") if (folder / "state.pt").exists() else None
    for stage, rate in (("distil", 2e-3), ("align", 3e-4)):
        optimizer = torch.optim.AdamW(decoder.decoder.parameters(), lr=rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps[stage] + 1, pct_start=0.05)
        first = 0
        if saved is not None and (saved["stage"], stage) == ("align", "distil"):
            continue
        if saved is not None and saved["stage"] == stage:
            first, average = saved["step"], saved["average"]
            decoder.decoder.load_state_dict(saved["decoder"])
            optimizer.load_state_dict(saved["optimizer"])
            schedule.load_state_dict(saved["schedule"])
        for step in range(first, steps[stage]):
            torch.manual_seed(step)
            rows = torch.randint(len(captions), (BATCH,))
            with sdpa_kernel(SDPBackend.MATH):  # the only attention with a second derivative
                loss = loss_of(decoder, stage, [captions[row] for row in rows], *(tensor[rows] for tensor in tensors))
                optimizer.zero_grad()
                loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.decoder.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            for name, value in decoder.decoder.state_dict().items():
                average[name].lerp_(value, 0.01)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps[stage]:
                print(f"{stage} {step + 1}: loss {loss.item():.4f}", flush=True)
                state = {"stage": stage, "step": step + 1, "decoder": decoder.decoder.state_dict(), "average": average}
                torch.save(state | {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, folder / "state.pt")
    decoder.decoder.load_state_dict(average)
    decoder.save_pretrained(folder)


def evaluate(folder):
    decoder = AutoencoderTiny.from_pretrained(folder).eval().requires_grad_(False)
    captions, x0, images, directions = examples(HELD_OUT, seed=1)
    seen, slope = gradient(Tiny(decoder), x0, captions)
    for name, values in (("squared error", (seen - images).square().flatten(1).mean(1)), ("cosine", (slope * directions).sum(1))):
        found = interval(values.tolist())
        print(f"{name} {shown({'mean': found.mean, 'low': found.low, 'high': found.high})}, {HELD_OUT} estimates")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--estimates", type=int, default=4096)
    parser.add_argument("--distil", type=int, default=2500)
    parser.add_argument("--align", type=int, default=600)
    parser.add_argument("--evaluate", action="store_true")
    given = parser.parse_args()
    if not given.evaluate:
        train(given.folder, given.estimates, {"distil": given.distil, "align": given.align})
    evaluate(given.folder)


if __name__ == "__main__":
    main()
