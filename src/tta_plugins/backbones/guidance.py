"""Guidance whose output is rescaled to the standard deviation or the norm of the text branch."""

import torch

from tta_core.values.typing import Latents


def rescaled(guided: Latents, text: Latents, share: float) -> Latents:
    """Mixes the guided output with itself rescaled to the text branch's standard deviation; `share` 0 changes nothing.

    Source: arXiv 2305.08891 section 3.4.
    """
    if share == 0:
        return guided
    std, target = (output.std(dim=tuple(range(1, output.dim())), keepdim=True) for output in (guided, text))
    return share * (guided * (target / std)) + (1 - share) * guided


def renormalised(text: torch.Tensor, null: torch.Tensor, guidance: float) -> torch.Tensor:
    """Classifier-free guidance, rescaled to the norm of the text branch for each vector along the last axis (Qwen-Image, Lumina 2)."""
    guided = null + guidance * (text - null)
    return guided * (text.norm(dim=-1, keepdim=True) / guided.norm(dim=-1, keepdim=True))
