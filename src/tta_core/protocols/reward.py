"""The reward protocol: a function of images and prompts, and the card that describes its scores.

A reward is any callable `(images, prompts) -> scores`, also a plain function. Higher is always better: a model whose number falls as
images improve is registered with the opposite sign.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from tta_core.errors import InputError
from tta_core.values.arguments import shown
from tta_core.values.provenance import describe
from tta_core.values.typing import Images, Scores, frozen


@runtime_checkable
class Reward(Protocol):
    """Returns one score per image, which depends on that image and its prompt alone; higher is better."""

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Images are RGB in [0, 1], float32; `prompts[i]` belongs to `images[i]`."""
        ...


@frozen
class Card:
    """What a score means. `range` is the usual range of real images, not a bound; None: unknown.

    `differentiable` None: not declared; a trial call before the first step shows it. `needs` names the space that the reward reads; today
    there is only "image" (decoded, clean). `facts` are the names of the facts that each prompt must have (see `tta_core.Prompt`): a prompt
    without one is refused before the first step. `reads_prompt` False: the score depends on the image alone, and `tta score` needs no
    prompt.
    """

    unit: str = "score"
    range: tuple[float, float] | None = None
    version: str = ""
    differentiable: bool | None = None
    needs: str = "image"
    facts: tuple[str, ...] = ()
    reads_prompt: bool = True
    source: str = ""
    licence: str = ""
    weights: str = ""
    citation: str = ""


@runtime_checkable
class Carded(Protocol):
    """A reward that declares its card (recommended; a plain function gets an empty one)."""

    card: Card


@runtime_checkable
class Networked(Protocol):
    """An object with networks, by role. Memory policies can cast, checkpoint or move them; a run freezes and restores them."""

    networks: Mapping[str, nn.Module]


@runtime_checkable
class Mixed(Protocol):
    """A reward that combines others; the trace records the scores of each."""

    def parts(self, images: Images, prompts: Sequence[str]) -> Mapping[str, Scores]:
        """The scores of each part, by name; each is checked."""
        ...

    def mixed(self, parts: Mapping[str, Scores]) -> Scores:
        """The combined score from the parts' scores."""
        ...


def card_of(reward: Reward) -> Card:
    """The reward's card, or an empty one."""
    card = reward.card if isinstance(reward, Carded) else Card()
    if not isinstance(card, Card):
        raise InputError(f"{describe(reward)} has the card {shown(card)}. Give it a tta_core.Card(...), or none.")
    return card


def networks_of(thing: object) -> Mapping[str, nn.Module]:
    """The networks that an object declares, by role; an `nn.Module` is its own network."""
    if isinstance(thing, nn.Module):
        return {"reward": thing}
    networks = thing.networks if isinstance(thing, Networked) else {}
    if not isinstance(networks, Mapping) or not all(isinstance(network, nn.Module) for network in networks.values()):
        raise InputError(f"{describe(thing)} has the networks {shown(networks)}. Give torch modules by their role: {{'scorer': module}}.")
    return networks
