"""SigLIP 2: agreement of image and prompt, by two towers trained with a sigmoid loss."""

from collections.abc import Sequence
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import AutoTokenizer, SiglipModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.preprocessing import SIGLIP_MEAN, SIGLIP_PATHS, Pixels, path_named
from tta_plugins.rewards.preprocessor import normalisation
from tta_plugins.rewards.pretrained import Dtype, commit, pretrained
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where
from tta_plugins.text_limit import warn_if_cut

CITATION = """@misc{tschannen2025siglip2,
  title = {{SigLIP} 2: Multilingual Vision-Language Encoders with Improved Semantic Understanding, Localization, and Dense Features},
  author = {Tschannen, Michael and Gritsenko, Alexey and Wang, Xiao and others},
  year = {2025},
  eprint = {2502.14786},
  archivePrefix = {arXiv}
}"""


@frozen
class SigLIP2:
    """Agreement of image and prompt, higher is better.

    weights: a fixed-resolution SigLIP or SigLIP 2, a hub id or a folder; `revision` pins the hub's commit.
    scale: *logit*: exp(logit_scale) cosine + logit_bias, whose sigmoid is a probability; *cos*: the cosine.
    preprocess: *diff* for guidance, *official* for numbers to report; both resize the image to the tower's square.
    Prompts are lower-cased and padded to the model's 64 tokens, as in training. Differentiable. Source: Tschannen et al. 2025.
    """

    weights: Where = "google/siglip2-so400m-patch14-384"
    tokenizer: Where | Tokenizer | None = attrs.field(default=None, repr=model_name)
    scale: Literal["logit", "cos"] = "logit"
    preprocess: str = "diff"
    dtype: Dtype = "float32"
    revision: str | None = None
    _towers: "Towers" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per pair."""
        cosines = self._towers(images, prompts)
        return cosines * self._towers.temperature + self._towers.bias if self.scale == "logit" else cosines

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the text tower encodes each prompt once, in host memory."""
        return {"vision": self._towers.vision}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit="logit" if self.scale == "logit" else "cosine",
            range=(-20.0, 10.0) if self.scale == "logit" else (-0.1, 0.25),
            version=f"preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            source="Tschannen et al. 2025 (arXiv:2502.14786)",
            licence="Apache-2.0",
            weights=self._towers.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Towers:
    """The loaded towers and their settings, and a cache of prompt features."""

    vision: nn.Module
    text: nn.Module
    tokenizer: Tokenizer
    length: int
    pixels: Pixels
    temperature: float
    bias: float
    source: str
    _known: dict[str, Tensor] = attrs.field(factory=dict, init=False)

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Cosines, float32."""
        weight = next(self.vision.parameters())
        pooled = self.vision(pixel_values=self.pixels(images).to(weight.device, weight.dtype)).pooler_output
        texts = torch.stack([self._encoded(str(prompt)) for prompt in prompts]).to(pooled.device)
        return (normalize(pooled.float(), dim=-1) * texts).sum(-1).to(images.device)

    def _encoded(self, prompt: str) -> Tensor:
        if prompt not in self._known:
            warn_if_cut(self.tokenizer, prompt.lower(), self.length, "SigLIP 2")
            with torch.inference_mode(False), torch.no_grad():
                ids = self.tokenizer(
                    prompt.lower(), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
                ).input_ids.to(next(self.text.parameters()).device)
                self._known[prompt] = normalize(self.text(input_ids=ids).pooler_output[0].float(), dim=-1)
        return self._known[prompt]


def _load(reward: SigLIP2) -> Towers:
    path = path_named(reward.preprocess, SIGLIP_PATHS)
    model: Any = pretrained(SiglipModel, reward.weights, reward.dtype, reward.revision)
    text, vision = model.config.text_config, model.config.vision_config
    where = reward.weights if reward.tokenizer is None else reward.tokenizer
    tokenizer = load_tokenizer(AutoTokenizer, where, ("tokenizer.json", "spiece.model"), text.vocab_size)
    return Towers(
        model.vision_model,
        model.text_model,
        tokenizer,
        text.max_position_embeddings,
        Pixels(path, vision.image_size, *normalisation(reward.weights, SIGLIP_MEAN, SIGLIP_MEAN)),
        float(model.logit_scale.float().exp()),
        float(model.logit_bias.float()),
        commit(model, reward.weights),
    )
