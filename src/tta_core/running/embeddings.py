"""Embeddings that a user hands in: checked against the backbone's own before the first step, and completed with what nobody steers."""

import torch

from tta_core.errors import InputError
from tta_core.protocols.backbone import Backbone
from tta_core.values.controls import Embedding
from tta_core.values.provenance import name_of
from tta_core.values.typing import evolve


def completed(name: str, given: Embedding, own: Embedding | None, backbone: Backbone) -> Embedding:
    """A given embedding with the extra facts of the backbone's own (SDXL's sizes), and a mask of ones where it has none.

    Raises:
        InputError: for features of another size, or a pooled vector that is missing or not wanted.
    """
    if own is None:
        raise InputError(f"{name} is given, but {name_of(backbone)} has no unconditional branch that could be told it. Leave it out.")
    wanted = {"tokens": own.tokens.shape[-1], "pooled": None if own.pooled is None else own.pooled.shape[-1]}
    told = {"tokens": given.tokens.shape[-1], "pooled": None if given.pooled is None else given.pooled.shape[-1]}
    for part, size in wanted.items():
        if told[part] != size:
            raise InputError(
                f"{name}.{part} has {told[part] or 'no'} features, but {name_of(backbone)} is told {size or 'none'}. Encode the text with "
                "this pipeline, as its encode_prompt does."
            )
    live = torch.ones(given.tokens.shape[:2], dtype=torch.long, device=given.tokens.device)
    mask = given.mask if given.mask is not None or own.mask is None else live
    return evolve(given, mask=mask, extra={**own.extra, **given.extra})
