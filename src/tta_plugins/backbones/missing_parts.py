"""Checks that a pipeline has the parts that a run needs: denoiser, autoencoder, text encoders with their tokenizers."""

import math
from collections.abc import Sequence
from typing import Any

from tta_core.errors import IncompatibleError, InputError
from tta_plugins.backbones.family import Pipeline
from tta_plugins.text_limit import warn_if_cut

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


def check_parts(pipeline: Pipeline, denoiser: str) -> None:
    """Raises `InputError` for a pipeline without its denoiser or its autoencoder, or whose latents cannot be scaled."""
    name = type(pipeline).__name__
    for part in (denoiser, "vae"):
        if getattr(pipeline, part, None) is None:
            raise InputError(f"This {name} was loaded without its {part}, so it cannot make images. Load the whole pipeline.")
    scale = pipeline.vae.config.get("scaling_factor", 1.0)
    if not isinstance(scale, int | float) or not math.isfinite(scale) or scale == 0:
        raise InputError(f"The scaling_factor of this {name}'s vae is {scale!r}, so latents cannot be decoded. Load its config.json again.")


def check_encoders(pipeline: Pipeline, prompts: Sequence[str]) -> None:
    """Raises `IncompatibleError` for a pipeline without text encoders or without a tokenizer of one, and warns of prompts that are cut."""
    name = type(pipeline).__name__
    held = [role for role in TEXT_ENCODERS if getattr(pipeline, role, None) is not None]
    tokenizers = [role.replace("text_encoder", "tokenizer") for role in held]
    lacking = [tokenizer for tokenizer in tokenizers if getattr(pipeline, tokenizer, True) is None]
    if lacking or not held:
        what = " and ".join(lacking) or "text encoders"
        raise IncompatibleError(
            f"Cannot encode prompts with this {name}. This is because it was loaded without its {what}. "
            "Give text= and null= as tta_core.Embedding, made by the encode and encode_null of a backbone that has them; or load them."
        )
    readers: list[Any] = [getattr(pipeline, tokenizer, None) for tokenizer in tokenizers]
    if all(type(reader).__name__.startswith("CLIP") for reader in readers):  # others read hundreds of tokens
        for prompt in dict.fromkeys(prompts):
            warn_if_cut(readers[0], prompt, readers[0].model_max_length, name)
