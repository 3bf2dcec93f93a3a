"""One run of the page, from its place in the queue to its folder; whoever follows it sees every change, or the latest one."""

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
from tta_plugins.studio.asked import Asked

Phase = Literal["waiting", "preparing", "running", "saved", "failed"]


@attrs.frozen
class State:
    """What there is to show of a run at one moment.

    Attributes:
        phase: "saved" and "failed" are the last; "failed" has nothing to keep.
        ahead: how many runs come before it, while it is waiting.
        done, total: snapshots so far, and in all.
        rewards: the reward of the look-ahead after the number of its snapshot, for those that have one.
        look_ahead: the clean estimate of the latest snapshot that was shown, decoded.
        message: why it failed, or ended early.
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
        """Whether nothing more will change."""
        return self.phase in ("saved", "failed")


class Job:
    """A run that was asked for. One thread runs it; others follow it and may stop it."""

    def __init__(self, number: int, asked: Asked) -> None:
        self.number = number
        self.asked = asked
        self.interruption = Interruption()
        self._state = State()
        self._version = 0
        self._seen = 0
        self._snapshots = 0
        self._changed = threading.Condition()

    @property
    def state(self) -> State:
        """As it is now."""
        return self._state

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return bool(self.interruption.received)

    def stop(self) -> None:
        """End it at its next snapshot with the best so far, or, where it is still waiting, before it begins."""
        self.interruption.stop()

    def become(self, **changes: Any) -> None:
        """Change its state, and tell all who follow it."""
        with self._changed:
            self._state = attrs.evolve(self._state, **changes)
            self._version += 1
            self._changed.notify_all()

    def changes(self) -> Iterator[State]:
        """Its state now and at every change until it is over; who is slow gets the latest."""
        version = -1
        while True:
            with self._changed:
                while self._version == version:
                    self._changed.wait()
                version, state = self._version, self._state
                self._seen = version
            yield state
            if state.over:
                return

    def watch(self, backbone: Backbone, snapshot: Snapshot) -> None:
        """Note a snapshot. Its look-ahead is decoded if the one before was seen: not faster than it is shown, and not if nobody looks."""
        with self._changed:
            is_seen = self._seen == self._version
        self._snapshots += 1
        rewards = self._state.rewards
        if snapshot.scores is not None:
            rewards = (*rewards, (self._snapshots, snapshot.scores.mean().item()))
        image = self._state.look_ahead
        if is_seen:
            with torch.no_grad():
                image = to_pil((backbone.decode(snapshot.x0) if snapshot.images is None else snapshot.images)[0])
        self.become(phase="running", done=snapshot.index + 1, total=snapshot.total, rewards=rewards, look_ahead=image)
