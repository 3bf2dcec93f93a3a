"""A pipeline's own call of its denoiser, to be made again for one guidance branch and with another embedding.

Whatever else the pipeline tells its denoiser (a ControlNet's residuals, an IP-Adapter's picture, a mask) is told again as it is.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve
from tta_plugins.backbones.family import FamilyBackbone, in_dtype

_ROWS = "rows of the pipeline's call"
_WITHOUT_ROWS = ("img_ids", "txt_ids")  # FLUX's positions are one for all samples
Arguments = Mapping[str, Any]


@attrs.frozen(eq=False)
class DenoiserCall:
    """The arguments of a call, by name; its rows are the guidance branches one after another, null first."""

    drawing: FamilyBackbone
    arguments: Arguments

    @classmethod
    def made(cls, drawing: FamilyBackbone, args: tuple[Any, ...], kwargs: Arguments) -> "DenoiserCall":
        """From the arguments as they were given; a module that `torch.compile` made takes those of the one inside."""
        denoiser = drawing.networks["denoiser"]
        original: nn.Module = getattr(denoiser, "_orig_mod", denoiser)
        names = list(inspect.signature(type(original).forward).parameters)[1:]
        return cls(drawing, {**dict(zip(names, args, strict=False)), **kwargs})

    @property
    def time(self) -> float:
        """The time as the denoiser is told it."""
        return _first(self.arguments)

    def is_at(self, time: float) -> bool:
        """Whether this is what a time of the sampler's table looks like to the denoiser."""
        return self.time == _first(self.drawing.family.shown(self.x, time))

    @property
    def x(self) -> Tensor:
        """x as the denoiser is shown it, in every row; what stands in further channels (a picture, a mask) is left out."""
        return self.drawing.family.seen(self.arguments)[:, : self.drawing.channels]

    @property
    def embedding(self) -> Embedding:
        """All rows of it, which remember where in the call they stand."""
        told = self.drawing.family.embedding(self.arguments)
        rows = torch.arange(told.tokens.shape[0], device=told.tokens.device)
        return evolve(told, extra={**told.extra, _ROWS: rows})

    def output(self, embedding: Embedding) -> Latents:
        """The denoiser's output, float32, in the call's rows that this embedding comes from, told this embedding."""
        chosen, everyone = embedding.extra[_ROWS].long(), self.embedding.tokens.shape[0]
        mine = {name: told if name in _WITHOUT_ROWS else _taken(told, chosen, everyone) for name, told in self.arguments.items()}
        again = DenoiserCall(self.drawing, mine)
        raw = self.drawing.networks["denoiser"](**{**again.told(embedding), "return_dict": False})[0]
        return self.drawing.family.output(raw, again.x).float()

    def told(self, embedding: Embedding) -> dict[str, Any]:
        """The arguments, with another embedding in place of theirs."""
        steered = self.drawing.family.conditioning(in_dtype(embedding, self.embedding.tokens.dtype))
        beside = {name: {**self.arguments[name], **new} for name, new in steered.items() if isinstance(new, Mapping)}
        return {**self.arguments, **steered, **beside}


def _first(arguments: Arguments) -> float:
    time = arguments["timestep"]
    return float(time.flatten()[0] if isinstance(time, Tensor) else time)


def _taken(value: Any, chosen: Tensor, everyone: int) -> Any:
    """The chosen rows of every tensor in a value that has a row for everyone."""
    if isinstance(value, Tensor):
        return value[chosen.to(value.device)] if value.dim() > 0 and value.shape[0] == everyone else value
    if isinstance(value, Mapping):
        return {name: _taken(part, chosen, everyone) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_taken(part, chosen, everyone) for part in value)
    return value
