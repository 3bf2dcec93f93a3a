"""The program that runs in the other Python: it makes the reward, scores images, keeps each call's graph, and computes dL/dimages from
dL/dscores.

It needs only torch and the reward's package. So it imports nothing of this project except `frames`, whose path it gets.
"""

import importlib
import importlib.util
import json
import os
import socket
import traceback
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class Prompt(str):
    """A text with facts, for an environment without tta-align."""

    facts: Mapping[str, Any] = MappingProxyType({})


def main() -> None:
    """Serve one parent process until it closes the connection."""
    task = json.loads(os.environ.pop("TTA_REMOTE_REWARD"))
    channel = socket.socket(fileno=task["descriptor"])
    os.dup2(2, 1)  # redirects the reward's standard output to standard error
    import torch

    frames = _module(task["frames"])
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    try:
        reward = _made(task)
        card = {name: _plain(getattr(_card(reward), name, None)) for name in task["fields"]}
    except BaseException as error:
        frames.send(channel, _failure(error))
        return
    frames.send(channel, {"card": card, "torch": torch.__version__})
    graphs: dict[int, Any] = {}
    while True:
        try:
            header, tensors = frames.receive(channel)
        except frames.ClosedError:
            return
        for number in header["forget"]:
            graphs.pop(number, None)
        try:
            reply, results = _answer(torch, reward, task, header, tensors, graphs)
        except BaseException as error:
            reply, results = _failure(error), ()
        frames.send(channel, reply, results)


def _answer(
    torch: Any, reward: Any, task: Any, header: Any, tensors: Any, graphs: dict[int, Any]
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    if header["kind"] == "score":
        images = tensors[0].to(task["device"])
        prompts = [_prompt(text, facts) for text, facts in zip(header["prompts"], header["facts"], strict=True)]
        with torch.set_grad_enabled(header["gradient"]):
            leaf = images.requires_grad_(header["gradient"])
            scores = reward(leaf, prompts)
        if not isinstance(scores, torch.Tensor):
            return {"wrong": f"returned {type(scores).__name__}, not a tensor"}, ()
        if not scores.is_floating_point():
            return {"wrong": f"returned {scores.dtype} scores"}, ()
        differentiable = bool(header["gradient"] and scores.requires_grad)
        if differentiable:
            graphs[header["number"]] = (leaf, scores)
        return {"differentiable": differentiable}, (scores,)
    leaf, scores = graphs[header["number"]]
    given = tensors[0].to(scores.device, scores.dtype)
    (gradient,) = torch.autograd.grad(scores, leaf, given, retain_graph=True, allow_unused=True)
    return {"reached": gradient is not None}, (torch.zeros_like(leaf) if gradient is None else gradient,)


def _made(task: Any) -> Any:
    module, _, attribute = task["factory"].partition(":")
    if not attribute:  # a name among the entry points of this environment
        from tta_core.plugins.discovery import plugins

        made: Any = plugins().registry.find("rewards", module).load()
    else:
        made = importlib.import_module(module)
        for part in attribute.split("."):
            made = getattr(made, part)
    if isinstance(made, type) or task["settings"]:
        made = made(**task["settings"])
    for network in _networks(made):
        network.requires_grad_(False).eval().to(task["device"])
    if not callable(made):
        raise TypeError(f"{task['factory']} is a {type(made).__name__}, which cannot be called")
    return made


def _networks(reward: Any) -> list[Any]:
    import torch

    return [reward] if isinstance(reward, torch.nn.Module) else list(getattr(reward, "networks", {}).values())


def _card(reward: Any) -> Any:
    return getattr(reward, "card", None)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _prompt(text: str, facts: Any) -> str:
    if not facts:
        return text
    if importlib.util.find_spec("tta_core") is not None:
        from tta_core.values.prompts import with_facts

        return with_facts(text, facts)
    prompt = Prompt(text)
    prompt.facts = facts
    return prompt


def _failure(error: BaseException) -> dict[str, Any]:
    where = "".join(traceback.format_exception(type(error), error, error.__traceback__)[-4:])
    memory = isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
    return {"error": f"{type(error).__name__}: {error}", "traceback": where, "memory": memory}


def _module(path: str) -> Any:
    spec: Any = importlib.util.spec_from_file_location("tta_remote_frames", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
