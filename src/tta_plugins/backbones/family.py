"""What differs between families of pipelines, and what a pipeline's own call is steered by; everything else is `PipelineBackbone`'s."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.native_sampler import Timing
from tta_core.values.controls import Embedding
from tta_core.values.typing import Latents

Pipeline = Any
Size = tuple[int, int]  # height and width in pixels


@runtime_checkable
class Family(Protocol):
    """A family of pipelines: how its text is encoded, and how its denoiser is called.

    Embeddings leave `encode` in any dtype, and come to the denoiser in the denoiser's.
    """

    @property
    def denoiser(self) -> str:
        """The pipeline's attribute that holds the denoiser."""
        ...

    @property
    def patch(self) -> int:
        """Side of the square of latent pixels that the denoiser takes for one token."""
        ...

    @property
    def packs(self) -> bool:
        """Whether the denoiser is shown tokens instead of latents."""
        ...

    @property
    def upcasts(self) -> bool:
        """Whether its own pipeline decodes in float32 where the autoencoder's configuration says `force_upcast`."""
        ...

    @property
    def steps(self) -> int:
        """How many steps its own pipeline takes by default."""
        ...

    @property
    def guidance(self) -> float:
        """The guidance of its own pipeline by default; 1 without an unconditional branch."""
        ...

    @property
    def has_null(self) -> bool:
        """Whether there is an unconditional branch."""
        ...

    def side(self, pipeline: Pipeline) -> int:
        """Pixels of the square that its own pipeline draws by default."""
        ...

    def timing(self, pipeline: Pipeline) -> Timing | None:
        """What its own pipeline hands `set_timesteps`; None for the number of steps alone."""
        ...

    def encode(self, pipeline: Pipeline, prompts: Sequence[str], size: Size, device: torch.device) -> Embedding:
        """The text embedding."""
        ...

    def encode_null(self, pipeline: Pipeline, prompts: Sequence[str | None], size: Size, device: torch.device) -> Embedding | None:
        """The null embedding; None stands for no negative prompt."""
        ...

    def conditioning(self, embedding: Embedding) -> Mapping[str, Any]:
        """An embedding as the denoiser's keyword arguments."""
        ...

    def embedding(self, conditioning: Mapping[str, Any]) -> Embedding:
        """The inverse of `conditioning`: the embedding in the keyword arguments of a call."""
        ...

    def shown(self, x: Latents, time: float) -> Mapping[str, Any]:
        """x (scaled for the denoiser, and in its dtype) and the time as the denoiser's keyword arguments."""
        ...

    def seen(self, arguments: Mapping[str, Any]) -> Tensor:
        """The inverse of `shown`: x in the keyword arguments of a call, with the channels of a picture or a mask after its own, if any."""
        ...

    def output(self, raw: Tensor, x: Latents) -> Latents:
        """What the denoiser gave at x, as latents."""
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
        """How its text is encoded and its denoiser called."""
        ...

    @property
    def channels(self) -> int:
        """Of the latents."""
        ...


def in_dtype(embedding: Embedding, dtype: torch.dtype) -> Embedding:
    """Every tensor but the mask in a dtype; the same object when all are already."""
    if all(tensor.dtype == dtype for tensor in (*embedding.leaves, *embedding.extra.values())):
        return embedding
    extra = {name: tensor.to(dtype) for name, tensor in embedding.extra.items()}
    pooled = None if embedding.pooled is None else embedding.pooled.to(dtype)
    return Embedding(embedding.tokens.to(dtype), pooled, embedding.mask, extra)
