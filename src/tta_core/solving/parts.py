"""The parts of a problem as one value: backbone, scheduler, reward, prompts, controls and guidance."""

from typing import Protocol, runtime_checkable

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import Reward
from tta_core.protocols.scheduler import Scheduler
from tta_core.values.controls import Controls
from tta_core.values.ledger import Ledger
from tta_core.values.schedules import Schedule
from tta_core.values.typing import Latents


@runtime_checkable
class Parts(Protocol):
    """The fields of a `tta_core.Problem` that positions and the check of compatibility read."""

    @property
    def backbone(self) -> Backbone:
        """Evaluates guidance branches and decodes latents."""
        ...

    @property
    def scheduler(self) -> Scheduler:
        """Turns a guided output into a prediction."""
        ...

    @property
    def reward(self) -> Reward:
        """Scores images."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """One prompt for each sample."""
        ...

    @property
    def controls(self) -> Controls:
        """The unsteered controls."""
        ...

    @property
    def guidance(self) -> float | Schedule:
        """Weight of classifier-free guidance; a schedule gives each step its own."""
        ...

    @property
    def origin(self) -> Latents | None:
        """Clean latents of the image that the trajectory starts from; None: it starts from noise."""
        ...

    @property
    def tried(self) -> bool:
        """Whether the reward was already called on trial images."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Counts the rows that go through each network."""
        ...
