"""A pipeline's own call of its denoiser, which can be repeated for one guidance branch and with another embedding.

All other inputs of the call (a ControlNet's residuals, an IP-Adapter's image, a mask) are passed again unchanged.
"""

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from tta_core.values.controls import Embedding
from tta_core.values.transition import as_batch
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.attention_energy import attention_moved
from tta_plugins.backbones.denoiser import as_called, by_name, called, carries_graph
from tta_plugins.backbones.family import FamilyBackbone, in_dtype
from tta_plugins.backbones.rearranged import change_of, parts_of

_ROWS = "rows of the pipeline's call"
_WITHOUT_ROWS = ("img_ids", "txt_ids")  # FLUX's positions are shared by all samples if they have no row dimension
Arguments = Mapping[str, Any]
Replaced = tuple[tuple[Any, ...], dict[str, Any]]  # arguments by position and by name


@attrs.frozen(eq=False)
class DenoiserCall:
    """The arguments of a call, by name; its rows are the guidance branches one after another, null first."""

    backbone: FamilyBackbone
    arguments: Arguments

    @classmethod
    def made(cls, backbone: FamilyBackbone, args: tuple[Any, ...], kwargs: Arguments) -> "DenoiserCall":
        """From the arguments as they were given, by position or by name."""
        return cls(backbone, by_name(backbone.networks["denoiser"], backbone.family.traits, args, kwargs))

    @property
    def time(self) -> float:
        """The time, as the denoiser receives it."""
        return _first(self.arguments)

    def is_at(self, time: float) -> bool:
        """Whether the call's time is this time of the sampler's table, in the denoiser's scale, up to the rounding of float32."""
        expected = _first(self.backbone.family.inputs(self.x, time))
        return abs(self.time - expected) <= 1e-5 * max(abs(expected), 1e-3)

    @property
    def x(self) -> Tensor:
        """x as the denoiser receives it, in every row, without other channels (an image, a mask)."""
        return self.backbone.family.latents(self.arguments)[:, : self.backbone.channels]

    @property
    def embedding(self) -> Embedding:
        """The embedding of all rows; `extra` holds the index of each row in the call."""
        embedding = self.backbone.family.embedding(self.arguments)
        rows = torch.arange(embedding.tokens.shape[0], device=embedding.tokens.device)
        return evolve(embedding, extra={**embedding.extra, _ROWS: rows})

    def output(self, embedding: Embedding, change: Latents | None = None) -> Latents:
        """The denoiser's output with this embedding, float32, in those rows of the call from which the embedding comes; with `change`, this
        is added to x."""
        chosen, count = embedding.extra[_ROWS].long(), self.embedding.tokens.shape[0]
        chosen = chosen % count  # after the end of guidance the call has only the text's rows
        arguments = {name: value if _is_shared(name, value) else _rows_of(value, chosen, count) for name, value in self.arguments.items()}
        again = DenoiserCall(self.backbone, arguments)
        again = again if change is None else again.moved(change)
        modules = self.backbone.modules()
        with attention_moved(modules.network, embedding.attention):
            raw = called(modules, self.backbone.family.traits, again.with_embedding(embedding))
        return self.backbone.family.output(raw, again.x).float()

    def moved(self, change: Latents) -> "DenoiserCall":
        """The call with a change added to its x, in the denoiser's scale; differentiable in the change."""
        name = next(
            name for name, part in self.backbone.family.inputs(change.detach().requires_grad_(), self.time).items() if carries_graph(part)
        )

        def read(held: Any) -> Latents:
            return self.backbone.family.latents({**self.arguments, name: held})[:, : self.backbone.channels]

        held = self.arguments[name]
        added = change_of(held, read, change)
        new = held + added if isinstance(held, Tensor) else [part + more for part, more in zip(held, added, strict=True)]
        return DenoiserCall(self.backbone, {**self.arguments, name: new})

    @torch.no_grad()
    def overwrite(self, raw: Any, guided: Latents) -> None:
        """Changes the denoiser's output of this call in place, so that every branch has the guided output, and any guidance results in
        it."""

        def read(held: Any) -> Latents:
            return self.backbone.family.output(held, self.x)

        now = read(raw)
        for part, more in zip(parts_of(raw), parts_of(change_of(raw, read, as_batch(guided, len(now)).to(now.dtype) - now)), strict=True):
            part.add_(more)

    def with_embedding(self, embedding: Embedding) -> dict[str, Any]:
        """The arguments with another embedding."""
        steered = self.backbone.family.conditioning(in_dtype(embedding, self.embedding.tokens.dtype))
        nested = {name: {**self.arguments[name], **new} for name, new in steered.items() if isinstance(new, Mapping)}
        return {**self.arguments, **steered, **nested}

    def replaced(self, embedding: Embedding) -> Replaced:
        """The arguments with another embedding, by position and by name, as a forward pre-hook returns them."""
        args, kwargs = as_called(self.backbone.family.traits, self.with_embedding(embedding))
        return args, {**kwargs, **({"return_dict": self.arguments["return_dict"]} if "return_dict" in self.arguments else {})}


def _is_shared(name: str, value: Any) -> bool:
    return name == "image_rotary_emb" or (name in _WITHOUT_ROWS and value.dim() == 2)


def _first(arguments: Arguments) -> float:
    time = arguments["timestep"] if "timestep" in arguments else arguments["t"]
    return float(time.flatten()[0] if isinstance(time, Tensor) else time)


def _rows_of(value: Any, chosen: Tensor, count: int) -> Any:
    """The chosen rows of every tensor in a nested value that has `count` rows, and of a list with one item for each row."""
    if isinstance(value, Tensor):
        return value[chosen.to(value.device)] if value.dim() > 0 and value.shape[0] == count else value
    if isinstance(value, Mapping):
        return {name: _rows_of(part, chosen, count) for name, part in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == count and not any(isinstance(part, Tensor) and part.dim() > 0 and part.shape[0] == count for part in value):
            return type(value)(value[row] for row in chosen.tolist())
        return type(value)(_rows_of(part, chosen, count) for part in value)
    return value
