"""The shift of time of a flow-matching pipeline at a resolution.

Source: Stable Diffusion 3 (arXiv 2403.03206) section 5.3.2, in diffusers' form: linear in the number of tokens.
"""

import numpy

from tta_plugins.backbones.family import Pipeline


def mu(pipeline: Pipeline, shape: tuple[int, int, int], patch: int, max_shift: float) -> float:
    """The logarithm of the shift for latents of shape (c, h, w); `max_shift` is used if the scheduler's config has none."""
    return shift_at(pipeline, (shape[1] // patch) * (shape[2] // patch), max_shift)


def shift_at(pipeline: Pipeline, tokens: int, max_shift: float) -> float:
    """The logarithm of the shift for a number of tokens."""
    config = pipeline.scheduler.config
    short, long = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", max_shift)
    slope = (high - low) / (long - short)
    return float(tokens * slope + (low - slope * short))


def even_sigmas(steps: int) -> list[float]:
    """Even sigmas from 1 to 1 / steps, in float64 as in the pipelines' calls."""
    return [float(sigma) for sigma in numpy.linspace(1.0, 1 / steps, steps)]
