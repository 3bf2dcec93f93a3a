"""The backbone protocol: encode text, predict one guidance branch, combine branches, decode latents."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import nn

from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, frozen


@frozen
class Defaults:
    """The settings of a run if the user gives none; `height` and `width` in pixels. `rewards` maps a reward's name to the one that fits
    this backbone's images (the embedded model has a CLIP trained on shapes). `float32` lists the roles of networks that overflow in half
    precision (SDXL's decoder): the fp16 policy does not cast those. `note` is a warning for runs that use the default `steps`."""

    steps: int = 50
    guidance: float = 7.5
    height: int = 512
    width: int = 512
    rewards: Mapping[str, str] = attrs.field(factory=dict)
    float32: tuple[str, ...] = ()
    note: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A text-to-image diffusion model. All inputs and outputs are float32; the backbone casts to the dtype of its networks."""

    @property
    def has_null(self) -> bool:
        """Whether it has an unconditional branch for guidance."""
        ...

    @property
    def defaults(self) -> Defaults:
        """Steps, guidance and image size if the user gives none."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks by role: "denoiser", "decoder", "text_encoder" ...; empty if it computes without networks."""
        ...

    @property
    def device(self) -> torch.device:
        """The device of the latents."""
        ...

    @property
    def sampler(self) -> object:
        """The model's own sampler, from which a `Scheduler` plugin reads its table: a diffusers scheduler, or a `NativeSampler`."""
        ...

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents of a height x width image. Raises `InputError` for sizes that the model does not support."""
        ...

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The text embedding of each prompt."""
        ...

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The null embedding of each sample: of a negative prompt, or, for None, the model family's own. Returns None if the model has
        none."""
        ...

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch, with the shape of x. Pure, and differentiable in x and the embedding."""
        ...

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The guided output: `null + guidance * (text - null)`, unless the model family rescales it."""
        ...

    def decode(self, x0: Latents) -> Images:
        """Clean latents decoded to RGB, 0 to 1, *not clamped*; differentiable."""
        ...


@runtime_checkable
class EncodesImages(Protocol):
    """A backbone that can start from an image."""

    def encode_image(self, images: Images) -> Latents:
        """The clean latents of RGB images in [0, 1]; `decode` approximately inverts this."""
        ...


@runtime_checkable
class SteersAttention(Protocol):
    """A backbone that can apply `Embedding.attention`: its `predict` changes the context from one cross-attention layer to the next."""

    @property
    def steers_attention(self) -> bool:
        """Whether it can, with its current denoiser."""
        ...


def classifier_free(text: Latents, null: Latents, guidance: float) -> Latents:
    """null + guidance * (text - null). Source: classifier-free guidance (arXiv 2207.12598) eq. 6, in the w >= 1 convention."""
    return null + guidance * (text - null)
