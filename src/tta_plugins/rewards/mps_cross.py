"""MPS's cross model: image tokens that attend to the prompt's tokens, then to each other; attention and feed-forward in parallel.

Every head has its own queries, and all heads share one key and one value (multi-query attention).
Source: Zhang et al. 2024 (MPS), with the same keys, without the wrapper's `fn`; blocks of Chowdhery et al. 2022 (PaLM) and Yu et al. 2022
(CoCa).
"""

from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

Tokens = Float[Tensor, "b n d"]
Heads = Float[Tensor, "b h n w"]


class CrossModel(nn.Module):
    """Pairs of cross attention and self attention, `layers` of them. The mask is True at text tokens that are used."""

    def __init__(self, width: int, layers: int, heads: int, head_width: int, expansion: int = 4) -> None:
        super().__init__()
        sizes = width, heads, head_width, expansion * width
        self.layers = nn.ModuleList(nn.ModuleList([CrossAttention(*sizes), SelfAttention(*sizes)]) for _ in range(layers))

    def forward(self, image: Tokens, text: Float[Tensor, "b m d"], mask: Bool[Tensor, "b m"]) -> Tokens:
        """Image tokens, changed by the text."""
        for pair in self.layers:
            cross, own = cast(nn.ModuleList, pair)
            image = own(cross(image, text, mask))
        return image


class SwiGLU(nn.Module):
    """x silu(gate), where x and gate are the two halves of the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        """The output has half the width of the input."""
        x, gate = x.chunk(2, dim=-1)
        return silu(gate) * x


class CrossAttention(nn.Module):
    """x + attention of x to the context + feed-forward of x."""

    def __init__(self, width: int, heads: int, head_width: int, inner: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.to_q = nn.Linear(width, heads * head_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * head_width, bias=False)
        self.to_out = nn.Linear(heads * head_width, width, bias=False)
        self.ff = nn.Sequential(nn.Linear(width, 2 * inner, bias=False), SwiGLU(), nn.Linear(inner, width, bias=False))

    def forward(self, x: Tokens, context: Float[Tensor, "b m d"], mask: Bool[Tensor, "b m"]) -> Tokens:
        """Image tokens; x is normalised, the context is not."""
        y = self.norm(x)
        key, value = self.to_kv(context).chunk(2, dim=-1)
        out: Tensor = self.to_out(_attention(_split(self.to_q(y), self.heads), key, value, mask))
        return x + out + self.ff(y)


class SelfAttention(nn.Module):
    """x + attention of x to itself, with rotary positions, + feed-forward of x; all four projections are one matrix."""

    def __init__(self, width: int, heads: int, head_width: int, inner: int) -> None:
        super().__init__()
        self.heads, self.norm, self.sides = heads, nn.LayerNorm(width), (heads * head_width, head_width, head_width, 2 * inner)
        self.fused_attn_ff_proj = nn.Linear(width, sum(self.sides), bias=False)
        self.attn_out = nn.Linear(heads * head_width, width, bias=False)
        self.ff_out = nn.Sequential(SwiGLU(), nn.Linear(inner, width, bias=False))

    def forward(self, x: Tokens) -> Tokens:
        """Image tokens; every token attends to every other."""
        query, key, value, hidden = self.fused_attn_ff_proj(self.norm(x)).split(self.sides, dim=-1)
        out: Tensor = self.attn_out(_attention(_rotated(_split(query, self.heads)), _rotated(key), value, None))
        return x + out + self.ff_out(hidden)


def _split(x: Tokens, heads: int) -> Float[Tensor, "b {heads} n w"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attention(
    query: Heads, key: Float[Tensor, "b m w"], value: Float[Tensor, "b m w"], mask: Bool[Tensor, "b m"] | None
) -> Float[Tensor, "b n hw"]:
    heads = query.shape[1]
    key, value = (part[:, None].expand(-1, heads, -1, -1) for part in (key, value))
    out = scaled_dot_product_attention(query, key, value, None if mask is None else mask[:, None, None])
    return out.transpose(1, 2).flatten(2)


def _rotated(x: Float[Tensor, "*b n w"]) -> Float[Tensor, "*b n w"]:
    """Rotary positions 0, 1, ..., which rotate the two halves of the last dimension; angles are in float32."""
    length, width = x.shape[-2:]
    rates = 10000.0 ** -(torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    angles = torch.outer(torch.arange(length, device=x.device, dtype=torch.float32), rates).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos().to(x.dtype) + torch.cat([-second, first], dim=-1) * angles.sin().to(x.dtype)
