"""Converts lists of token tensors of different lengths to one padded tensor with a mask, and back; a row does not depend on others."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from tta_core.values.controls import Embedding


def lengthened(tokens: Tensor, mask: Tensor | None, length: int) -> Embedding:
    """Tokens `(b, l, d)` padded with zeros to a length, with a mask that is 0 at the padding; `mask` None is a mask of ones."""
    live = torch.ones(tokens.shape[:2], dtype=torch.long, device=tokens.device) if mask is None else mask.long()
    missing = max(0, length - tokens.shape[1])
    return Embedding(pad(tokens, (0, 0, 0, missing)), mask=pad(live, (0, missing)))


def trimmed(embedding: Embedding) -> tuple[Tensor, Tensor | None]:
    """Tokens without the columns that are padding in every row, and the mask; None if no padding is left."""
    if embedding.mask is None or embedding.mask.all():
        return embedding.tokens, None
    longest = max(1, int(embedding.mask.sum(1).max()))
    tokens, mask = embedding.tokens[:, :longest], embedding.mask[:, :longest]
    return tokens, None if mask.all() else mask


def listed(embedding: Embedding) -> list[Tensor]:
    """The tokens of each row without padding."""
    if embedding.mask is None or embedding.mask.all():
        return list(embedding.tokens)
    return [row[: int(mask.sum())] for row, mask in zip(embedding.tokens, embedding.mask, strict=True)]


def unlisted(rows: Sequence[Tensor], length: int) -> Embedding:
    """Rows of different lengths, padded to a length, or to the longest of them if that is greater."""
    longest = max(length, *(len(row) for row in rows))
    tokens = torch.stack([pad(row, (0, 0, 0, longest - len(row))) for row in rows])
    mask = torch.stack([pad(torch.ones(len(row), dtype=torch.long, device=row.device), (0, longest - len(row))) for row in rows])
    return Embedding(tokens, mask=mask)
