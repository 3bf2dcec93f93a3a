"""The networks that a policy can change, by component, and the error for a setup on which it would have no effect."""

from collections.abc import Iterable
from typing import Literal

from torch import nn

from tta_core.errors import IncompatibleError
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import networks_of
from tta_core.values.provenance import name_of

Component = Literal["denoiser", "decoder", "text", "reward"]
COMPONENTS: tuple[Component, ...] = ("denoiser", "decoder", "text", "reward")


def networks(setup: Setup, component: Component) -> list[nn.Module]:
    """The networks of one component; "text" is every text encoder, "reward" all that the reward declares."""
    if component == "reward":
        return list(networks_of(setup.reward).values())
    roles = setup.backbone.networks
    return [network for role, network in roles.items() if role == component or (component == "text" and role.startswith("text_encoder"))]


def chosen_networks(setup: Setup, components: Iterable[Component], policy: object) -> list[nn.Module]:
    """The networks of these components. Raises `IncompatibleError` if there are none, because the policy would have no effect."""
    components = tuple(components)
    found = [network for component in components for network in networks(setup, component)]
    if not found:
        raise refusal(policy, setup, f"it works on the networks of {' and '.join(components) or 'no component'}, and there are none")
    return found


def refusal(policy: object, setup: Setup, reason: str, remedy: str = "Leave the policy out.") -> IncompatibleError:
    """The error of a policy that cannot work, or would have no effect, on a setup."""
    return IncompatibleError(
        f"Cannot use {policy!r} with {name_of(setup.backbone)} and {name_of(setup.reward)}. This is because {reason}. {remedy}"
    )
