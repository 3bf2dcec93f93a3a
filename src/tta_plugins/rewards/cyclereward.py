"""CycleReward: agreement of image and text, learned from cycle consistency. It has the BLIP of ImageReward with another head."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import attrs
from torch import Tensor, nn
from transformers import BertTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.blip_keys import parts_of, text_config, vision_config
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.imagereward import Blip
from tta_plugins.rewards.preprocessing import IMAGEREWARD_PATHS, Pixels, path_named
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state

CITATION = """@inproceedings{bahng2025cyclereward,
  title = {Cycle Consistency as Reward: Learning Image-Text Alignment without Human Preferences},
  author = {Bahng, Hyojin and Chan, Caroline and Durand, Fredo and Isola, Phillip},
  booktitle = {International Conference on Computer Vision},
  year = {2025},
  eprint = {2506.02095},
  archivePrefix = {arXiv}
}"""
LENGTH = 128


@frozen
class CycleReward:
    """Agreement of image and prompt, unbounded, higher is better; compare images of one prompt only.

    weights: CycleReward-Combo.pth (or -I2T, -T2I, by `version`), or a folder that contains it, from the authors' releases.
    tokenizer: that of BERT, uncased. head_widths: width of an attention head of the image and the text tower.
    preprocess: as for `ImageReward`. Prompts are read to 128 tokens. Differentiable. Source: Bahng et al. 2025.
    The head has GELU between its layers, where ImageReward's has none, and its output is not normalised.
    """

    weights: Where
    version: Literal["Combo", "I2T", "T2I"] = "Combo"
    tokenizer: Where | Tokenizer = attrs.field(default="google-bert/bert-base-uncased", repr=model_name)
    preprocess: str = "diff"
    head_widths: tuple[int, int] = (64, 64)
    _blip: Blip = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair."""
        return self._blip(images, prompts)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both towers; the head stays in float32."""
        return self._blip.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="head output",
            range=(-5.0, 5.0),
            version=f"{self.version}, preprocess={self.preprocess}",
            differentiable=True,
            source="Bahng et al. 2025 (arXiv:2506.02095)",
            licence="see the weights' repository (BLIP: BSD-3-Clause)",
            weights=self._blip.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Head:
    """width-1024-128-64-16-1 with exact GELU between, float32, on the device of its input."""

    layers: nn.Sequential

    def __call__(self, x: Tensor) -> Tensor:
        """One number per row."""
        output: Tensor = self.layers.to(x.device)(x.float())
        return output.squeeze(-1)


def layers_of(width: int) -> nn.Sequential:
    """The head's layers, under the authors' keys."""
    sides = (width, 1024, 128, 64, 16, 1)
    parts: list[nn.Module] = []
    for inside, outside in pairwise(sides):
        parts += [nn.Linear(inside, outside), nn.GELU()]
    return nn.Sequential(*parts[:-1])


def _load(reward: CycleReward) -> Blip:
    path = path_named(reward.preprocess, IMAGEREWARD_PATHS)
    file = find(reward.weights, [f"CycleReward-{reward.version}.pth"])
    where = provenance(reward.weights, file)
    parts = parts_of(read_state(file), where)
    vision, text = vision_config(parts.vision, reward.head_widths[0], where), text_config(parts.text, reward.head_widths[1], where)
    tokenizer = load_tokenizer(BertTokenizer, reward.tokenizer, ["vocab.txt"], text.vocab_size)
    networks = {
        "vision": build(lambda: BlipVisionModel(vision), parts.vision, where, unknown="ignore"),
        "text": build(lambda: BlipTextModel(text, add_pooling_layer=False), parts.text, where, unknown="ignore"),
    }
    head = build(lambda: layers_of(text.hidden_size), {key.removeprefix("layers."): value for key, value in parts.head.items()}, where)
    return Blip(
        networks, Head(head), Pixels(path, vision.image_size), tokenizer, where, min(LENGTH, text.max_position_embeddings), "CycleReward"
    )
