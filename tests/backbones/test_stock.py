"""Our loop draws what the stock pipeline draws."""

import pytest
import torch

import tta_core

PROMPTS = ["a red circle", "two blue squares in the rain"]


def brightness(images, prompts):
    return images.mean((1, 2, 3))


def drawn(shape, steps):
    """The noises that a stock pipeline draws from its generator: x_T, then one for each step."""
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(shape, generator=generator)[None] for _ in range(steps + 1))


def ours(pipe, steps, **options):
    with tta_core.prepare(
        PROMPTS, backbone=pipe, method="fixed", reward=brightness, steps=steps, height=64, width=64, **options
    ) as prepared:
        problem = prepared.problem
        with torch.no_grad():
            latents = problem.sample(problem.controls)
            return latents, problem.backbone.decode(latents).clamp(0, 1)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("negative", [None, "dull"])
def test_ddim(tiny_sd, eta, negative):
    def stock(kind):
        return tiny_sd(
            PROMPTS,
            negative_prompt=negative and [negative] * 2,
            num_inference_steps=8,
            guidance_scale=5.0,
            eta=eta,
            height=64,
            width=64,
            generator=torch.Generator().manual_seed(0),
            output_type=kind,
        ).images

    noises = tta_core.GivenNoise(drawn((2, 4, 8, 8), 8))
    latents, images = ours(tiny_sd, 8, guidance=5.0, eta=eta, negative=negative, noises=noises)
    theirs = stock("latent")
    assert (latents - theirs).abs().max() <= 3e-6 * theirs.abs().max()
    assert (images - stock("pt")).abs().max() <= 2e-6
