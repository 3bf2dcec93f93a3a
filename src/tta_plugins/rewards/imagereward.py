"""ImageReward: human preference for an image given its prompt, by a BLIP whose text tower attends to the image."""

from collections.abc import Callable, Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor, nn
from transformers import BertTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.models.blip.modeling_blip import BlipVisionModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.affine import fold
from tta_plugins.rewards.blip_keys import parts_of, text_config, vision_config
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.preprocessing import IMAGEREWARD_PATHS, Pixels, path_named
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state
from tta_plugins.text_limit import warn_if_cut

CITATION = """@inproceedings{xu2023imagereward,
  title = {{ImageReward}: Learning and Evaluating Human Preferences for Text-to-Image Generation},
  author = {Xu, Jiazheng and Liu, Xiao and Wu, Yuchen and Tong, Yuxuan and Li, Qinkai and Ding, Ming and Tang, Jie and Dong, Yuxiao},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2304.05977},
  archivePrefix = {arXiv}
}"""
MEAN, STD = 0.16717362830052426, 1.0333394966054072  # of the raw score over the authors' data
LENGTH = 35  # tokens, [CLS] and [SEP] included


@frozen
class ImageReward:
    """Human preference for an image given its prompt: about N(0, 1) over generated images (-2.3 to 2), higher is better.

    scale: *normalised*, the authors' `score`; *raw*, the head's output 1.033 score + 0.167, which DAS and Null-TTA report.
    weights: a hub id, a folder that contains ImageReward.pt, or the file. tokenizer: that of BERT, uncased; its vocab.txt is enough.
    head_widths: width of an attention head of the image and the text tower, which the file does not contain.
    preprocess: *diff* for guidance, *official* for numbers to report, or a paper's: *das*, *null-tta*, *reno*, *date*.
    Differentiable. The text tower attends to the image, so it runs on every call, and it cannot be checkpointed.
    Source: Xu et al. 2023.
    """

    weights: Where = "THUDM/ImageReward"
    tokenizer: Where | Tokenizer = attrs.field(default="google-bert/bert-base-uncased", repr=model_name)
    scale: Literal["normalised", "raw"] = "normalised"
    preprocess: str = "diff"
    head_widths: tuple[int, int] = (64, 64)
    _blip: "Blip" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair."""
        raw = self._blip(images, prompts)
        return (raw - MEAN) / STD if self.scale == "normalised" else raw

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Both towers; the head is a vector and stays in float32."""
        return self._blip.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="standard deviations" if self.scale == "normalised" else "raw head output, 1.033 score + 0.167",
            range=(-2.3, 2.0) if self.scale == "normalised" else (-2.2, 2.2),
            version=f"v1.0, preprocess={self.preprocess}",
            differentiable=True,
            source="Xu et al. 2023 (arXiv:2304.05977)",
            licence="Apache-2.0 (BLIP: BSD-3-Clause)",
            weights=self._blip.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Blip:
    """The towers and the head, which compute the raw score, and a cache of the prompts' tokens."""

    networks: dict[str, nn.Module]
    head: Callable[[Tensor], Tensor]
    pixels: Pixels
    tokenizer: Tokenizer
    source: str
    length: int = LENGTH
    name: str = "ImageReward"
    _known: dict[str, tuple[Tensor, Tensor]] = attrs.field(factory=dict, init=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Raw scores. Position 0 is a plain [CLS], not BLIP's [ENC]; padding is masked, because it would change the score."""
        vision, text = self.networks["vision"], self.networks["text"]
        weight = next(vision.parameters())
        patches = vision(pixel_values=self.pixels(images).to(weight.device, weight.dtype)).last_hidden_state
        ids, mask = (torch.stack(rows).to(patches.device) for rows in zip(*map(self._tokens, prompts), strict=True))
        weight = next(text.parameters())
        patches = patches.to(weight.device, weight.dtype)
        hidden = text(input_ids=ids, attention_mask=mask, encoder_hidden_states=patches, is_decoder=False).last_hidden_state
        return self.head(hidden[:, 0]).to(images.device)

    def _tokens(self, prompt: str) -> tuple[Tensor, Tensor]:
        if prompt not in self._known:
            with torch.inference_mode(False):
                warn_if_cut(self.tokenizer, prompt, self.length, self.name)
                tokens = self.tokenizer(prompt, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt")
                self._known[prompt] = tokens.input_ids[0], tokens.attention_mask[0]
        return self._known[prompt]


def _load(reward: ImageReward) -> Blip:
    path = path_named(reward.preprocess, IMAGEREWARD_PATHS)
    file = find(reward.weights, ["ImageReward.pt"])
    where = provenance(reward.weights, file)
    parts = parts_of(read_state(file), where)
    vision, text = vision_config(parts.vision, reward.head_widths[0], where), text_config(parts.text, reward.head_widths[1], where)
    tokenizer = load_tokenizer(BertTokenizer, reward.tokenizer, ["vocab.txt"], text.vocab_size)
    networks = {
        "vision": build(lambda: BlipVisionModel(vision), parts.vision, where, unknown="ignore"),
        "text": build(lambda: BlipTextModel(text, add_pooling_layer=False), parts.text, where, unknown="ignore"),
    }
    return Blip(networks, fold(parts.head, where), Pixels(path, vision.image_size), tokenizer, where)
