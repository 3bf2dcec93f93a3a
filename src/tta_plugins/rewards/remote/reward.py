"""A reward in another process: its scores and gradients are the same as in this process, on the CPU to the last bit."""

import itertools
import json
import threading
import weakref
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from tta_core.errors import InputError, RewardError
from tta_core.protocols.reward import Card
from tta_core.values.prompts import facts_of, facts_record
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.remote.process import Process, python_of

_FIELDS = tuple(field.name for field in attrs.fields(Card))  # type: ignore[arg-type]


@frozen
class RemoteReward:
    """A reward that runs in another Python: `factory` is "package.module:Name", or a name that is registered there.

    Images are sent as float32, prompts with their facts as JSON, and gradients come back as float32. The other environment needs torch and
    the reward's package; it needs tta-align only for a registered name. The other process ends with this one; after a failure, the next
    call starts another.

    python: the interpreter, or the folder of a virtual environment.
    settings: arguments of the factory, plain data.
    device: the device of the images and of the networks that the reward declares, such as "cpu" or "cuda:1".
    timeout: seconds for each call, and for the start.
    resident: False ends the other process after each call (with a gradient: after the backward pass), to free its memory.
    environment: other environment variables. PYTHONPATH and similar ones are not inherited.
    """

    python: str | Path
    factory: str
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    device: str = "cpu"
    timeout: float = 600.0
    resident: bool = True
    environment: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    _child: "Child" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: Child(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image, differentiable if the reward is. Raises `RewardError` with the child's standard error."""
        return self._child.score(images, prompts)

    @property
    def card(self) -> Card:
        """The card of the reward in the other process."""
        return self._child.card

    def restart(self) -> None:
        """End the process and start another."""
        self._child.restart()

    def close(self) -> None:
        """End the process; the next call starts another."""
        self._child.close()


class Child:
    """The process behind a reward, and the calls whose graphs it keeps. One call at a time; threads wait for each other."""

    def __init__(self, reward: RemoteReward) -> None:
        """Starts the process once, to read the card, so that errors at the start are raised before a run begins."""
        self._python = python_of(str(reward.python))
        self._task = {"factory": reward.factory, "settings": dict(reward.settings), "device": reward.device, "fields": list(_FIELDS)}
        try:
            json.dumps(self._task)
        except (TypeError, ValueError) as error:
            raise InputError(f"The settings of a remote reward are {reward.settings!r}, but they must be plain data: {error}.") from error
        if not 0 < reward.timeout <= threading.TIMEOUT_MAX:
            raise InputError(f"The timeout of a remote reward is {reward.timeout}, but it takes seconds above 0, such as 600.")
        self._environment, self._timeout, self._resident = dict(reward.environment), float(reward.timeout), reward.resident
        self._lock, self._numbers = threading.RLock(), itertools.count()
        self._forgotten: list[int] = []
        self._kept: set[int] = set()
        self._process: Process | None = None
        card = self._running().card
        card = {name: value for name, value in card.items() if value is not None}
        card.update({name: tuple(card[name]) for name in ("range", "facts") if name in card})
        self.card = Card(**card)
        self._settle()

    def score(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Scores; they have a node in this process's graph if the child keeps a graph."""
        if torch.is_grad_enabled() and images.requires_grad and self.card.differentiable is not False:
            scores, differentiable = _Scored.apply(images, self, tuple(prompts))
            return scores if differentiable else scores.detach()
        _, _, scores = self.forward(images, prompts, gradient=False)
        return scores

    def forward(self, images: Tensor, prompts: Sequence[str], gradient: bool) -> tuple[int, bool, Tensor]:
        """The call's number, whether the child keeps a graph for it, and the scores."""
        facts = _plain_facts(prompts)
        with self._lock:
            number = next(self._numbers)
            header = {"kind": "score", "number": number, "gradient": gradient, "prompts": [str(text) for text in prompts], "facts": facts}
            reply, (scores, *_) = self._reply(self._running(), header, images)
            if reply["differentiable"]:
                self._kept.add(number)
            self._settle()
        return number, reply["differentiable"], scores.to(images.device)

    def backward(self, number: int, slopes: Tensor) -> Tensor:
        """dL/dimages from dL/dscores of that call."""
        with self._lock:
            process = self._process
            if process is None or not process.alive or number not in self._kept:
                raise RewardError(f"{self._name} lost the graph of this call, because its process has ended or was restarted. Score again.")
            _, (gradient, *_) = self._reply(process, {"kind": "gradient", "number": number}, slopes)
        return gradient.to(slopes.device)

    def forget(self, number: int) -> None:
        """Record that the graph of that call is not needed any more. Python calls this in any thread when it frees the graph, so it does
        little."""
        self._forgotten.append(number)
        if not self._resident and self._lock.acquire(blocking=False):
            try:
                self._settle()
            finally:
                self._lock.release()

    def restart(self) -> None:
        """End the process and start another."""
        with self._lock:
            self.close()
            self._running()

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._kept.clear()
            if self._process is not None:
                self._process.stop()
            self._process = None

    @property
    def _name(self) -> str:
        return f"{self._task['factory']} in {self._python}"

    def _running(self) -> Process:
        if self._process is None or not self._process.alive:
            self.close()
            self._process = Process(self._python, self._task, self._environment, self._timeout)
            weakref.finalize(self, self._process.stop)
        return self._process

    def _reply(self, process: Process, header: Mapping[str, Any], tensor: Tensor) -> tuple[dict[str, Any], list[Tensor]]:
        forgotten = [self._forgotten.pop() for _ in range(len(self._forgotten))]
        self._kept.difference_update(forgotten)
        try:
            reply, tensors = process.ask({**header, "forget": forgotten}, [tensor], self._timeout)
        except RewardError as error:
            self.close()
            raise RewardError(f"{self._name}: {error}") from error
        if "error" in reply:
            remedy = " It ran out of memory: score fewer images at once, or another device." if reply["memory"] else ""
            raise RewardError(f"{self._name} raised {reply['error']}.{remedy}\n{reply['traceback']}")
        if "wrong" in reply:
            raise RewardError(f"{self._name} {reply['wrong']}. Return float scores of shape ({tensor.shape[0]},).")
        return reply, tensors

    def _settle(self) -> None:
        """End the process if it is not resident and no graph is needed."""
        if not self._resident:
            self._kept.difference_update(self._forgotten)
            if not self._kept:
                self.close()


class _Scored(torch.autograd.Function):
    """The node of this process's graph that calls the child's backward pass."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, child: Child, prompts: tuple[str, ...]) -> Any:
        number, differentiable, scores = child.forward(images, prompts, gradient=True)
        ctx.child, ctx.number = child, number
        if differentiable:
            ctx.token = _Token()
            weakref.finalize(ctx.token, child.forget, number)
        else:
            ctx.mark_non_differentiable(scores)
        return scores, differentiable

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor, _: Any) -> Any:
        return ctx.child.backward(ctx.number, slopes), None, None


class _Token:
    """An object that is freed together with a node of the graph."""


def _plain_facts(prompts: Sequence[str]) -> list[dict[str, object]]:
    """Facts as plain data for JSON. Raises `RewardError` for a fact that is not plain data."""
    for prompt in prompts:
        for name, value in facts_of(prompt).items():
            if not isinstance(value, str | int | float | bool | list | tuple | dict | PathLike):
                kind = type(value).__name__
                raise RewardError(f"The fact {name!r} is a {kind}, which cannot be sent to another process. Give a path or plain data.")
    return facts_record(prompts)
