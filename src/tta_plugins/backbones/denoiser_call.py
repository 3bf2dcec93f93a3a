"""A pipeline's own call of its denoiser, to be made again for one guidance branch and with another embedding.

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
_WITHOUT_ROWS = ("img_ids", "txt_ids")  # FLUX's positions, one for all samples where they have no dimension of rows
Arguments = Mapping[str, Any]
Replaced = tuple[tuple[Any, ...], dict[str, Any]]  # arguments by position and by name


@attrs.frozen(eq=False)
class DenoiserCall:
    """The arguments of a call, by name; its rows are the guidance branches one after another, null first."""

    drawing: FamilyBackbone
    arguments: Arguments

    @classmethod
    def made(cls, drawing: FamilyBackbone, args: tuple[Any, ...], kwargs: Arguments) -> "DenoiserCall":
        """From the arguments as they were given, by position or by name."""
        return cls(drawing, by_name(drawing.networks["denoiser"], drawing.family.traits, args, kwargs))

    @property
    def time(self) -> float:
        """The time, as the denoiser receives it."""
        return _first(self.arguments)

    def is_at(self, time: float) -> bool:
        """Whether this is the denoiser's form of a time of the sampler's table, up to the rounding of float32."""
        told = _first(self.drawing.family.shown(self.x, time))
        return abs(self.time - told) <= 1e-5 * max(abs(told), 1e-3)

    @property
    def x(self) -> Tensor:
        """x as the denoiser receives it, in every row, without further channels (an image, a mask)."""
        return self.drawing.family.seen(self.arguments)[:, : self.drawing.channels]

    @property
    def embedding(self) -> Embedding:
        """The embedding of all rows; `extra` holds the index of each row in the call."""
        told = self.drawing.family.embedding(self.arguments)
        rows = torch.arange(told.tokens.shape[0], device=told.tokens.device)
        return evolve(told, extra={**told.extra, _ROWS: rows})

    def output(self, embedding: Embedding, change: Latents | None = None) -> Latents:
        """The denoiser's output, float32, in the call's rows that this embedding comes from, given this embedding; x changed, if asked."""
        chosen, everyone = embedding.extra[_ROWS].long(), self.embedding.tokens.shape[0]
        chosen = chosen % everyone  # where guidance has ended the call has the text's rows alone
        mine = {name: told if _is_shared(name, told) else _taken(told, chosen, everyone) for name, told in self.arguments.items()}
        again = DenoiserCall(self.drawing, mine)
        again = again if change is None else again.moved(change)
        modules = self.drawing.modules()
        with attention_moved(modules.network, embedding.attention):
            raw = called(modules, self.drawing.family.traits, again.with_embedding(embedding))
        return self.drawing.family.output(raw, again.x).float()

    def moved(self, change: Latents) -> "DenoiserCall":
        """The call whose x, as the denoiser is shown it, is changed; differentiable in the change."""
        name = next(
            name for name, part in self.drawing.family.shown(change.detach().requires_grad_(), self.time).items() if carries_graph(part)
        )

        def read(held: Any) -> Latents:
            return self.drawing.family.seen({**self.arguments, name: held})[:, : self.drawing.channels]

        held = self.arguments[name]
        added = change_of(held, read, change)
        new = held + added if isinstance(held, Tensor) else [part + more for part, more in zip(held, added, strict=True)]
        return DenoiserCall(self.drawing, {**self.arguments, name: new})

    @torch.no_grad()
    def overwrite(self, raw: Any, guided: Latents) -> None:
        """Changes what the denoiser gave in this call, in place, so that every branch gives the same output, and so does any guidance."""

        def read(held: Any) -> Latents:
            return self.drawing.family.output(held, self.x)

        now = read(raw)
        for part, more in zip(parts_of(raw), parts_of(change_of(raw, read, as_batch(guided, len(now)).to(now.dtype) - now)), strict=True):
            part.add_(more)

    def with_embedding(self, embedding: Embedding) -> dict[str, Any]:
        """The arguments, with another embedding in place of theirs."""
        steered = self.drawing.family.conditioning(in_dtype(embedding, self.embedding.tokens.dtype))
        beside = {name: {**self.arguments[name], **new} for name, new in steered.items() if isinstance(new, Mapping)}
        return {**self.arguments, **steered, **beside}

    def replaced(self, embedding: Embedding) -> Replaced:
        """The same, as a hook before the denoiser gives them."""
        args, kwargs = as_called(self.drawing.family.traits, self.with_embedding(embedding))
        return args, {**kwargs, **({"return_dict": self.arguments["return_dict"]} if "return_dict" in self.arguments else {})}


def _is_shared(name: str, told: Any) -> bool:
    return name == "image_rotary_emb" or (name in _WITHOUT_ROWS and told.dim() == 2)


def _first(arguments: Arguments) -> float:
    time = arguments["timestep"] if "timestep" in arguments else arguments["t"]
    return float(time.flatten()[0] if isinstance(time, Tensor) else time)


def _taken(value: Any, chosen: Tensor, everyone: int) -> Any:
    """The chosen rows of every tensor in a value that has a row for everyone, and of a list of one thing for each row."""
    if isinstance(value, Tensor):
        return value[chosen.to(value.device)] if value.dim() > 0 and value.shape[0] == everyone else value
    if isinstance(value, Mapping):
        return {name: _taken(part, chosen, everyone) for name, part in value.items()}
    if isinstance(value, list | tuple):
        if len(value) == everyone and not any(isinstance(part, Tensor) and part.dim() > 0 and part.shape[0] == everyone for part in value):
            return type(value)(value[row] for row in chosen.tolist())
        return type(value)(_taken(part, chosen, everyone) for part in value)
    return value
