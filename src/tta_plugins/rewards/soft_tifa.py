"""Soft-TIFA: the probabilities of the expected answers to a prompt's questions, averaged. The questions are facts of the prompt."""

from collections.abc import Iterable, Sequence
from typing import Literal

import attrs
import torch
from torch import Tensor, nn

from tta_core.protocols.reward import Card
from tta_core.values.prompts import Question, facts_of
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.pretrained import Dtype
from tta_plugins.rewards.qwen import Qwen, open_qwen
from tta_plugins.rewards.weight_files import Where

CITATION = """@misc{kamath2025geneval2,
  title = {{GenEval} 2: Addressing Benchmark Drift in Text-to-Image Evaluation},
  author = {Kamath, Amita and Chang, Kai-Wei and Krishna, Ranjay and Zettlemoyer, Luke and Hu, Yushi and Ghazvininejad, Marjan},
  year = {2025},
  eprint = {2512.16853},
  archivePrefix = {arXiv}
}"""
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@frozen
class SoftTIFA:
    """The mean probability in [0, 1] of each question's expected answer, by a Qwen vision-language model; higher is better.

    Each prompt needs the fact `questions`, (question, answer) pairs, in a `tta_core.Prompt` or a .jsonl file. "Answer in one word." is
    added to each question; the probabilities of the answer's spellings are summed: lower case, capitalised, after a blank, a number as
    word or digit.
    mean: *arithmetic* or *geometric*: the second is low if any answer is.
    Differentiable; a forward pass per question. Source: GenEval 2, whose data are CC BY-NC and not in this package.
    """

    weights: Where = "Qwen/Qwen3-VL-8B-Instruct"
    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    preprocess: Literal["diff", "official"] = "diff"
    dtype: Dtype = "bfloat16"
    revision: str | None = None
    _qwen: Qwen = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per pair."""
        rows = [self._logs(image, facts_of(prompt)["questions"]) for image, prompt in zip(images, prompts, strict=True)]  # type: ignore[arg-type]
        means = [row.mean().exp() if self.mean == "geometric" else row.exp().mean() for row in rows]
        return torch.stack(means).to(images.device)

    def _logs(self, image: Tensor, questions: Iterable[Question]) -> Tensor:
        logs_of_answers = []
        for question, answer in questions:
            ended = question if question.rstrip().endswith((".", "?")) else f"{question}."
            logs = self._qwen.log_probabilities(image, f"{ended} Answer in one word.")
            tokens = sorted({self._qwen.token(spelling) for spelling in spellings(answer)})
            logs_of_answers.append(logs[tokens].logsumexp(0))
        return torch.stack(logs_of_answers)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The whole model."""
        return {"vlm": self._qwen.network}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit=f"probability, {self.mean} mean over questions",
            range=(0.0, 1.0),
            version=f"preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            facts=("questions",),
            source="Kamath et al. 2025 (arXiv:2512.16853)",
            licence="Apache-2.0; see the weights' repository",
            weights=self._qwen.source,
            citation=CITATION,
        )


def spellings(answer: str) -> list[str]:
    """The spellings with which an answer can begin."""
    plain = answer.strip().lower()
    words = {plain}
    if plain in _NUMBERS:
        words.add(str(_NUMBERS.index(plain)))
    elif plain.isdecimal() and int(plain) < len(_NUMBERS):
        words.add(_NUMBERS[int(plain)])
    cased = words | {word.capitalize() for word in words}
    return sorted(cased | {f" {word}" for word in cased})


def _load(reward: SoftTIFA) -> Qwen:
    return open_qwen(reward.weights, reward.preprocess, reward.dtype, reward.revision)
