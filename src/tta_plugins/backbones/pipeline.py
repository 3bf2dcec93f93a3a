"""A loaded diffusers pipeline as a backbone. It is read, never changed."""

import copy
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import attrs
import torch
from torch import nn

from tta_core.protocols.backbone import Defaults
from tta_core.protocols.method import Method, Snapshot
from tta_core.protocols.native_sampler import NativeSampler
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents
from tta_plugins.backbones import autoencoder
from tta_plugins.backbones.attention_energy import attention_moved, can_steer_attention
from tta_plugins.backbones.denoiser import called, device_of
from tta_plugins.backbones.distilled import few_steps
from tta_plugins.backbones.extra_conditioning import check
from tta_plugins.backbones.family import Family, Pipeline, in_dtype
from tta_plugins.backbones.missing_parts import TEXT_ENCODERS, check_encoders, check_parts
from tta_plugins.backbones.modules import Modules, dtype_of
from tta_plugins.backbones.offloading import kept_for_backward
from tta_plugins.backbones.steering_hook import steered

_one_encodes = threading.RLock()  # a call of a tokenizer sets its padding, which would change that of another thread's call


@attrs.frozen(eq=False)
class PipelineBackbone:
    """A pipeline and its family. Inputs and outputs are float32; the networks compute in the dtype that they have when they are called."""

    pipeline: Pipeline = attrs.field(repr=lambda pipeline: _named(pipeline))
    family: Family
    defaults: Defaults
    _float32: list[nn.Module] = attrs.field(factory=list, init=False, repr=False)
    _modules: dict[str, Modules] = attrs.field(factory=dict, init=False, repr=False)

    @property
    def __name__(self) -> str:
        """The pipeline's class, so that messages use the name of the user's object."""
        return type(self.pipeline).__name__

    @property
    def has_null(self) -> bool:
        """Whether there is an unconditional branch."""
        return self.family.traits.has_null

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The denoiser, the decoder, and the text encoders that the pipeline has."""
        encoders = {role: getattr(self.pipeline, role, None) for role in TEXT_ENCODERS}
        held = {"denoiser": self._denoiser, "decoder": self._autoencoder, **encoders}
        return {role: network for role, network in held.items() if network is not None}

    @property
    def device(self) -> torch.device:
        """The device on which the denoiser computes; with offloading hooks, the one to which they move it."""
        return device_of(self._denoiser, self.pipeline)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype in which the denoiser computes."""
        return dtype_of(self._denoiser)

    @property
    def sampler(self) -> object:
        """The pipeline's scheduler, with the pipeline's timing if it has one."""
        timing = self.family.timing(self.pipeline)
        return self.pipeline.scheduler if timing is None else NativeSampler(self.pipeline.scheduler, timing)

    @property
    def channels(self) -> int:
        """The number of channels of the latents."""
        return autoencoder.channels_of(self.pipeline.vae)

    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents. Raises `InputError` for a size that the networks do not support."""
        return self.channels, *autoencoder.latent_size(self.pipeline, self.family.traits.patch, height, width)

    def encode(self, prompts: Sequence[str], height: int, width: int) -> Embedding:
        """The text embedding of each prompt, as by the pipeline's own `encode_prompt`.

        Raises `IncompatibleError` if the pipeline was loaded without its text encoders.
        """
        with _one_encodes:
            check_encoders(self.pipeline, prompts)
            return in_dtype(self.family.encode(self.pipeline, prompts, (height, width), self.device), torch.float32)

    def encode_null(self, prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        """The null embedding of each sample, as the pipeline makes it with or without a negative prompt; raises as `encode` does."""
        with _one_encodes:
            check_encoders(self.pipeline, [prompt for prompt in prompts if prompt])
            null = self.family.encode_null(self.pipeline, prompts, (height, width), self.device)
        return null and in_dtype(null, torch.float32)

    def predict(self, x: Latents, step: Step, embedding: Embedding) -> Latents:
        """The denoiser's raw output for one guidance branch. Raises `IncompatibleError` if the denoiser needs other inputs than text."""
        known = self._modules.get("denoiser")
        modules = self.modules(again=step.index == 0)
        if step.index == 0 or modules is not known:
            check(self.pipeline, self.family, modules)
        dtype = modules.dtype
        inputs = self.family.inputs((x * step.input_scale).to(dtype), step.time)
        conditioning = self.family.conditioning(in_dtype(embedding, dtype))
        with attention_moved(modules.network, embedding.attention):
            return self.family.output(called(modules, self.family.traits, {**inputs, **conditioning}), x).float()

    def modules(self, again: bool = False) -> Modules:
        """Facts about the denoiser's modules. They are read `again` at the first step of a run, and do not change during it."""
        if again:
            self._modules.update({role: Modules.of(known.network, known) for role, known in list(self._modules.items())})
        return self._read("denoiser", self._denoiser)

    def _read(self, role: str, network: nn.Module) -> Modules:
        known = self._modules.get(role)
        if known is None or not known.hold(network):
            known = self._modules[role] = Modules.of(network)
        return known

    @property
    def steers_attention(self) -> bool:
        """Whether the denoiser is a U-Net whose cross-attention layers can be hooked."""
        return can_steer_attention(self._denoiser)

    def combine(self, text: Latents, null: Latents, guidance: float) -> Latents:
        """The family's guidance."""
        return self.family.combine(text, null, guidance)

    def decode(self, x0: Latents) -> Images:
        """Clean latents to RGB in [0, 1], not clamped."""
        modules = self._read("decoder", self._autoencoder)
        with kept_for_backward(modules) if torch.is_grad_enabled() and x0.requires_grad else nullcontext():
            return autoencoder.decode(modules.network, x0, modules.dtype)

    def encode_image(self, images: Images) -> Latents:
        """RGB in [0, 1] to clean latents."""
        return autoencoder.encode(self._autoencoder, images)

    def steered(
        self, method: Method, reward: object, *, prompts: Sequence[str] | str, guidance: float | None, eta: float | None, seed: int
    ) -> AbstractContextManager[list[Snapshot]]:
        """Steers the pipeline's own call by a method; see `tta_core.steering_hook`."""
        return steered(self, method, reward, prompts=prompts, guidance=guidance, eta=eta, seed=seed)

    @property
    def _autoencoder(self) -> nn.Module:
        """The pipeline's autoencoder, or, if it overflows in float16, a float32 copy, made once, so that the pipeline's own is
        unchanged."""
        own: nn.Module = self.pipeline.vae
        if not self.defaults.float32 or dtype_of(own) != torch.float16:
            return own
        if not self._float32:
            self._float32.append(copy.deepcopy(own).float())
        return self._float32[0] if self._float32[0].device == own.device else self._float32[0].to(cast(torch.device, own.device))

    @property
    def _denoiser(self) -> nn.Module:
        return cast(nn.Module, getattr(self.pipeline, self.family.traits.denoiser))


def backbone(
    pipeline: Pipeline, family: Family, steps: int | None = None, guidance: float | None = None, rewards: Mapping[str, str] | None = None
) -> PipelineBackbone:
    """A pipeline as a backbone. Without `steps` or `guidance`, the defaults are those of the family or of a distilled pipeline.

    Raises `InputError` for a pipeline without its denoiser or its autoencoder.
    """
    check_parts(pipeline, family.traits.denoiser)
    side, few = family.side(pipeline), few_steps(pipeline)
    own = (family.traits.steps, family.traits.guidance) if few is None else (few[0], 1.0)
    defaults = Defaults(
        steps=own[0] if steps is None else steps,
        guidance=own[1] if guidance is None else guidance,
        note="" if few is None or steps is not None else few[1],
        height=side,
        width=side,
        rewards=rewards or {},
        float32=("decoder",) if family.traits.upcasts and pipeline.vae.config.get("force_upcast") else (),
    )
    return PipelineBackbone(pipeline, family, defaults)


def _named(pipeline: Pipeline) -> str:
    """The class, and the folder or hub id from which the pipeline was loaded, if it is known."""
    source = pipeline.config.get("_name_or_path")
    return f"{type(pipeline).__name__} from {source}" if source else type(pipeline).__name__
