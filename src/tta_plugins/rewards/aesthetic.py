"""LAION's aesthetic predictor: how beautiful people find an image, without its prompt."""

from collections.abc import Sequence

import attrs
from torch import nn
from transformers import CLIPModel

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.affine import Affine, fold
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import OPENAI, model_name
from tta_plugins.rewards.clip_checkpoint import open_checkpoint
from tta_plugins.rewards.clip_cosine import image_embeds
from tta_plugins.rewards.preprocessing import CLIP_PATHS, Pixels, path_named
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import read_state

CITATION = """@misc{schuhmann2022aesthetic,
  title = {Improved Aesthetic Predictor},
  author = {Schuhmann, Christoph},
  year = {2022},
  url = {https://github.com/christophschuhmann/improved-aesthetic-predictor}
}"""
OFFICIAL = "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0"


@frozen
class Aesthetic:
    """Aesthetic score on LAION's 1 to 10 scale, higher is better; real images get 3.5 to 7. Prompts are not read.

    It is an affine function of a unit embedding, so its range is [-12.8, 23.2]: optimised images easily exceed 8, which is reward hacking.
    weights: the head: sac+logos+ava1-l14-linearMSE.pth, a folder that contains it, or a hub id. Not the ReLU head of ava+logos.
    clip: the CLIP model of the head, of which only the image tower is loaded; the official head needs OpenAI's ViT-L/14.
    preprocess: *diff* for guidance, *official* for numbers to report, or a paper's: *das*, *null-tta*, *dno*, *reno*, *date*.
    Differentiable. Source: Schuhmann 2022.
    """

    weights: Where = "trl-lib/ddpo-aesthetic-predictor"
    clip: Where | CLIPModel = attrs.field(default=OPENAI, repr=model_name)
    preprocess: str = "diff"
    _predictor: "Predictor" = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True)
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        part = self._predictor
        return part.head(image_embeds(part.networks["vision"], part.pixels(images))).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the head is a vector and stays in float32."""
        return self._predictor.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files; the version shows whether the head is the official file."""
        known = "sac+logos+ava1-l14-linearMSE" if OFFICIAL in self._predictor.source else "a head other than the official file"
        return Card(
            unit="1-10 scale, unbounded",
            range=(3.5, 7.0),
            version=f"{known}, preprocess={self.preprocess}",
            differentiable=True,
            reads_prompt=False,
            source="Schuhmann 2022 (improved-aesthetic-predictor)",
            licence="Apache-2.0 (CLIP: MIT)",
            weights=self._predictor.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Predictor:
    """The loaded image tower of CLIP and the head."""

    networks: dict[str, nn.Module]
    head: Affine
    pixels: Pixels
    source: str


def _load(reward: Aesthetic) -> Predictor:
    path = path_named(reward.preprocess, CLIP_PATHS)
    file = find(reward.weights, ["sac+logos+ava1-l14-linearMSE.pth", "aesthetic-model.pth"])
    where = provenance(reward.weights, file)
    head, checkpoint = fold(read_state(file), where), open_checkpoint(reward.clip)
    expected, features = head.weight.shape[0], checkpoint.config.projection_dim
    if expected != features:
        raise LoadError(
            f"Cannot use the head {where} with {checkpoint.source}. This is because it takes {expected} features, but that CLIP has "
            f"{features}. The official head needs OpenAI's ViT-L/14."
        )
    return Predictor({"vision": checkpoint.image_tower()}, head, checkpoint.pixels(path), f"{where}; {checkpoint.source}")
