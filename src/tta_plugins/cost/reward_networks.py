"""The networks of the published rewards from their configurations alone: what they cost, and nothing of what they know."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import BlipVisionConfig, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.blip.modeling_blip import BlipVisionModel

from tta_core.errors import UnknownNameError
from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores
from tta_plugins.cost.pipeline_configuration import made_in

_VIT_L: Mapping[str, Any] = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_VIT_H: Mapping[str, Any] = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
_NAMED: Mapping[str, Any] = {
    "clip": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_L, patch_size=14, projection_dim=768)),
    "aesthetic": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_L, patch_size=14, projection_dim=768)),
    "pickscore": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_H, patch_size=14, projection_dim=1024)),
    "hpsv2": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_H, patch_size=14, projection_dim=1024)),
    "hpsv2.1": lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_VIT_H, patch_size=14, projection_dim=1024)),
    "imagereward": lambda: BlipVisionModel(BlipVisionConfig(**_VIT_L, image_size=224, patch_size=16)),
}


@attrs.frozen(eq=False)
class RewardNetwork:
    """An image network at 224 pixels. Text networks run once a prompt and are not in it, nor is ImageReward's, 8 % of its work."""

    name: str
    networks: Mapping[str, nn.Module] = attrs.field(repr=False)

    card: ClassVar[Card] = Card(differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per image, which means nothing."""
        network = self.networks["vision"]
        dtype = next(network.parameters()).dtype
        pixels = interpolate(images, (224, 224), mode="bicubic", antialias=True)
        output = network(pixel_values=pixels.to(dtype))
        embeds: Tensor = output.image_embeds if "image_embeds" in output else output.last_hidden_state[:, 0]
        return embeds.float().mean(1)


def reward_network(name: str, backbone: Backbone, dtype: torch.dtype) -> RewardNetwork:
    """The network of a published reward on fake tensors, for a backbone on fake tensors. Raises `UnknownNameError` for another reward."""
    if name not in _NAMED:
        raise UnknownNameError(f"The networks of the reward {name!r} are not known here. Known: {', '.join(_NAMED)}.")
    parameter: Any = next(backbone.networks["denoiser"].parameters())
    with parameter.fake_mode, made_in(dtype):
        return RewardNetwork(name, {"vision": _NAMED[name]().eval()})


def has_reward_network(name: str) -> bool:
    """Whether the networks of this reward are known."""
    return name in _NAMED
