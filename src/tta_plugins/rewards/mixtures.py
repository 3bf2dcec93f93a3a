"""Rewards of rewards: a weighted sum, the minimum, a product. Each is a reward, so mixtures nest.

    WeightedSum({"clip": CLIPScore(), "beauty": (Aesthetic(), 0.1)})

A part is a reward, or a pair (reward, weight); the weight multiplies its score and brings the units to one scale.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor, nn

from tta_core._typing import Images, Scores, frozen
from tta_core.errors import IncompatibleError, InputError, RewardError
from tta_core.reward import Card, Reward, card_of, checked, networks_of

Range = tuple[float, float]


@attrs.frozen
class Parts:
    """The rewards of a mixture by name, with their weights."""

    rewards: dict[str, Reward]
    weights: dict[str, float]

    def __call__(self, images: Images, prompts: Sequence[str]) -> dict[str, Scores]:
        """Each part's own scores, not weighted: what a trace shows. A part that fails is named in the error."""
        return {name: checked(reward, images, prompts) for name, reward in self.rewards.items()}

    def weighted(self, scores: Mapping[str, Scores]) -> Tensor:
        """The parts' scores times their weights, one row per part."""
        return torch.stack([self.weights[name] * values for name, values in scores.items()])

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Every part's networks as `part.network`; one that several parts share appears once."""
        found: dict[str, nn.Module] = {}
        for name, reward in self.rewards.items():
            new = {f"{name}.{inner}": network for inner, network in networks_of(reward).items()}
            found |= {key: network for key, network in new.items() if all(network is not known for known in found.values())}
        return found

    @property
    def ranges(self) -> list[Range] | None:
        """Weighted ranges; None if one is unknown."""
        found = []
        for name, reward in self.rewards.items():
            limits = card_of(reward).range
            if limits is None:
                return None
            ends = [self.weights[name] * end for end in limits]
            found.append((min(ends), max(ends)))
        return found

    def card(self, how: str, limits: Range | None) -> Card:
        """The parts' cards as one: differentiable if all are; not declared if one does not say and none denies."""
        cards = {name: card_of(reward) for name, reward in self.rewards.items()}
        declared = {card.differentiable for card in cards.values()}
        return Card(
            unit=f"{how} of " + ", ".join(f"{self.weights[name]:g} {name} [{card.unit}]" for name, card in cards.items()),
            range=limits,
            version=_joined(f"{name}: {card.version}" for name, card in cards.items() if card.version),
            differentiable=False if False in declared else None if None in declared else True,
            needs=next(iter(cards.values())).needs,
            source=_joined(card.source for card in cards.values()),
            licence=_joined(card.licence for card in cards.values()),
            weights=_joined(card.weights for card in cards.values()),
            citation="\n".join(dict.fromkeys(card.citation for card in cards.values() if card.citation)),
        )


def parts_from(rewards: Mapping[str, Reward | tuple[Reward, float | int]] | Parts) -> Parts:
    """Parts from what a user writes. Raises `InputError` for none, or a weight that is no number."""
    if isinstance(rewards, Parts):
        return rewards
    pairs = {name: part if isinstance(part, tuple) else (part, 1.0) for name, part in rewards.items()}
    weights = {name: float(weight) for name, (_, weight) in pairs.items()}
    if not pairs or not all(map(math.isfinite, weights.values())):
        raise InputError(f"A mixture needs at least one reward, and finite weights; got {weights}.")
    parts = Parts({name: reward for name, (reward, _) in pairs.items()}, weights)
    needs = {name: card_of(reward).needs for name, reward in parts.rewards.items()}
    if len(set(needs.values())) > 1:
        raise IncompatibleError(
            f"Cannot mix these rewards. This is because they read different things: {needs}. Mix rewards that read one."
        )
    return parts


@frozen
class WeightedSum:
    """sum_i w_i r_i: parts may make up for one another."""

    parts: Parts = attrs.field(converter=parts_from)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per picture."""
        return self.mixed(self.parts(images, prompts))

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The mixture of the parts' scores."""
        return self.parts.weighted(parts).sum(0)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The parts' networks."""
        return self.parts.networks

    @property
    def card(self) -> Card:
        """The parts' cards as one."""
        ranges = self.parts.ranges
        return self.parts.card("sum", (sum(low for low, _ in ranges), sum(high for _, high in ranges)) if ranges else None)


@frozen
class Minimum:
    """min_i w_i r_i: only the worst part counts, so none can be bought with another. The gradient is the worst part's."""

    parts: Parts = attrs.field(converter=parts_from)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per picture."""
        return self.mixed(self.parts(images, prompts))

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The mixture of the parts' scores."""
        return self.parts.weighted(parts).amin(0)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The parts' networks."""
        return self.parts.networks

    @property
    def card(self) -> Card:
        """The parts' cards as one."""
        ranges = self.parts.ranges
        return self.parts.card("minimum", (min(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None)


@frozen
class Product:
    """prod_i w_i r_i: every part must be above zero. For parts that are never negative; a `RewardError` if one is."""

    parts: Parts = attrs.field(converter=parts_from)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per picture."""
        return self.mixed(self.parts(images, prompts))

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The product of the parts' scores."""
        factors = self.parts.weighted(parts)
        if (factors < 0).any():
            part, row = (factors < 0).nonzero()[0].tolist()
            raise RewardError(
                f"Cannot multiply these rewards: {list(self.parts.rewards)[part]!r} is {factors[part, row].item():g} for image {row}, and "
                "two negative factors would make a high score. Use WeightedSum or Minimum, or parts that are never negative."
            )
        return factors.prod(0)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The parts' networks."""
        return self.parts.networks

    @property
    def card(self) -> Card:
        """The parts' cards as one."""
        ranges = self.parts.ranges
        if ranges is None or any(low < 0 for low, _ in ranges):
            return self.parts.card("product", None)
        lows, highs = zip(*ranges, strict=True)
        return self.parts.card("product", (math.prod(lows), math.prod(highs)))


def _joined(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(text for text in texts if text))
