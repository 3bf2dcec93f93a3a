"""MPS: human preference by CLIP-H, whose image tokens attend to those words of the prompt that are related to a condition."""

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPTokenizer, CLIPVisionModelWithProjection
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.clip_checkpoint import Checkpoint
from tta_plugins.rewards.mps_config import cross_model, mps_clip_config
from tta_plugins.rewards.preprocessing import PICKSCORE_PATHS, Pixels, path_named
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state, refuse
from tta_plugins.text_limit import warn_if_cut

CITATION = """@inproceedings{zhang2024mps,
  title = {Learning Multi-Dimensional Human Preference for Text-to-Image Generation},
  author = {Zhang, Sixian and Wang, Bohan and Wu, Junqiang and Li, Yan and Gao, Tingting and Zhang, Di and Wang, Zhongyuan},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2024},
  eprint = {2405.14705},
  archivePrefix = {arXiv}
}"""
OVERALL = (
    "light, color, clarity, tone, style, ambiance, artistry, shape, face, hair, hands, limbs, structure, instance, texture, quantity, "
    "attributes, position, number, location, word, things."
)
_FILES = ("MPS_overall.safetensors", "MPS_overall.pt", "model.safetensors")


@frozen
class MPS:
    """exp(logit_scale) times the cosine between the image's class token, after attention to the prompt, and the prompt; higher is better;
    compare images of one prompt only.

    weights: the state dict of MPS_overall_checkpoint.pth, or a folder that contains it as MPS_overall.safetensors or .pt. The published
        file pickles the authors' classes and is not read: docs/scores.md shows how to extract its tensors once.
    condition: the words with which the prompt's tokens are compared. threshold: tokens are masked if their highest similarity to one of the
        words is at most this share of the prompt's highest; 0.01 in the authors' model, 0.3 in their evaluation scripts.
    preprocess: as for `PickScore`. head_widths: width of an attention head of the image and the text tower. Differentiable.
    Source: Zhang et al. 2024. Differs: the highest similarity is that of the prompt, while the authors' code uses that of the batch.
    """

    weights: Where
    tokenizer: Where | Tokenizer = attrs.field(default="laion/CLIP-ViT-H-14-laion2B-s32B-b79K", repr=model_name)
    condition: str = OVERALL
    threshold: float = 0.01
    preprocess: str = "diff"
    head_widths: tuple[int, int] = (80, 64)
    _parts: "Parts" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair."""
        return self._parts(images, prompts)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower and the cross model; the text tower encodes each prompt once, in host memory."""
        return {"vision": self._parts.vision, "cross": self._parts.cross}

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="exp(logit_scale) x cosine",
            version=f"overall, threshold={self.threshold}, preprocess={self.preprocess}",
            differentiable=True,
            source="Zhang et al. 2024 (arXiv:2405.14705)",
            licence="the authors' repository states none",
            weights=self._parts.source,
            citation=CITATION,
        )


@frozen
class Text:
    """An encoded prompt: the features of every token, a mask of the tokens that are used, and the unit embedding of the whole prompt."""

    tokens: Tensor
    mask: Tensor
    embedding: Tensor


class ImageTokens(nn.Module):
    """The image tower with the projection of every token, as one network for memory policies. There is no norm between the two, as in
    MPS."""

    def __init__(self, tower: CLIPVisionModelWithProjection) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Projected tokens, (b, tokens, width)."""
        tokens: Tensor = self.tower.visual_projection(self.tower(pixel_values=pixels).last_hidden_state)
        return tokens


@attrs.frozen(eq=False)
class Parts:
    """The loaded networks and their settings, and a cache of encoded prompts."""

    vision: nn.Module
    text: nn.Module
    cross: nn.Module
    tokenizer: Tokenizer
    pixels: Pixels
    temperature: float
    condition: str
    threshold: float
    source: str
    _known: dict[str, Text] = attrs.field(factory=dict, init=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair; the cosine is computed in float32."""
        weight = next(self.vision.parameters())
        image_tokens = self.vision(self.pixels(images).to(weight.device, weight.dtype))
        texts = [self._read(str(prompt)) for prompt in prompts]
        weight = next(self.cross.parameters())
        tokens, mask, ends = (
            torch.stack(rows).to(weight.device) for rows in zip(*((t.tokens, t.mask, t.embedding) for t in texts), strict=True)
        )
        joined = self.cross(image_tokens.to(weight.device, weight.dtype), tokens.to(weight.dtype), mask)[:, 0]
        return self.temperature * (normalize(joined.float(), dim=-1) * ends).sum(-1).to(images.device)

    def _read(self, prompt: str) -> Text:
        if prompt not in self._known:
            warn_if_cut(self.tokenizer, prompt, self._length, "MPS")
            with torch.inference_mode(False), torch.no_grad():
                (tokens, embedding), (condition, _) = self._features(prompt), self._features(self.condition)
                similarity = (tokens @ condition.T).amax(1)
                self._known[prompt] = Text(tokens, similarity / similarity.max() > self.threshold, normalize(embedding, dim=-1))
        return self._known[prompt]

    def _features(self, text: str) -> tuple[Tensor, Tensor]:
        """The projected features of each token, including padding, and of the whole text, float32."""
        ids = self.tokenizer(text, padding="max_length", max_length=self._length, truncation=True, return_tensors="pt").input_ids
        output = self.text(input_ids=ids.to(next(self.text.parameters()).device))
        return self.text.text_projection(output.last_hidden_state)[0].float(), output.text_embeds[0].float()  # type: ignore[operator]

    @property
    def _length(self) -> int:
        return int(self.text.config.max_position_embeddings)  # type: ignore[union-attr, arg-type]


def _load(reward: MPS) -> Parts:
    path = path_named(reward.preprocess, PICKSCORE_PATHS)
    file = find(reward.weights, _FILES)
    source, state = provenance(reward.weights, file), read_state(file)
    clip = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")}
    cross = {key.removeprefix("cross_model.").replace(".fn.", "."): value for key, value in state.items() if key.startswith("cross_model.")}
    cross = {key: value for key, value in cross.items() if not key.endswith("rotary_emb.inv_freq")}
    refuse({"model.logit_scale"} - state.keys(), {key for key in state if not key.startswith(("model.", "cross_model."))}, source, "MPS")
    checkpoint = Checkpoint(mps_clip_config(clip, reward.head_widths, source), clip, source)
    tokenizer = load_tokenizer(CLIPTokenizer, reward.tokenizer, ("tokenizer.json", "vocab.json"), checkpoint.config.text_config.vocab_size)
    return Parts(
        ImageTokens(checkpoint.image_tower()),
        checkpoint.text_tower(),
        build(lambda: cross_model(cross, source), cross, source),
        tokenizer,
        checkpoint.pixels(path),
        checkpoint.temperature,
        reward.condition,
        reward.threshold,
        source,
    )
