"""One run of the page, from the queue to its folder. Pages can follow its changes."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from PIL.Image import Image

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.method import Snapshot
from tta_core.values.images import to_pil
from tta_plugins.cli.interruption import Interruption
from tta_plugins.studio.request import Request

Phase = Literal["waiting", "preparing", "running", "saved", "failed"]


@attrs.frozen
class State:
    """The state of a run at one moment.

    Attributes:
        phase: "saved" and "failed" are final; "failed" has no result.
        ahead: while it waits, the number of runs before it.
        done, total: the number of snapshots so far, and in all.
        rewards: the number and the reward of each snapshot that has scores.
        look_ahead: the decoded clean estimate of the latest snapshot that was shown.
        message: why it failed or ended early.
        notes: the warnings of the run.
        folder: where it was saved.
    """

    phase: Phase = "waiting"
    ahead: int = 0
    done: int = 0
    total: int = 0
    rewards: tuple[tuple[int, float], ...] = ()
    look_ahead: Image | None = None
    message: str = ""
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def over(self) -> bool:
        """Whether the state is final."""
        return self.phase in ("saved", "failed")


class Job:
    """A requested run. One thread runs it; other threads follow it and may stop it."""

    def __init__(self, number: int, request: Request) -> None:
        self.number = number
        self.request = request
        self.interruption = Interruption()
        self._state = State()
        self._version = 0
        self._shown = 0
        self._snapshots = 0
        self._changed = threading.Condition()

    @property
    def state(self) -> State:
        """The current state."""
        return self._state

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return bool(self.interruption.received)

    def stop(self) -> None:
        """End the run at its next snapshot with the best so far; if it is still waiting, before it begins."""
        self.interruption.stop()

    def become(self, **changes: Any) -> None:
        """Change the state, and notify all threads that follow it."""
        with self._changed:
            self._state = attrs.evolve(self._state, **changes)
            self._version += 1
            self._changed.notify_all()

    def changes(self) -> Iterator[State]:
        """The current state, then each new one until the final one. A slow reader gets only the latest."""
        version = -1
        while True:
            with self._changed:
                while self._version == version:
                    self._changed.wait()
                version, state = self._version, self._state
                self._shown = version
            yield state
            if state.over:
                return

    def watch(self, backbone: Backbone, snapshot: Snapshot) -> None:
        """Record a snapshot. Its look-ahead is decoded only if a reader got the previous state, so never faster than it is shown."""
        with self._changed:
            is_shown = self._shown == self._version
        self._snapshots += 1
        rewards = self._state.rewards
        if snapshot.scores is not None:
            rewards = (*rewards, (self._snapshots, snapshot.scores.mean().item()))
        image = self._state.look_ahead
        if is_shown:
            with torch.no_grad():
                image = to_pil((backbone.decode(snapshot.x0) if snapshot.images is None else snapshot.images)[0])
        self.become(phase="running", done=snapshot.index + 1, total=snapshot.total, rewards=rewards, look_ahead=image)
