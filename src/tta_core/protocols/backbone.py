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
    """What a backbone is run with when the user does not say. `rewards` maps a reward's name to the one that fits this backbone's
    pictures (the embedded model brings a CLIP that has seen shapes). `float32` lists the roles of networks that overflow in half
    precision (SDXL's decoder): the fp16 policy leaves those as they are. `note` is said where `steps` was taken from here."""

    steps: int = 50
    guidance: float = 7.5
    height: int = 512
    width: int = 512
    rewards: Mapping[str, str] = attrs.field(factory=dict)
    float32: tuple[str, ...] = ()
    note: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A text-to-image diffusion model. At this border everything is float32; the networks' own dtype is the backbone's affair."""

    @property
    def has_null(self) -> bool:
        """Whether it has an unconditional branch to guide against."""
        ...

    @property
    def defaults(self) -> Defaults:
        """Steps, guidance and size where the user gives none."""
        ...

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """Its networks by role: "denoiser", "decoder", "text_encoder" ...; empty if it computes without networks."""
        ...

    @property
    def device(self) -> torch.device:
        """Where latents live."""
        ...

    @property
    def sampler(self) -> object:
        """The sampler that it came with, from which a `Scheduler` plugin reads its table: a diffusers scheduler, or a `NativeSampler`."""
        ...

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents of a height x width picture. Raises `InputError` for sizes it cannot draw."""
        ...

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The text embedding of each prompt."""
        ...

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The null embedding of each sample; a string is a negative prompt, None the family's own choice. None: it has none."""
        ...

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The raw output of one guidance branch, one row per row of x. Pure and differentiable in x and the embedding."""
        ...

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The guided output; `null + guidance * (text - null)` unless the family rescales."""
        ...

    def decode(self, x0: Latents) -> Images:
        """Clean latents to RGB, 0 to 1, *not clamped*; differentiable."""
        ...


@runtime_checkable
class EncodesImages(Protocol):
    """A backbone that can start from a picture."""

    def encode_image(self, images: Images) -> Latents:
        """The clean latents of RGB in [0, 1]: what `decode` gives back, nearly."""
        ...


@runtime_checkable
class SteersAttention(Protocol):
    """A backbone that may honour `Embedding.attention`: its `predict` moves the context from one cross-attention layer to the next."""

    @property
    def steers_attention(self) -> bool:
        """Whether it does, with the denoiser that it has."""
        ...


def classifier_free(text: Latents, null: Latents, guidance: float) -> Latents:
    """null + guidance * (text - null). Source: classifier-free guidance (arXiv 2207.12598) eq. 6, in the w >= 1 convention."""
    return null + guidance * (text - null)
