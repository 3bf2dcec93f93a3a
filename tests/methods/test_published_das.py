"""DAS compared with the authors' runs: with their error, with the error corrected, and with given tempering."""

import pytest
import torch
from published import Case, case, close, dark, near_target, repeated

from tta_core import GivenNoise
from tta_core.values.schedules import Geometric, Listed, Schedule
from tta_plugins.methods.das import DAS

REWARDS = {"dark": dark, "target": near_target}


def tempering_of(recorded: Case) -> tuple[Schedule, Schedule | None]:
    """The temperatures of the recorded run. The authors' solver for "adaptive" stops early, so its results are given."""
    settings, steps = recorded.settings, range(recorded.settings["num_inference_steps"])
    if settings["tempering"] == "adaptive":
        return tuple(Listed(tuple(recorded.scalars[f"step{i:02d}/{name}"] for i in steps)) for name in ("lambda_weight", "lambda_gradient"))
    return Geometric(settings["tempering_gamma"]), None


def given(recorded: Case) -> GivenNoise:
    steps = recorded.settings["num_inference_steps"]
    rows = (recorded["init/latents"], *(recorded[f"step{i:02d}/noise"] for i in range(steps)))
    uniforms = {(i,): recorded[f"u/step{i:02d}"][:, None] for i in range(steps) if f"u/step{i:02d}" in recorded.tensors}
    return GivenNoise(tuple(row[:, None] for row in rows), uniforms=uniforms)


@pytest.mark.parametrize("name", ["das_exp_ssp_dark_mended", "das_exp_ssp_dark_released", "das_adaptive_ssp_target"])
def test_the_free_run_equals_the_authors(name):
    recorded = case(f"smc/{name}")
    settings, steps = recorded.settings, recorded.settings["num_inference_steps"]
    tempering, gradient_tempering = tempering_of(recorded)
    method = DAS(
        particles=settings["num_particles"],
        alpha=settings["kl_coeff"],
        tempering=tempering,
        gradient_tempering=gradient_tempering,
        threshold=settings["ess_threshold"],
        resampling=settings["resample_strategy"],
        lineage="released" if settings["ancestors"] == "released" else "exact",
    )
    with repeated(
        method,
        REWARDS[settings["reward"]],
        settings["prompt"],
        steps=steps,
        guidance=settings["guidance_scale"],
        noises=given(recorded),
    ) as problem:
        *snapshots, last = method.align(problem)
    for i, snapshot in enumerate(snapshots):
        step, readings = f"step{i:02d}", snapshot.readings
        assert readings["ancestors"][:, 0].tolist() == recorded[f"{step}/ancestors"].tolist()
        close(readings["weights"][:, 0], torch.softmax(recorded[f"{step}/log_w"], 0), 1e-3)
        assert readings["effective_size"].item() == pytest.approx(recorded.scalars[f"{step}/ess"], rel=1e-3)
        assert readings["tempering"].item() == pytest.approx(recorded.scalars[f"{step}/lambda_weight"], abs=1e-6)
        best = recorded[f"{step}/log_w"].argmax()
        close(snapshot.x0[0], recorded[f"{step}/x0"][best], 1e-3)
        assert snapshot.scores.item() == pytest.approx(recorded[f"{step}/reward"][best].item(), abs=1e-4)
    chosen = int(recorded.scalars["final/chosen"])
    close(last.readings["weights"][:, 0], recorded["final/weights"], 1e-3)
    close(last.x0[0], recorded["final/latents"][chosen], 1e-4)
    assert last.scores.item() == pytest.approx(recorded["final/reward"][chosen].item(), abs=1e-5)
