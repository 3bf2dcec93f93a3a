"""FK steering compared with the authors' runs, from the recorded latents, noises and uniforms."""

import pytest
import torch
from published import Case, case, close, dark, near_target, repeated

from tta_core import GivenNoise
from tta_core.values.schedules import Steps
from tta_plugins.methods.fk import FK

REWARDS = {"dark": dark, "target": near_target}


def given(recorded: Case) -> GivenNoise:
    steps = recorded.settings["num_inference_steps"]
    rows = (recorded["init/latents"], *(recorded[f"step{i:02d}/noise"] for i in range(steps)))
    uniforms = {(i,): recorded[f"u/step{i:02d}"][:, None] for i in range(steps) if f"u/step{i:02d}" in recorded.tensors}
    return GivenNoise(tuple(row[:, None] for row in rows), uniforms=uniforms)


@pytest.mark.parametrize("name", ["fk_diff_dark", "fk_max_target", "fk_add_dark"])
def test_the_free_run_equals_the_authors(name):
    recorded = case(f"smc/{name}")
    settings, steps = recorded.settings, recorded.settings["num_inference_steps"]
    method = FK(
        particles=settings["num_particles"],
        strength=settings["lmbda"],
        potential=settings["potential_type"],
        updates=Steps(tuple(range(settings["resampling_t_start"], settings["resampling_t_end"] + 1, settings["resample_frequency"]))),
        threshold=0.5 if settings["adaptive_resampling"] else None,
        initial=settings["reward_min_value"],
        weights="released",
    )
    reward = REWARDS[settings["reward"]]
    with repeated(method, reward, settings["prompt"], steps=steps, guidance=settings["guidance_scale"], noises=given(recorded)) as problem:
        *snapshots, last = method.align(problem)
    for i, snapshot in enumerate(snapshots):
        step, readings = f"step{i:02d}", snapshot.readings
        assert ("weights" in readings) == recorded.scalars[f"{step}/active"]
        if f"{step}/ancestors" in recorded.tensors:
            assert readings["ancestors"][:, 0].tolist() == recorded[f"{step}/ancestors"].tolist()
        if recorded.scalars[f"{step}/active"]:
            close(readings["memory"][:, 0], recorded[f"{step}/population_after"], 1e-5)
            product = readings["log_product"][:, 0].exp()
            torch.testing.assert_close(product.float(), recorded[f"{step}/product_after"], rtol=1e-2, atol=0)
    assert last.scores.item() == pytest.approx(recorded["final/reward"][int(recorded.scalars["final/best"])].item(), abs=1e-5)
    best = recorded[f"step{steps - 1:02d}/x_next"][int(recorded.scalars["final/best"])]
    close(last.x0[0], best, 1e-4)


def test_kept_weights_end_at_the_tilted_target():
    """The product of the potentials is exp(lambda R(x0)) for every potential, so all weights are equal if nothing is resampled."""
    recorded = case("smc/fk_diff_dark")
    settings, found = recorded.settings, {}
    for potential in ("diff", "max", "add", "rt"):
        method = FK(settings["num_particles"], 20.0, potential, Steps((1, 3)), threshold=0.01, initial=-1.0)
        with repeated(method, dark, settings["prompt"], steps=8, guidance=7.5, noises=given(recorded)) as problem:
            *_, last = method.align(problem)
        found[potential] = last.readings["weights"]
    for weights in found.values():
        torch.testing.assert_close(weights, found["rt"], rtol=1e-4, atol=1e-6)
