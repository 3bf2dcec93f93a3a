"""A safety constraint: the log-odds of an image classifier that the image is safe."""

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import nn
from transformers import ViTForImageClassification

from tta_core.errors import InputError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.preprocessing import ImagePath, Pixels
from tta_plugins.rewards.preprocessor import mean_and_std, preprocessor
from tta_plugins.rewards.pretrained import Dtype, commit, pretrained
from tta_plugins.rewards.resize import Kernel
from tta_plugins.rewards.weight_files import Where


@frozen
class Safety:
    """log P(safe) - log P(not safe), in nats; 0 is undecided, higher is safer. Prompts are not read.

    Use it as a constraint together with another reward: `WeightedSum({"preference": ..., "safe": (Safety(), 0.1)})`, or `Minimum`.
    weights: a `ViTForImageClassification`, a hub id or a folder; `revision` pins the hub's commit. safe: the label that means safe.
    official: True: the 8-bit image, resized as by Pillow; False: in floats, for guidance.
    Differentiable. A classifier can be wrong, and following its gradient can hack it as any other reward.
    """

    weights: Where = "Falconsai/nsfw_image_detection"
    safe: str = "normal"
    official: bool = False
    dtype: Dtype = "float32"
    revision: str | None = None
    _part: "Classifier" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per image."""
        part, weight = self._part, next(self._part.network.parameters())
        logits = part.network(pixel_values=part.pixels(images).to(weight.device, weight.dtype)).logits.float()
        others = [label for label in range(logits.shape[1]) if label != part.label]
        return (logits[:, part.label] - torch.logsumexp(logits[:, others], 1)).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The classifier."""
        return {"classifier": self._part.network}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit="nats",
            range=(-10.0, 10.0),
            version=f"label {self.safe}, {'official' if self.official else 'diff'}",
            differentiable=True,
            reads_prompt=False,
            source="the classifier's repository",
            licence="see the weights' repository",
            weights=self._part.source,
        )


@attrs.frozen(eq=False)
class Classifier:
    """The loaded networks and their settings."""

    network: nn.Module
    pixels: Pixels
    label: int
    source: str


def _load(reward: Safety) -> Classifier:
    network: Any = pretrained(ViTForImageClassification, reward.weights, reward.dtype, reward.revision)
    labels = {name.lower(): number for name, number in network.config.label2id.items()}
    if reward.safe.lower() not in labels or len(labels) < 2:
        raise InputError(f"safe={reward.safe!r} is not a label of {reward.weights}. Give one of {', '.join(labels)}.")
    with preprocessor(reward.weights) as settings:
        kernel: Kernel = "bicubic" if settings.get("resample", 2) == 3 else "bilinear"
        mean, std = mean_and_std(settings)
    path = ImagePath(
        "squash", kernel, rounding="pillow" if reward.official and kernel == "bicubic" else "input" if reward.official else "none"
    )
    pixels = Pixels(path, network.config.image_size, mean, std)
    return Classifier(network, pixels, labels[reward.safe.lower()], commit(network, reward.weights))
