"""CLIP score: how well an image matches its prompt, with any CLIP model."""

from collections.abc import Sequence
from typing import Literal

import attrs
from torch import nn
from transformers import CLIPModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import InputError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip_checkpoint import open_checkpoint
from tta_plugins.rewards.clip_cosine import Cosine, cosine
from tta_plugins.rewards.preprocessing import CLIP_PATHS, path_named
from tta_plugins.rewards.weight_files import Where

OPENAI = "openai/clip-vit-large-patch14"

CITATION = """@inproceedings{radford2021clip,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and Ramesh, Aditya and Goh, Gabriel and Agarwal, Sandhini and
            Sastry, Girish and Askell, Amanda and Mishkin, Pamela and Clark, Jack and Krueger, Gretchen and Sutskever, Ilya},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2103.00020},
  archivePrefix = {arXiv}
}
@inproceedings{hessel2021clipscore,
  title = {{CLIPScore}: A Reference-free Evaluation Metric for Image Captioning},
  author = {Hessel, Jack and Holtzman, Ari and Forbes, Maxwell and Le Bras, Ronan and Choi, Yejin},
  booktitle = {Conference on Empirical Methods in Natural Language Processing},
  year = {2021},
  eprint = {2104.08718},
  archivePrefix = {arXiv}
}"""


def model_name(value: object) -> str:
    """The text of a loaded model or tokenizer in a run's record; a path or an id is unchanged."""
    return f"<loaded {type(value).__name__}>" if isinstance(value, CLIPModel | Tokenizer) else repr(value)


@frozen
class CLIPScore:
    """Agreement of image and prompt: the cosine of their CLIP embeddings, higher is better; 0.2 to 0.35 on matching images (ViT-L/14).

    weights: a hub id or `from_pretrained` folder, or a loaded `CLIPModel` (with its `tokenizer`), whose dtype and device are kept.
    tokenizer: a folder, hub id or loaded tokenizer; None: the one in the weights' folder or repository.
    scale: *cos*; *logit*: exp(logit_scale) cos, 100 cos for published models; *hessel*: 2.5 max(cos, 0), the original CLIPScore.
    preprocess: *diff* for guidance, *official* for numbers to report, or a paper's: *das*, *null-tta*, *dno*, *reno*, *date*.
    Differentiable. Scores of different CLIP models are not comparable. Source: Radford et al. 2021; Hessel et al. 2021.
    """

    weights: Where | CLIPModel = attrs.field(default=OPENAI, repr=model_name)
    tokenizer: Where | Tokenizer | None = attrs.field(default=None, repr=model_name)
    scale: Literal["cos", "logit", "hessel"] = "cos"
    preprocess: str = "diff"
    _cosine: Cosine = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair, in the unit of `scale`."""
        cosines = self._cosine(images, prompts)
        if self.scale == "logit":
            return cosines * self._cosine.temperature
        return 2.5 * cosines.clamp(min=0) if self.scale == "hessel" else cosines

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the text tower is used only once for each prompt."""
        return self._cosine.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        times = {"cos": 1.0, "logit": self._cosine.temperature, "hessel": 2.5}[self.scale]
        return Card(
            unit={"cos": "cosine", "logit": "exp(logit_scale) x cosine", "hessel": "2.5 x max(cosine, 0)"}[self.scale],
            range=(0.2 * times, 0.35 * times) if self.weights == OPENAI else None,
            version=f"preprocess={self.preprocess}",
            differentiable=True,
            source="Radford et al. 2021 (arXiv:2103.00020); Hessel et al. 2021 (arXiv:2104.08718)",
            licence="MIT" if self.weights == OPENAI else "see the weights' repository",
            weights=self._cosine.source,
            citation=CITATION,
        )


def _load(reward: CLIPScore) -> Cosine:
    source = reward.weights if reward.tokenizer is None else reward.tokenizer
    if isinstance(source, CLIPModel):
        raise InputError("A loaded CLIPModel has no tokenizer. Give it too: CLIPScore(weights=model, tokenizer=tokenizer).")
    return cosine(open_checkpoint(reward.weights), path_named(reward.preprocess, CLIP_PATHS), source)
