"""Guidance on x compared with the authors' runs: two prompts in one batch, from the recorded x_T to the last step, with the recorded
noises."""

import pytest
import torch
from published import case, close, dark, near_target, repeated

import tta_core as tta
from tta_core.solving.steering import SGD
from tta_plugins.methods.dps import DPS
from tta_plugins.methods.freedom import FreeDoM
from tta_plugins.methods.mpgd import MPGD
from tta_plugins.methods.strength import Increasing, strength_at
from tta_plugins.methods.tfg import TFG
from tta_plugins.methods.universal_guidance import UniversalGuidance

REWARDS = {"dark": dark, "target": near_target}
METHODS = {
    "ug_forward_dark": lambda s: UniversalGuidance(s["forward_weight"], s["recurrences"], s["backward_steps"], clamp=s["clamp"]),
    "ug_full_target": lambda s: UniversalGuidance(
        s["guidance_strength"], s["recurrences"], s["iter_steps"] - 1, SGD(s["guidance_strength"]), clamp=s["clamp"]
    ),
    "freedom_tfg_dark": lambda s: FreeDoM(Increasing(s["guidance_strength"]), repetitions=s["recurrences"], clamp=s["clamp"]),
    "dps_target": lambda s: DPS(s["guidance_strength"], clamp=s["clamp"]),
    "mpgd_dark": lambda s: MPGD(s["guidance_strength"], clamp=s["clamp"]),
    "tfg_dark": lambda s: TFG(
        Increasing(s["rho"]),
        Increasing(s["mu"]),
        s["sigma"],
        samples=s["eps_bsz"],
        iterations=s["iter_steps"],
        repetitions=s["recurrences"],
        weight=s["reward_weight"],
        clamp=s["clamp"],
    ),
}


def given(recorded):
    """The recorded noises, by the keys that the methods' docstrings document."""
    settings = recorded.settings
    steps, repetitions = range(settings["num_inference_steps"]), range(settings["recurrences"])
    rows = [recorded["init/latents"][None]]
    rows += [torch.stack([recorded[f"step{i:02d}/r{r}/noise_prev"] for r in repetitions]) for i in steps]
    directions = {}
    for i in steps:
        for r in repetitions:
            name = f"step{i:02d}/r{r}"
            if r + 1 < len(repetitions):
                directions[i, r] = recorded[f"{name}/noise_back"]
            for j, noise in enumerate(recorded.tensors.get(f"{name}/noise_mc", ())):
                directions[i, r, 1, j] = noise
    return tta.GivenNoise(tuple(rows), directions=directions)


def run(name, method):
    """The recorded run, the problem, the snapshots before the last one, and the last one."""
    recorded = case(name)
    settings = recorded.settings
    with repeated(
        method,
        REWARDS[settings["reward"]],
        settings["prompts"],
        steps=settings["num_inference_steps"],
        guidance=settings["guidance_scale"],
        eta=settings["eta"],
        noises=given(recorded),
    ) as problem:
        *snapshots, last = method.align(problem)
    return recorded, problem, snapshots, last


@pytest.mark.parametrize("name", METHODS)
def test_every_repetition_and_the_result_equal_the_authors(name):
    method = METHODS[name](case(name).settings)
    recorded, problem, snapshots, last = run(name, method)
    settings = recorded.settings
    places = [(i, r) for i in range(settings["num_inference_steps"]) for r in range(settings["recurrences"])]
    assert [snapshot.index for snapshot in snapshots] == [i for i, _ in places]
    for (i, r), snapshot in zip(places, snapshots, strict=True):
        here, step = f"step{i:02d}/r{r}", problem.steps[i]
        x0 = (recorded[f"{here}/x_t"] - step.s * recorded[f"{here}/eps_cfg"]) / step.a
        close(snapshot.x0, x0, 1e-4)
        gradient = recorded.tensors.get(f"{here}/grad_x", recorded.tensors.get(f"{here}/grad_x0"))
        if gradient is not None:
            torch.testing.assert_close(snapshot.gradient[0], gradient, atol=2e-4 * gradient.abs().max().item(), rtol=0)
    close(last.x0, recorded["final/latents"], 1e-4)


@pytest.mark.parametrize("name", ["dps_target", "mpgd_dark"])
def test_a_changed_strength_is_detected(name):
    settings = dict(case(name).settings)
    strength = next(key for key in ("forward_weight", "guidance_strength", "rho") if key in settings)
    settings[strength] *= 1.1
    recorded, _, _, last = run(name, METHODS[name](settings))
    with pytest.raises(AssertionError):
        close(last.x0, recorded["final/latents"], 1e-4)


def test_the_increasing_strength_is_the_recorded_one():
    recorded = case("freedom_tfg_dark")
    levels = (recorded.scalars["a_t"], recorded.scalars["a_prev"])
    method = METHODS["freedom_tfg_dark"](recorded.settings)
    steps = [tta.Step(i, 0, a**0.5, (1 - a) ** 0.5, b**0.5, (1 - b) ** 0.5) for i, (a, b) in enumerate(zip(*levels, strict=True))]
    for step in steps:
        expected = recorded.scalars[f"step{step.index:02d}/rho"]
        assert strength_at(method.strength, step, steps) == pytest.approx(expected, rel=1e-5)
