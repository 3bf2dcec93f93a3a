"""ReNO compared with the authors' runs: each iteration's noise, gradient and losses, and the best iterate."""

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from published import FOLDER, case, close, dark, near_target

import tta_core as tta
from tta_core import GivenNoise
from tta_core.solving.steering import SGD, Adam
from tta_plugins.methods.reno import ReNO

REWARDS = {"dark": dark, "target": near_target}


def optimizer_of(settings):
    if settings["optim"] == "adam":
        return Adam(settings["lr"], eps=settings["adam_eps"])
    return SGD(settings["lr"], settings["momentum"], settings["nesterov"])


@pytest.mark.parametrize("name", ["reno_euler1_dark_target", "reno_euler1_adam_noreg"])
def test_every_iteration_equals_the_authors(name):
    recorded = case(f"noise/{name}")
    settings = recorded.settings
    losses = settings["losses"]

    def reward(images, prompts):
        return sum(weight * REWARDS[loss](images, prompts) for loss, weight in losses.items())

    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER / "tiny-sd", safety_checker=None)
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    method = ReNO(settings["n_iters"], settings["reg_weight"] or 0.0, optimizer_of(settings), settings["grad_clip"])
    zeros = torch.zeros(1, 1, 4, 8, 8)
    with tta.prepare(
        settings["prompt"],
        backbone=pipeline,
        method=method,
        reward=reward,
        steps=1,
        guidance=1.0,
        noises=GivenNoise((recorded["init/noise"][None], zeros)),
    ) as prepared:
        problem = prepared.problem
        snapshots = list(method.align(problem))
        assert problem.ledger.counts["text"] == settings["n_iters"]
        for i, snapshot in enumerate(snapshots[:-1]):
            close(snapshot.controls.noise[0], recorded[f"iter{i}/noise"], 1e-3)
            close(-snapshot.gradient[0][:, 0], recorded[f"iter{i}/grad_clipped"], 1e-3)
            total = sum(weight * recorded.scalars[f"iter{i}/loss/{loss}"] for loss, weight in losses.items())
            assert snapshot.scores.item() == pytest.approx(-total, abs=1e-3)
            close(problem.sample(snapshot.controls), recorded[f"iter{i}/x0"], 1e-3)
    assert snapshots[-1].scores.item() == pytest.approx(-min(recorded.scalars["total_losses"]), abs=1e-3)
    image = recorded["best/image_u8"].permute(2, 0, 1) / 255
    assert (snapshots[-1].images[0] - image).abs().max() < 1.6 / 255
