"""Energy-based cross-attention in a U-Net: each cross-attention layer changes the context that the next one gets.

Hooks before the layers do this, for one call of the U-Net and only in its thread, so that it works with any attention processor. A layer's
query q and keys k are those that it computes itself; W_k is its key projection.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tta_core.values.controls import AttentionEnergy
from tta_plugins.backbones.modules import inside

Replaced = tuple[tuple[Any, ...], dict[str, Any]]


def can_steer_attention(denoiser: nn.Module) -> bool:
    """Whether every cross-attention layer can be hooked: not compiled, with plain projections, and with one text context."""
    compiled = inside(denoiser) is not denoiser or any(module._compiled_call_impl is not None for module in denoiser.modules())
    layers = _layers(denoiser)
    plain = all(type(layer.to_k) is nn.Linear and type(layer.to_q) is nn.Linear and layer.norm_cross is None for layer in layers)
    return bool(layers) and plain and not compiled and not _sees_images(denoiser)


def _sees_images(denoiser: nn.Module) -> bool:
    """Whether an IP-Adapter adds an image to the context; Kolors' projection of the text does not count."""
    held: Any = inside(denoiser)
    return getattr(denoiser, "encoder_hid_proj", None) is not None and held.config.get("encoder_hid_dim_type") != "text_proj"


@contextmanager
def attention_moved(denoiser: nn.Module, energy: AttentionEnergy | None) -> Iterator[None]:
    """Inside, each layer passes c + C W_k to the next; each call of the U-Net starts from its own embedding."""
    with ExitStack() as stack:
        if energy is not None:
            contexts = _Contexts(energy)
            stack.callback(denoiser.register_forward_pre_hook(contexts.begin).remove)
            for layer in _layers(denoiser):
                stack.callback(layer.register_forward_pre_hook(contexts.update, with_kwargs=True).remove)
        yield


def _layers(denoiser: nn.Module) -> list[Any]:
    """The cross-attention layers, in any order."""
    return [layer for name, layer in denoiser.named_modules() if name.endswith(".attn2") and hasattr(layer, "to_k")]


class _Contexts:
    """The context during one call of the U-Net, from layer to layer."""

    def __init__(self, energy: AttentionEnergy) -> None:
        self.energy, self.thread = energy, threading.get_ident()
        self.context: Tensor | None = None

    def begin(self, denoiser: nn.Module, args: tuple[Any, ...]) -> None:
        """Before the U-Net: the context is the embedding again."""
        if threading.get_ident() == self.thread:
            self.context = None

    def update(self, layer: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Replaced | None:
        """Before a layer: replaces its context by the current one, and computes the next layer's."""
        if threading.get_ident() != self.thread:
            return None
        context = kwargs["encoder_hidden_states"] if self.context is None else self.context
        self.context = context + moved(layer, args[0] if args else kwargs["hidden_states"], context, self.energy)
        return args, {**kwargs, "encoder_hidden_states": context}


def moved(layer: Any, hidden: Tensor, context: Tensor, energy: AttentionEnergy) -> Tensor:
    """C W_k with C = gamma_attn softmax_pixels(q k^T / sqrt(d))^T q, by head, - gamma_norm softmax_tokens(||k||^2) k, all heads together.

    Source: Energy-Based Cross Attention (arXiv 2306.09869) eq. 9 to 11; the norm without the 1/2 of the paper's energy, as released.
    """
    q, k = layer.to_q(hidden), layer.to_k(context)
    rows, tokens, width = k.shape
    by_head = [tensor.view(rows, -1, layer.heads, width // layer.heads).transpose(1, 2) for tensor in (q, k)]
    weights = torch.softmax((by_head[0] @ by_head[1].transpose(2, 3)).float() * layer.scale, dim=2).to(q.dtype)
    attention = (weights.transpose(2, 3) @ by_head[0]).transpose(1, 2).reshape(rows, tokens, width)
    norm = torch.softmax(k.float().square().sum(2), dim=1).to(k.dtype)[:, :, None] * k
    factor = energy.attention[:, None] if energy.tokens is None else energy.attention[:, None] * energy.tokens
    change = factor[:, :, None].to(k.dtype) * attention - energy.norm[:, None, None].to(k.dtype) * norm
    return change @ layer.to_k.weight
