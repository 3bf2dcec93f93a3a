"""Text in the image: how much of the target text an OCR model reads. Not differentiable."""

import re
from collections.abc import Callable, Sequence

import attrs
import numpy
import torch
from numpy.typing import NDArray

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.images import to_pil
from tta_core.values.prompts import facts_of
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call

CITATION = """@misc{liu2025flowgrpo,
  title = {{Flow-GRPO}: Training Flow Matching Models via Online {RL}},
  author = {Liu, Jie and Liu, Gongye and Liang, Jiajun and others},
  year = {2025},
  eprint = {2505.05470},
  archivePrefix = {arXiv}
}"""
Recognise = Callable[[NDArray[numpy.uint8]], Sequence[str]]
_QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d|(?<!\w)\'([^\']+)\'(?!\w)|\u2018([^\u2019]+)\u2019(?!\w)')


@frozen
class OCR:
    """1 - min(edit distance, length) / length of the target text, in [0, 1]: 1 if it is read exactly; other text lowers the score.

    The target is the prompt's fact `target`, else the text in quotes in the prompt; case and blanks do not count.
    recognise: a function from an (H, W, 3) array of 8-bit levels to the texts that it reads, in order; None: RapidOCR's models, which are
        installed with that package (`pip install tta-align[ocr]`).
    Differs: Flow-GRPO's score is 1 if the target is a part of the text that was read, which rewards images full of text; here it is not.
    Source: Liu et al. 2025 (Flow-GRPO).
    """

    recognise: Recognise | None = attrs.field(default=None, repr=lambda value: getattr(value, "__name__", repr(value)))
    _engine: Recognise = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: self.recognise or _rapid(), True))
    card = Card(
        unit="1 - edit distance / length",
        range=(0.0, 1.0),
        version="1",
        differentiable=False,
        source="Liu et al. 2025 (arXiv:2505.05470)",
        licence="Apache-2.0; RapidOCR's models Apache-2.0",
        citation=CITATION,
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image. Raises `ValueError` for a prompt without a target and without quotes."""
        targets = [target_of(prompt) for prompt in prompts]
        read = ["".join(self._engine(numpy.array(to_pil(image)))) for image in images]
        return torch.tensor([similarity(*pair) for pair in zip(targets, read, strict=True)], dtype=torch.float32, device=images.device)


def target_of(prompt: str) -> str:
    """The fact `target`, else the quoted spans. Raises `ValueError` if there is neither."""
    fact = facts_of(prompt).get("target")
    quoted = [next(filter(None, found)) for found in _QUOTED.findall(prompt)]
    if fact is None and not quoted:
        raise ValueError(f"the prompt {str(prompt)!r} has no target text: put it in quotes, or give tta_core.Prompt(text, target=...)")
    return str(fact) if fact is not None else " ".join(quoted)


def similarity(target: str, read: str) -> float:
    """1 - min(edit distance, length) / length, without case and blanks."""
    first, second = ("".join(text.lower().split()) for text in (target, read))
    return 1 - min(edit_distance(first, second), len(first)) / max(len(first), 1)


def edit_distance(first: str, second: str) -> int:
    """The Levenshtein distance: the number of insertions, deletions and substitutions."""
    row = list(range(len(second) + 1))
    for above, letter in enumerate(first, start=1):
        diagonal, row[0] = row[0], above
        for column, other in enumerate(second, start=1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (letter != other))
    return row[-1]


def _rapid() -> Recognise:
    try:
        from rapidocr import RapidOCR
    except ImportError as error:
        raise LoadError("The reward 'ocr' needs RapidOCR. Install it: pip install 'tta-align[ocr]'; or give OCR(recognise=...).") from error
    engine = RapidOCR(params={"Global.log_level": "warning"})

    def recognise(levels: NDArray[numpy.uint8]) -> Sequence[str]:
        return engine(levels[..., ::-1]).txts or ()

    return recognise
