"""A reward from any function of images: a program, a web service, or a person."""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

import attrs
import torch
from PIL import Image

from tta_core.errors import InputError, RewardError
from tta_core.protocols.reward import Card
from tta_core.values.images import to_pil
from tta_core.values.provenance import describe
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call

Scorer = Callable[[list[Image.Image], list[str]], Sequence[float | int]]
_log = logging.getLogger(__name__)


@frozen
class BlackBox:
    """Scores by `scorer(images, prompts)`, which gets 8-bit RGB PIL images and returns one number for each, higher is better.

    Not differentiable: use a method that only compares scores, or a zeroth-order gradient.

    Args:
        scorer: the function; it is called with at most `batch` images at a time.
        batch: images per call; None: all at once.
        timeout: seconds until a call counts as failed; None: no limit. A call that hangs cannot be ended: its thread keeps running.
        retries: the number of further attempts after a call raised or timed out.
        pause: seconds before the second attempt, doubled before each further one.
        card: the meaning of the score.

    Attributes:
        failures: every failed attempt, in order, also if a later attempt succeeded.
    """

    scorer: Scorer
    batch: int | None = None
    timeout: float | None = attrs.field(default=None, converter=attrs.converters.optional(float))
    retries: int = 0
    pause: float = 1.0
    card: Card = attrs.field(factory=lambda: Card(differentiable=False))
    failures: list[str] = attrs.field(factory=list, init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if (self.batch is not None and self.batch < 1) or self.retries < 0:
            raise InputError(
                f"batch={self.batch} and retries={self.retries} cannot be used. Give at least one image per call and at least 0 retries."
            )
        if not 0 <= self.pause < math.inf or not (self.timeout is None or 0 < self.timeout <= threading.TIMEOUT_MAX):
            raise InputError(f"timeout={self.timeout} and pause={self.pause} cannot be used. Give seconds above 0, or timeout=None.")

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image.

        Raises:
            RewardError: a call failed in every attempt (the message lists them), or did not return one finite number per image.
        """
        scores: list[float] = []
        size = self.batch or len(prompts)
        for start in range(0, len(prompts), size):
            scores += self._scored(pil_images(images[start : start + size]), list(prompts[start : start + size]), start)
        return torch.tensor(scores, dtype=torch.float32, device=images.device)

    def _scored(self, batch: list[Image.Image], prompts: list[str], start: int) -> list[float]:
        rows, failed = f"images {start} to {start + len(batch) - 1}", []
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(self.pause * 2 ** (attempt - 1))
            try:
                return self._accepted(_answer(self.scorer, batch, prompts, self.timeout), len(batch), rows)
            except RewardError:
                raise
            except Exception as error:
                failed.append(f"attempt {attempt + 1} of {self.retries + 1}: {type(error).__name__}: {error}")
                self.failures.append(f"{rows}, {failed[-1]}")
                _log.warning("%s failed on %s", describe(self.scorer), self.failures[-1])
        raise RewardError(
            f"{describe(self.scorer)} gave no score for {rows}: {'; '.join(failed)}. Scores are never replaced. Fix the scorer, or give "
            "it more time or retries (timeout=..., retries=...)."
        )

    def _accepted(self, answer: Sequence[float | int], count: int, rows: str) -> list[float]:
        scores = [float(score) for score in answer]
        if len(scores) != count or not torch.tensor(scores, dtype=torch.float32).isfinite().all():
            raise RewardError(
                f"{describe(self.scorer)} returned {scores} for {rows}. Return {count} numbers, one per image, finite in single precision."
            )
        return scores


def pil_images(images: Images) -> list[Image.Image]:
    """Images in [0, 1] as 8-bit RGB PIL images, `round(255 x)`."""
    return [to_pil(image) for image in images]


def _answer(scorer: Scorer, batch: list[Image.Image], prompts: list[str], timeout: float | None) -> Sequence[float | int]:
    """The scorer's result; raises its exception or `TimeoutError`. A daemon thread, so that a hanging call does not keep the process
    running."""
    if timeout is None:
        return scorer(batch, prompts)
    outcome: list[Sequence[float | int] | BaseException] = []

    def call() -> None:
        try:
            outcome.append(scorer(batch, prompts))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout)
    if not outcome:
        raise TimeoutError(f"no answer in {timeout} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]
