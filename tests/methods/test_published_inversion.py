"""DDPM inversion and null-text inversion compared with the authors' runs."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from published import FOLDER, case, close, dark

import tta_core as tta
from tta_core import GivenNoise
from tta_core.values.noise import keyed_noises
from tta_plugins.editing.ddpm_inversion import ddpm_inversion
from tta_plugins.editing.null_text import NullTextInversion, ddim_inversion
from tta_plugins.methods.baselines import Fixed


def pipeline():
    return StableDiffusionPipeline.from_pretrained(FOLDER / "tiny-sd", safety_checker=None)


def table(recorded, steps):
    bars = pipeline().scheduler.alphas_cumprod
    return [float(bars[t]) for t in recorded.scalars["timesteps"]][:steps]


def test_ddpm_inversion_and_edit_equal_the_authors():
    recorded = case("noise/ddpm_inversion_skip3")
    settings = recorded.settings
    steps, skip = settings["num_inference_steps"], settings["skip"]
    levels, x0, drawn = table(recorded, steps), recorded["x0"], recorded["independent_xts"].flip(0)
    noises = [(drawn[i : i + 1] - bar**0.5 * x0) / (1 - bar) ** 0.5 for i, bar in enumerate(levels)]

    def run(prompt, guidance, start, given):
        return tta.prepare(
            prompt,
            backbone=pipeline(),
            method=Fixed(),
            reward=dark,
            steps=steps,
            guidance=guidance,
            eta=1.0,
            image=recorded["picture"],
            strength=(steps - start) / steps,
            noises=given,
        )

    zeros = torch.zeros(1, 1, 4, 8, 8)
    whole = GivenNoise((noises[0][None], *[zeros] * steps), directions={(i,): noise for i, noise in enumerate(noises)})
    with run(settings["source_prompt"], settings["cfg_source"], 0, whole) as prepared:
        problem = prepared.problem
        close(problem.origin, x0, 1e-4)
        found = ddpm_inversion(problem)
        rows = torch.stack([row[0, 0] for row in found.rows])
        close(rows[1:-1].flip(0), recorded["zs"][1:], 1e-3)
        *_, again = Fixed().align(tta.Problem(**{**_fields(problem), "controls": _with(problem.controls, rows), "noises": found}))
        close(again.x0, x0, 1e-4)
    level = levels[skip]
    first = (recorded["xts"][steps - skip][None] - level**0.5 * x0) / (1 - level) ** 0.5
    last = torch.zeros_like(rows[-1:])
    edit = GivenNoise((first[None], *(row[None, None] for row in rows[skip + 1 : -1]), last[None]))
    with run(settings["target_prompts"][0], settings["cfg_targets"][0], skip, edit) as prepared:
        *_, edited = Fixed().align(prepared.problem)
    close(edited.x0, recorded["edit/final"], 2e-3)
    close(edited.images, recorded["edit/image"], 2e-3)


def _fields(problem):
    import attrs

    return {field.name: getattr(problem, field.name) for field in attrs.fields(type(problem))}


def _with(controls, rows):
    import attrs

    return attrs.evolve(controls, noise=rows[:, None])


def test_null_text_inversion_equals_the_authors():
    recorded = case("noise/null_text_offset1")
    settings = recorded.settings
    steps = settings["num_ddim_steps"]
    noises = keyed_noises((settings["prompt"],), 0, (4, 8, 8), torch.device("cpu"))
    with tta.prepare(
        settings["prompt"],
        backbone=pipeline(),
        method=Fixed(),
        reward=dark,
        steps=steps,
        guidance=settings["guidance_scale"],
        eta=0.0,
        noises=noises,
    ) as prepared:
        problem = prepared.problem
        path = ddim_inversion(problem, recorded["x0"])
        close(torch.cat(path).flip(0), recorded["inversion/latents"], 1e-4)
        inversion = NullTextInversion(settings["num_inner_steps"], tolerance=settings["early_stop_epsilon"])
        controls = inversion(problem, recorded["x0"])
        for i in range(steps):
            close(controls.at(i).null.tokens, recorded["nulls"][i : i + 1], 5e-3)
        error = (problem.sample(controls) - recorded["x0"]).square().mean()
        assert error.item() == pytest.approx(recorded.scalars["error/null_text"], rel=2e-2)
