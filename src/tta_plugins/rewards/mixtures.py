"""Mixtures of rewards: a weighted sum, the minimum, a product. Each is itself a reward, so mixtures can be nested.

    WeightedSum({"clip": CLIPScore(), "beauty": (Aesthetic(), 0.1)})

A part is a reward, or a pair (reward, weight); the weight multiplies its score, to bring different units to one scale.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import attrs
import torch
from torch import Tensor, nn

from tta_core.errors import IncompatibleError, InputError, RewardError
from tta_core.protocols.reward import Card, Reward, card_of, networks_of
from tta_core.solving.scoring import checked
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call


@attrs.frozen
class Parts:
    """The rewards of a mixture by name, with their weights."""

    rewards: dict[str, Reward]
    weights: dict[str, float]

    def __call__(self, images: Images, prompts: Sequence[str]) -> dict[str, Scores]:
        """The scores of each part, not weighted, as in the trace. The error of a part names it."""
        return {name: checked(reward, images, prompts) for name, reward in self.rewards.items()}


def parts_from(rewards: Mapping[str, Reward | tuple[Reward, float | int]] | Parts) -> Parts:
    """Parts from a user's argument. Raises `InputError` if there is none, or if a weight is not a finite number."""
    if isinstance(rewards, Parts):
        return rewards
    pairs = {name: part if isinstance(part, tuple) else (part, 1.0) for name, part in rewards.items()}
    weights = {name: float(weight) for name, (_, weight) in pairs.items()}
    if not pairs or not all(map(math.isfinite, weights.values())):
        raise InputError(f"The weights of a mixture are {weights}, but it takes at least one reward and finite weights. Give such weights.")
    parts = Parts({name: reward for name, (reward, _) in pairs.items()}, weights)
    needs = {name: card_of(reward).needs for name, reward in parts.rewards.items()}
    if len(set(needs.values())) > 1:
        raise IncompatibleError(
            f"Cannot mix these rewards. This is because they read different things: {needs}. Mix rewards that read one."
        )
    return parts


@frozen
class _Mixture(ABC):
    """Several rewards as one. A subclass defines how several rows of scores become one; the result must increase with each of them."""

    parts: Parts = attrs.field(converter=parts_from)

    _how: ClassVar[str]
    _least: ClassVar[float] = -math.inf  # of a part's score times its weight

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return self.mixed(self.parts(images, prompts))

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The mixture of the parts' scores."""
        return self._one(torch.stack([self.parts.weights[name] * scores for name, scores in parts.items()]))

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The networks of every part as `part.network`; a network that several parts share appears once."""
        networks: dict[str, nn.Module] = {}
        for name, reward in self.parts.rewards.items():
            new = {f"{name}.{inner}": network for inner, network in networks_of(reward).items()}
            networks |= {key: network for key, network in new.items() if all(network is not known for known in networks.values())}
        return networks

    @property
    def card(self) -> Card:
        """The parts' cards as one: differentiable if all parts are, not if one is not, and else not declared."""
        cards = {name: card_of(reward) for name, reward in self.parts.rewards.items()}
        declared = {card.differentiable for card in cards.values()}
        return Card(
            unit=f"{self._how} of " + ", ".join(f"{self.parts.weights[name]:g} {name} [{card.unit}]" for name, card in cards.items()),
            range=self._range,
            version=_joined(f"{name}: {card.version}" for name, card in cards.items() if card.version),
            differentiable=False if False in declared else None if None in declared else True,
            needs=next(iter(cards.values())).needs,
            reads_prompt=any(card.reads_prompt for card in cards.values()),
            facts=tuple(dict.fromkeys(fact for card in cards.values() for fact in card.facts)),
            source=_joined(card.source for card in cards.values()),
            licence=_joined(card.licence for card in cards.values()),
            weights=_joined(card.weights for card in cards.values()),
            citation="\n".join(dict.fromkeys(card.citation for card in cards.values() if card.citation)),
        )

    @property
    def _range(self) -> tuple[float, float] | None:
        ranges = [card_of(reward).range for reward in self.parts.rewards.values()]
        if None in ranges:
            return None
        weights = torch.tensor(list(self.parts.weights.values()), dtype=torch.float64)
        ends = (weights[:, None] * torch.tensor(ranges, dtype=torch.float64)).sort(1).values
        if (ends < self._least).any():
            return None
        low, high = self._one(ends).tolist()
        return low, high

    @abstractmethod
    def _one(self, rows: Tensor) -> Tensor:
        """One row of several, each a part's scores times its weight."""


@frozen
class WeightedSum(_Mixture):
    """sum_i w_i r_i: a high score of one part can compensate for a low score of another."""

    _how = "sum"

    def _one(self, rows: Tensor) -> Tensor:
        return rows.sum(0)


@frozen
class Minimum(_Mixture):
    """min_i w_i r_i: only the worst part counts, so no part can compensate for another. The gradient is that of the worst part."""

    _how = "minimum"

    def _one(self, rows: Tensor) -> Tensor:
        return rows.amin(0)


@frozen
class Product(_Mixture):
    """prod_i w_i r_i: every part counts. The parts must not be negative; else a `RewardError` is raised."""

    _how = "product"
    _least = 0.0

    def _one(self, rows: Tensor) -> Tensor:
        if (rows < self._least).any():
            part, row = (rows < self._least).nonzero()[0].tolist()
            raise RewardError(
                f"Cannot multiply these rewards: {list(self.parts.rewards)[part]!r} is {rows[part, row].item():g} for image {row}, and "
                "two negative factors would make a high score. Use WeightedSum or Minimum, or parts that are never negative."
            )
        return rows.prod(0)


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
