"""SVDD compared with the authors' run without batching."""

import pytest
from published import case, close, dark, repeated

from tta_core import GivenNoise
from tta_plugins.methods.svdd import SVDD


def test_the_free_run_equals_the_authors():
    recorded = case("smc/svdd_dark_m3")
    settings = recorded.settings
    steps = settings["num_inference_steps"]
    noises = GivenNoise((recorded["init/latents"][None], *(recorded[f"step{i:02d}/noise"] for i in range(steps))))
    method = SVDD(children=settings["duplicate_size"], selection="argmax")
    with repeated(method, dark, settings["prompts"], steps=steps, guidance=settings["guidance_scale"], noises=noises) as problem:
        *snapshots, last = method.align(problem)
        rows = problem.ledger.counts["text"]
    for i, snapshot in enumerate(snapshots):
        close(snapshot.readings["values"], recorded[f"step{i:02d}/values"], 1e-5)
        assert snapshot.readings["chosen"].tolist() == recorded[f"step{i:02d}/chosen"].tolist()
    close(last.x0, recorded["final/latents"], 1e-4)
    assert last.scores.tolist() == pytest.approx(recorded["final/reward"].tolist(), abs=1e-5)
    assert rows == len(settings["prompts"]) * (settings["duplicate_size"] * (steps - 1) + 1)
