"""Recorded runs of the authors' own code on a tiny Stable Diffusion: tensors, numbers, and a problem that repeats the run."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from attrs import frozen
from safetensors.torch import load_file
from torch import Tensor

import tta_core as tta

FOLDER = Path(__file__).parent / "fixtures"


@frozen
class Case:
    """One recorded run."""

    tensors: dict[str, Tensor]
    scalars: dict[str, float]
    settings: dict[str, object]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]


def case(name: str) -> Case:
    record = json.loads((FOLDER / f"{name}.json").read_text())
    return Case(load_file(FOLDER / f"{name}.safetensors"), record["scalars"], record["hyperparameters"])


def dark(images: Tensor, prompts: Sequence[str]) -> Tensor:
    return -images.mean((1, 2, 3))


def near_target(images: Tensor, prompts: Sequence[str]) -> Tensor:
    target = load_file(FOLDER / "target_64.safetensors")["target"]
    return -(images - target).square().mean((1, 2, 3))


@contextmanager
def repeated(
    method: object,
    reward: object,
    prompts: str | list[str],
    *,
    steps: int,
    guidance: float,
    noises: object = None,
    latents: object = None,
    eta: float | None = None,
    memory: object = (),
) -> Iterator[tta.Problem]:
    """The problem of a recorded run, with the same pipeline and noises."""
    with tta.prepare(
        prompts,
        backbone=str(FOLDER / "tiny-sd"),
        method=method,
        reward=reward,
        steps=steps,
        guidance=guidance,
        noises=noises,
        latents=latents,
        memory=memory,
        eta=eta,
    ) as prepared:
        yield prepared.problem


def close(actual: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal within the tolerance times the largest value, or times 1 if all values are smaller, because other processors add in another
    order."""
    size = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(actual.detach().float(), expected.float(), atol=tolerance * size, rtol=0)
