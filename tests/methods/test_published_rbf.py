"""RBF compared with the authors' loop on the tiny Stable Diffusion, sample by sample."""

import pytest
import torch
from published import Case, case, close, dark, repeated

from tta_plugins.methods.rbf import RBF


class Recorded:
    """The recorded noises with RBF's keys: sample n of chain c at a step is child n * chains + c of the step's row."""

    def __init__(self, recorded: Case) -> None:
        chains = recorded.settings["chains"]
        self.children = {(0, child): latents for child, latents in enumerate(recorded["init/latents"])}
        steps, used = [0] * chains, [0] * chains
        for draw in range(int(recorded.scalars["draws"])):
            name = f"draw{draw:02d}"
            for c in range(chains):
                self.children[steps[c] + 1, used[c] * chains + c] = recorded[f"{name}/noise"][c]
            steps = recorded.scalars[f"{name}/step_after"]
            used = [counter - 1 for counter in recorded.scalars[f"{name}/budget_counter_after"]]

    def __call__(self, row: int, child: int) -> torch.Tensor:
        return self.children.get((row, child), torch.zeros(4, 8, 8))[None]

    def like(self, tensor: torch.Tensor, *key: int) -> torch.Tensor:
        raise AssertionError("RBF draws no directions")

    permutations = like


def test_every_sample_equals_the_authors():
    recorded = case("smc/rbf_dark")
    settings = recorded.settings
    method = RBF(settings["max_nfe"], settings["chains"], settings["init_n_particles"], spend="released")
    with repeated(method, dark, settings["prompt"], steps=6, guidance=settings["guidance_scale"], noises=Recorded(recorded)) as problem:
        _, *snapshots = method.align(problem)
        assert problem.ledger.counts["text"] == recorded.scalars["nfe_used"]
    assert len(snapshots) == recorded.scalars["draws"]
    for draw, snapshot in enumerate(snapshots):
        name, readings = f"draw{draw:02d}", snapshot.readings
        assert readings["step"][:, 0].tolist() == recorded.scalars[f"{name}/step_after"]
        assert readings["budget"][:, 0].tolist() == recorded.scalars[f"{name}/budget_after"]
        assert [used + 1 for used in readings["used"][:, 0].tolist()] == recorded.scalars[f"{name}/budget_counter_after"]
        close(readings["best"][:, 0], recorded[f"{name}/best_after"], 1e-5)
    assert snapshots[-1].scores.item() == pytest.approx(recorded.scalars["final/reward"], abs=1e-5)
    close(snapshots[-1].x0, recorded["final/latents"], 1e-4)
