"""DNO compared with the authors' runs, with and without the regulariser, and the regulariser by itself."""

import json

import pytest
import torch
from published import FOLDER, Case, case, close, repeated
from safetensors.torch import load_file

from tta_core import GivenNoise
from tta_core.protocols.variables import Noise
from tta_core.solving import steering
from tta_core.values.schedules import AllButLast
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.probability_regulariser import probability_regulariser


class Recorded:
    """The recorded noises (the authors count rows from the last step) and permutations."""

    def __init__(self, recorded: Case) -> None:
        self.rows = GivenNoise(tuple(row[None, None] for row in recorded["init/noise_vectors"].flip(0)))
        self.recorded = recorded

    def __call__(self, row: int, child: int) -> torch.Tensor:
        return self.rows(row, child)

    def like(self, tensor: torch.Tensor, *key: int) -> torch.Tensor:
        raise AssertionError("DNO with exact gradients draws no directions")

    def permutations(self, count: int, length: int, *key: int) -> torch.Tensor:
        """The permutations for z with its rows in sampling order; the authors' z has them in reverse order."""
        (iteration,) = key
        return in_sampling_order(self.recorded[f"iter{iteration}/perms"].long())[None]


def in_sampling_order(permutations: torch.Tensor, row: int = 256) -> torch.Tensor:
    """The same permutations of the same vector with its rows in reverse order."""
    place = torch.arange(permutations.shape[1]).view(-1, row).flip(0).flatten()
    return place[permutations]


def raw_black(images, prompts):
    return -(2 * images - 1).mean((1, 2, 3))


def raw_target(images, prompts):
    target = load_file(FOLDER / "target_64.safetensors")["target"]
    return -(images - target).square().mean((1, 2, 3))


@pytest.mark.parametrize(("name", "reward"), [("dno_eta1_gamma0_black", raw_black), ("dno_eta1_gamma1", None)])
def test_every_iteration_equals_the_authors(name, reward):
    recorded = case(name)
    settings = recorded.settings
    iterations = settings["opt_steps"]
    method = DNO(
        iterations=iterations,
        regularisation=settings["gamma"],
        opt_steps=settings["opt_time"],
        eta=AllButLast(),
        optimizer=steering.AdamW(lr=settings["lr"], weight_decay=0.01),
        subsample=settings["subsample"],
        clamp=reward is None,
    )
    with repeated(method, reward or raw_target, settings["prompt"], steps=6, guidance=5.0, noises=Recorded(recorded)) as problem:
        *snapshots, _ = method.align(problem)
        assert len(snapshots) == iterations
        for i, snapshot in enumerate(snapshots):
            z = Noise().read(snapshot.controls)[0][0].flip(0)
            close(z, recorded[f"iter{i}/noise"], 1e-4)
            assert snapshot.scores.item() == pytest.approx(recorded.scalars[f"iter{i}/reward"], abs=1e-4)
            close(snapshot.gradient[0][0].flip(0), -recorded[f"iter{i}/grad_clipped"], 1e-4)
            if settings["gamma"]:
                assert snapshot.penalties["probability"].item() == pytest.approx(recorded.scalars[f"iter{i}/reg_loss"], abs=1e-4)
            close(2 * problem.backbone.decode(problem.sample(snapshot.controls)) - 1, recorded[f"iter{i}/image_raw"], 1e-4)


VALUES = json.loads((FOLDER / "dno_regulariser.json").read_text())["values"]
TENSORS = load_file(FOLDER / "dno_regulariser.safetensors")


@pytest.mark.parametrize("name", VALUES)
def test_regulariser_values_and_gradients(name):
    kind, setting, which = name.split("/")
    eta, subsample, opt_steps = setting.split("_")
    noise = TENSORS[f"noise/{kind}"].clone().requires_grad_()
    steered = noise[-1:] if eta == "eta0" else noise[: int(opt_steps[3:]) + 1]
    flat = steered.reshape(1, -1)
    permutations = None
    if which == "identity_x2":
        permutations = torch.arange(flat.shape[1])[None, None]
    elif which == "seed0_10shuffles":
        permutations = TENSORS[f"perms10/{kind}/{setting}"].long()[None]
    value = probability_regulariser(flat, permutations, subsample=int(subsample[3:]))
    assert value.item() == pytest.approx(VALUES[name], rel=1e-5)
    stored = TENSORS.get(f"grad_{which}/{kind}/{setting}")
    if stored is not None:
        (gradient,) = torch.autograd.grad(value.sum(), noise)
        close(gradient, stored, 1e-4)
