"""HPS: Human Preference Score v2 and v2.1, a CLIP ViT-H-14 finetuned on human rankings."""

from collections.abc import Sequence
from typing import Literal

import attrs
from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import OPENAI, model_name
from tta_plugins.rewards.clip_checkpoint import Checkpoint
from tta_plugins.rewards.clip_cosine import Cosine, cosine
from tta_plugins.rewards.open_clip_keys import clip_config, clip_state
from tta_plugins.rewards.open_clip_text import clean
from tta_plugins.rewards.preprocessing import HPS_PATHS, path_named
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import read_state

CITATION = """@misc{wu2023hpsv2,
  title = {Human Preference Score v2: A Solid Benchmark for Evaluating Human Preferences of Text-to-Image Synthesis},
  author = {Wu, Xiaoshi and Hao, Yiming and Sun, Keqiang and Chen, Yixiong and Zhu, Feng and Zhao, Rui and Li, Hongsheng},
  year = {2023},
  eprint = {2306.09341},
  archivePrefix = {arXiv}
}"""
_FILES = {"2.0": "HPS_v2_compressed.pt", "2.1": "HPS_v2.1_compressed.pt"}
_RANGES = {"2.0": (0.23, 0.29), "2.1": (0.14, 0.32)}


@frozen
class HPSv2:
    """Human preference for an image given its prompt: a cosine, higher is better; compare images of one prompt only.

    0.279 here is 27.9 in the published tables, which multiply by 100. Versions 2.0 and 2.1 are different weights, not comparable.
    weights: a hub id, a folder, or the file itself; for a file, `version` is not checked.
    head_widths: width of an attention head of the image and the text tower, which the file does not contain; 80 and 64 in ViT-H-14.
    preprocess: *diff*: float letterbox, for guidance; *official*: the same for the 8-bit image; *official-no-antialias*: resized as by
        torchvision before 0.17, so presumably the numbers of 2023; or a paper's: *das*, *null-tta*, *dno*, *reno*.
    Prompts are cleaned as by open_clip. Differentiable. Source: Wu et al. 2023.
    Differs: it computes in float32; the authors' scorer rounds to half precision, multiples of 0.00024, and gives equal scores more often.
    """

    weights: Where = "xswu/HPSv2"
    version: Literal["2.0", "2.1"] = "2.0"
    tokenizer: Where | Tokenizer = attrs.field(default=OPENAI, repr=model_name)
    preprocess: str = "diff"
    head_widths: tuple[int, int] = (80, 64)
    _cosine: Cosine = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One cosine per pair."""
        return self._cosine(images, prompts)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the text tower is used only once for each prompt."""
        return self._cosine.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="cosine",
            range=_RANGES[self.version],
            version=f"v{self.version}, preprocess={self.preprocess}",
            differentiable=True,
            source="Wu et al. 2023 (arXiv:2306.09341)",
            licence="Apache-2.0",
            weights=self._cosine.source,
            citation=CITATION,
        )


@frozen
class HPSv21:
    """HPS v2.1: `HPSv2(version="2.1")` with its own name, because its scores have another scale, 0.14 to 0.32."""

    weights: Where = "xswu/HPSv2"
    tokenizer: Where | Tokenizer = attrs.field(default=OPENAI, repr=model_name)
    preprocess: str = "diff"
    head_widths: tuple[int, int] = (80, 64)
    _hps: HPSv2 = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _v21(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One cosine per pair."""
        return self._hps(images, prompts)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower."""
        return self._hps.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return self._hps.card


def _v21(reward: HPSv21) -> HPSv2:
    return HPSv2(reward.weights, "2.1", reward.tokenizer, reward.preprocess, reward.head_widths)


def _load(reward: HPSv2) -> Cosine:
    path = path_named(reward.preprocess, HPS_PATHS)
    file = find(reward.weights, [_FILES[reward.version]])
    where, state = provenance(reward.weights, file), read_state(file)
    checkpoint = Checkpoint(clip_config(state, reward.head_widths, where), clip_state(state, where), where)
    return cosine(checkpoint, path, reward.tokenizer, clean)
