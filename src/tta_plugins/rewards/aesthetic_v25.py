"""Aesthetic predictor v2.5: how beautiful people find an image, predicted by SigLIP and an affine head."""

from collections.abc import Sequence
from typing import Any

import attrs
from torch import nn
from torch.nn.functional import normalize
from transformers import SiglipVisionModel

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.affine import Affine, fold
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.preprocessing import SIGLIP_MEAN, SIGLIP_PATHS, Pixels, path_named
from tta_plugins.rewards.preprocessor import normalisation
from tta_plugins.rewards.pretrained import Dtype, pretrained
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import read_state

CITATION = """@misc{discus0434aesthetic,
  title = {Aesthetic Predictor V2.5},
  author = {discus0434},
  year = {2024},
  url = {https://github.com/discus0434/aesthetic-predictor-v2-5}
}"""
_LAYERS = (0, 2, 4, 6, 8)


@frozen
class AestheticV25:
    """Aesthetic score on a scale of 1 to 10, unbounded, higher is better; 5.5 and more is good. Prompts are not read.

    weights: the head, aesthetic_predictor_v2_5.pth, or a folder that contains it. Its repository is AGPL-3.0, so it is not downloaded
        automatically.
    siglip: the image tower, which must be google/siglip-so400m-patch14-384.
    preprocess: *diff* for guidance, *official* for numbers to report.
    Differentiable: an affine function of the unit pooled embedding.
    """

    weights: Where
    siglip: Where = "google/siglip-so400m-patch14-384"
    preprocess: str = "diff"
    dtype: Dtype = "float32"
    _predictor: "Predictor" = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True)
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        part = self._predictor
        weight = next(part.vision.parameters())
        pooled = part.vision(pixel_values=part.pixels(images).to(weight.device, weight.dtype)).pooler_output
        return part.head(normalize(pooled.float(), dim=-1)).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the head is a vector and stays in float32."""
        return {"vision": self._predictor.vision}

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="1-10 scale, unbounded",
            range=(2.0, 8.0),
            version=f"2.5, preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            reads_prompt=False,
            source="aesthetic-predictor-v2-5",
            licence="head AGPL-3.0; SigLIP Apache-2.0",
            weights=self._predictor.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Predictor:
    """The loaded networks and their settings."""

    vision: nn.Module
    head: Affine
    pixels: Pixels
    source: str


def _load(reward: AestheticV25) -> Predictor:
    path = path_named(reward.preprocess, SIGLIP_PATHS)
    file = find(reward.weights, ["aesthetic_predictor_v2_5.pth"])
    where = provenance(reward.weights, file)
    head = fold(read_state(file), where, "scoring_head.", _LAYERS)
    vision: Any = pretrained(SiglipVisionModel, reward.siglip, reward.dtype, unused=("text_model.", "logit_"))
    config = vision.config
    if head.weight.shape[0] != config.hidden_size:
        raise LoadError(
            f"Cannot use the head {where} with {reward.siglip}. This is because it takes {head.weight.shape[0]} features, but that tower "
            f"has {config.hidden_size}. It needs google/siglip-so400m-patch14-384."
        )
    pixels = Pixels(path, config.image_size, *normalisation(reward.siglip, SIGLIP_MEAN, SIGLIP_MEAN))
    return Predictor(vision, head, pixels, f"{where}; {reward.siglip}")
