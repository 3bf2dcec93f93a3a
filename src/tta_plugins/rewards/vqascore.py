"""VQAScore: the probability that a vision-language model answers Yes to the question whether the image shows the prompt."""

from collections.abc import Sequence
from typing import Literal

import attrs
import torch
from torch import nn

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.pretrained import Dtype
from tta_plugins.rewards.qwen import Qwen, open_qwen
from tta_plugins.rewards.weight_files import Where

CITATION = """@inproceedings{lin2024vqascore,
  title = {Evaluating Text-to-Visual Generation with Image-to-Text Generation},
  author = {Lin, Zhiqiu and Pathak, Deepak and Li, Baiqi and Li, Jiayao and Xia, Xide and Neubig, Graham and Zhang, Pengchuan and
            Ramanan, Deva},
  booktitle = {European Conference on Computer Vision},
  year = {2024},
  eprint = {2404.01291},
  archivePrefix = {arXiv}
}"""
QUESTION = 'Does this figure show "{}"? Please answer Yes or No.'


@frozen
class VQAScore:
    """P(Yes) that the image shows the prompt, in [0, 1], by Qwen2-VL, Qwen2.5-VL or Qwen3-VL; higher is better.

    weights: a hub id or folder with config.json, preprocessor_config.json and a tokenizer. `revision` pins the hub's commit.
    scale: *probability*, as in the paper; *log*: its logarithm, whose gradient does not vanish if the probability is near 0.
    question: a text with {} in place of the prompt. answer: the score is the probability of its first token.
    preprocess: *diff* for guidance, *official* for numbers to report.
    Differentiable; one image at a time. Source: Lin et al. 2024. Scores of different models are not comparable.
    """

    weights: Where = "Qwen/Qwen2.5-VL-7B-Instruct"
    scale: Literal["probability", "log"] = "probability"
    question: str = QUESTION
    answer: str = "Yes"
    preprocess: Literal["diff", "official"] = "diff"
    dtype: Dtype = "bfloat16"
    revision: str | None = None
    _qwen: Qwen = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per pair."""
        token = self._qwen.token(self.answer)
        questions = [self.question.replace("{}", prompt) for prompt in prompts]
        logs = torch.stack([self._qwen.log_probabilities(*pair)[token] for pair in zip(images, questions, strict=True)])
        return (logs if self.scale == "log" else logs.exp()).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The whole model."""
        return {"vlm": self._qwen.network}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit="probability" if self.scale == "probability" else "log-probability",
            range=(0.0, 1.0) if self.scale == "probability" else (-12.0, 0.0),
            version=f"preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            source="Lin et al. 2024 (arXiv:2404.01291)",
            licence="Apache-2.0; see the weights' repository",
            weights=self._qwen.source,
            citation=CITATION,
        )


def _load(reward: VQAScore) -> Qwen:
    return open_qwen(reward.weights, reward.preprocess, reward.dtype, reward.revision)
