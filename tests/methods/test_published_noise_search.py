"""Noise search compared with the released code: the noises that it samples, their order, and the best of each round."""

import pytest
import torch
from published import case, close, repeated

from tta_core import GivenNoise
from tta_plugins.methods.noise_search import NoiseSearch, neighbour


def redness(images, prompts):
    """The recorded verifier, applied to the 8-bit image."""
    seen = (images * 255).round() / 255
    return seen[:, 0].mean((1, 2)) - seen[:, 1:].mean((1, 2, 3))


def steps_of(recorded):
    call = recorded.settings["pipeline_call_args"]
    return {"steps": call["num_inference_steps"], "guidance": call["guidance_scale"]}


def given(noises, steps, **more):
    return GivenNoise((noises[:, None], *[torch.zeros(1, 1, 4, 8, 8)] * steps), **more)


def test_random_search_keeps_the_best_of_all_rounds():
    recorded = case("noise/search_random")
    rounds = recorded.settings["search_rounds"]
    noises = torch.cat([recorded[f"round{r}/noises"] for r in range(1, rounds + 1)])
    scores = [score for r in range(1, rounds + 1) for score in recorded.scalars[f"round{r}/scores"]]
    method = NoiseSearch("random", rounds)
    with repeated(method, redness, recorded.settings["prompt"], noises=given(noises, 5), **steps_of(recorded)) as problem:
        snapshots = list(method.align(problem))
        assert problem.ledger.counts["text"] == 5 * len(scores)
    best = [max(scores[: place + 1]) for place in range(len(scores))]
    assert [snapshot.scores.item() for snapshot in snapshots] == pytest.approx(best, abs=2e-3)
    close(snapshots[-1].controls.noise[0], noises[scores.index(max(scores))][None], 1e-6)


def test_zero_order_search_follows_the_authors():
    recorded = case("noise/search_zero_order")
    settings = recorded.settings
    rounds, count = settings["search_rounds"], settings["num_neighbors"]
    directions = {(r, j): recorded[f"round{r + 1}/v"][j].float().view(1, 4, 8, 8) for r in range(rounds) for j in range(count)}
    method = NoiseSearch("zero-order", rounds, count, settings["threshold"])
    noises = given(recorded["round1/noises"][:1], 5, directions=directions)
    with repeated(method, redness, settings["prompt"], noises=noises, **steps_of(recorded)) as problem:
        snapshots = list(method.align(problem))
        assert problem.ledger.counts["text"] == 5 * (1 + rounds * count)
    for r in range(rounds):
        best = int(recorded.scalars[f"round{r + 1}/best"])
        last = snapshots[(r + 1) * count]
        assert last.scores.item() == pytest.approx(recorded.scalars[f"round{r + 1}/best_score"], abs=2e-3)
        close(last.controls.noise[0], recorded[f"round{r + 1}/noises"][best][None], 1e-5)


def test_a_neighbour_has_the_norm_of_its_base_and_the_set_cosine():
    generator = torch.Generator().manual_seed(0)
    base, direction = (torch.randn(3, 4, 8, 8, generator=generator) for _ in range(2))
    found = neighbour(base, direction, 0.8)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), base.flatten(1).norm(dim=1))
    torch.testing.assert_close(torch.cosine_similarity(found.flatten(1), base.flatten(1)), torch.full((3,), 0.8))
