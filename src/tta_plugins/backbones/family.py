"""The protocol for the differences between families of pipelines; `PipelineBackbone` has everything that they share."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from tta_core.errors import InputError
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents, evolve, frozen
from tta_plugins.backbones.modules import Modules

Pipeline = Any
Size = tuple[int, int]  # height and width in pixels


@frozen
class Traits:
    """Facts about a family.

    Attributes:
        denoiser: the name of the pipeline's attribute that holds the denoiser.
        patch: side of the square of latent pixels that is one token of the denoiser.
        packing: input channels of the denoiser for one channel of the latents: 4 if a token is 2 x 2 latent pixels.
        upcasts: whether the pipeline decodes in float32 if the autoencoder's configuration has `force_upcast`.
        steps, guidance: the pipeline's defaults; guidance is 1 without an unconditional branch.
        has_null: whether there is an unconditional branch.
        branches: how the pipeline evaluates the branches of guidance: one batch with the null or the text first, or a call for each.
        tells_guidance: whether the pipeline's `guidance_scale` is this guidance; for FLUX and Qwen-Image it is the embedded one.
        positional: the denoiser's arguments that the pipeline passes by position.
    """

    denoiser: str = "transformer"
    patch: int = 2
    packing: int = 1
    upcasts: bool = False
    steps: int = 28
    guidance: float = 1.0
    has_null: bool = True
    branches: Literal["null first", "text first", "apart"] = "null first"
    tells_guidance: bool = True
    positional: tuple[str, ...] = ()


@runtime_checkable
class Family(Protocol):
    """A family of pipelines: how its text is encoded, and how its denoiser is called.

    `encode` may return embeddings in any dtype; the denoiser gets them in its own dtype.
    """

    @property
    def traits(self) -> Traits:
        """Facts about the family."""
        ...

    def side(self, pipeline: Pipeline) -> int:
        """The side in pixels of the square image that the pipeline generates by default."""
        ...

    def timing(self, pipeline: Pipeline) -> Timing | None:
        """The arguments that the pipeline passes to `set_timesteps`; None: only the number of steps."""
        ...

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The text embedding."""
        ...

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The null embedding, of a negative prompt or, for None, without one; returns None without an unconditional branch."""
        ...

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """An embedding as the denoiser's keyword arguments."""
        ...

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The inverse of `conditioning`: the embedding in the keyword arguments of a call."""
        ...

    def inputs(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x (scaled for the denoiser, and in its dtype) and the time as the denoiser's keyword arguments."""
        ...

    def latents(self, arguments: Mapping[str, Any]) -> Tensor:
        """The inverse of `inputs`: x in the keyword arguments of a call, with the channels of an image or a mask after its own, if any."""
        ...

    def output(self, raw: Any, x: Latents) -> Latents:
        """The denoiser's raw output at x, as latents."""
        ...

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The guided output, as the pipeline computes it for a guidance above 1; at 1 the text branch."""
        ...


@runtime_checkable
class FamilyBackbone(Backbone, Protocol):
    """A backbone made of a pipeline and its family."""

    @property
    def pipeline(self) -> Pipeline:
        """The loaded pipeline."""
        ...

    @property
    def family(self) -> Family:
        """The family, which encodes text and calls the denoiser."""
        ...

    @property
    def channels(self) -> int:
        """The number of channels of the latents."""
        ...

    def modules(self, again: bool = False) -> Modules:
        """What the denoiser's modules say; read `again` at the first step of a run, after which they are taken to stay as they are."""
        ...


def in_dtype(embedding: Embedding, dtype: torch.dtype) -> Embedding:
    """Every tensor except the mask cast to a dtype; the same object if all have it already."""
    if all(tensor.dtype == dtype for tensor in (*embedding.leaves, *embedding.extra.values())):
        return embedding
    extra = {name: tensor.to(dtype) for name, tensor in embedding.extra.items()}
    pooled = None if embedding.pooled is None else embedding.pooled.to(dtype)
    return evolve(embedding, tokens=embedding.tokens.to(dtype), pooled=pooled, extra=extra)


def at_time(x: Latents, time: float) -> Tensor:
    """The time for each row of x, in float32 as a scheduler's timesteps, for any default dtype of torch."""
    return torch.full((x.shape[0],), time, dtype=torch.float32, device=x.device)


def required(embedding: Embedding, fact: str) -> Tensor:
    """An `extra` tensor that the denoiser takes. Raises `InputError` if a given embedding lacks it."""
    if fact not in embedding.extra:
        raise InputError(f"A given embedding has no extra[{fact!r}], which this denoiser takes. Make it by the backbone's encode.")
    return embedding.extra[fact]
