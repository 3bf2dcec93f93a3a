"""Similarity to a reference image: the cosine of self-supervised features."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoModel

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.images import as_pixels
from tta_core.values.prompts import facts_of
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.preprocessing import ImagePath
from tta_plugins.rewards.preprocessor import Triple, normalisation
from tta_plugins.rewards.pretrained import Dtype, commit, pretrained
from tta_plugins.rewards.weight_files import Where

CITATION = """@article{oquab2024dinov2,
  title = {{DINOv2}: Learning Robust Visual Features without Supervision},
  author = {Oquab, Maxime and Darcet, Timoth{\\'e}e and Moutakanni, Th{\\'e}o and others},
  journal = {Transactions on Machine Learning Research},
  year = {2024},
  eprint = {2304.07193},
  archivePrefix = {arXiv}
}"""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_KNOWN = ("dinov2", "dinov2_with_registers", "dinov3_vit")


@frozen
class DINOSimilarity:
    """Cosine in [-1, 1] of the class tokens of image and reference, higher is more similar.

    reference: an image file with which all images are compared; None: each prompt's fact `reference` (see `tta_core.Prompt`).
    weights: a DINOv2 or DINOv3 ViT, a hub id or a folder; `revision` pins the hub's commit.
    size: side in pixels of the network's square input, a multiple of its patch; the short side is resized to 8/7 of it, then cropped.
    official: True: the 8-bit image, resized as by Pillow; False: in floats, for guidance.
    Differentiable. Source: Oquab et al. 2024.
    """

    reference: str | Path | None = None
    weights: Where = "facebook/dinov2-base"
    size: int = 224
    official: bool = False
    dtype: Dtype = "float32"
    revision: str | None = None
    _network: nn.Module = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))
    _normal: tuple[Triple, Triple] = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: normalisation(self.weights, MEAN, STD), takes_self=True)
    )
    _known: dict[str, Tensor] = attrs.field(init=False, repr=False, eq=False, factory=dict)

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One cosine per image."""
        features = self._features(images)
        references = torch.stack([self._reference(self.reference or facts_of(prompt)["reference"]) for prompt in prompts])
        return (features * references.to(features.device)).sum(-1).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower."""
        return {"vision": self._network}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit="cosine",
            range=(0.0, 1.0),
            version=f"{self.size} pixels, {'official' if self.official else 'diff'}",
            differentiable=True,
            facts=() if self.reference else ("reference",),
            reads_prompt=self.reference is None,
            source="Oquab et al. 2024 (arXiv:2304.07193)",
            licence="DINOv2: Apache-2.0; DINOv3: its own",
            weights=commit(self._network, self.weights),
            citation=CITATION,
        )

    def _features(self, images: Images) -> Tensor:
        """Unit class tokens, float32."""
        path = ImagePath("crop", rounding="pillow" if self.official else "none")
        whole = path(images, round(self.size * 8 / 7))
        first = (whole.shape[-1] - self.size) // 2
        cut = whole[..., first : first + self.size, first : first + self.size]
        mean, std = (torch.tensor(values, dtype=torch.float32, device=cut.device).view(3, 1, 1) for values in self._normal)
        weight = next(self._network.parameters())
        hidden = self._network(pixel_values=((cut - mean) / std).to(weight.device, weight.dtype)).last_hidden_state
        return normalize(hidden[:, 0].float(), dim=-1)

    def _reference(self, reference: object) -> Tensor:
        """The reference's features; those of files are cached."""
        key = str(reference) if isinstance(reference, str | Path) else None
        if key is not None and key in self._known:
            return self._known[key]
        image = reference[None] if isinstance(reference, Tensor) and reference.dim() == 3 else reference
        with torch.inference_mode(False), torch.no_grad():
            features = self._features(as_pixels(image, 1))[0]
        if key is not None:
            self._known[key] = features
        return features


def _load(reward: DINOSimilarity) -> nn.Module:
    network: Any = pretrained(AutoModel, reward.weights, reward.dtype, reward.revision)
    if network.config.model_type not in _KNOWN:
        raise LoadError(f"{reward.weights} is a {network.config.model_type}, but this reward needs one of {', '.join(_KNOWN)}.")
    return network
