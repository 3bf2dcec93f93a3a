"""Methods raise the rewards by vision-language models on the embedded model, whatever memory policy they run under."""

import pytest
from tiny_vlms import folder, hpsv3, hpsv3_folder

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.plugins.discovery import plugins
from tta_plugins.memory.update_schedule import UpdateFraction
from tta_plugins.methods.date import DATE
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.rewards.vqascore import VQAScore

METHODS = {"date": DATE(rho=0.5), "null-tta": NullTTA(particles=1, inner_min=2, inner_max=2)}
EXACT = {"channels-last", "checkpointing", "chunked", "frozen-convolutions", "vae-slicing"}
APPROXIMATE = {"bf16", "fp16", "look-ahead", "update-fraction", "update-window"}
FORETELLING = {"auto", "counted"}
ELSEWHERE = {"compile", "offload", "segments"}  # a compiler; a device; for whole chains only: their own tests
PAIRS = [("date", "vqascore"), ("null-tta", "hpsv3"), ("date", "hpsv3"), ("null-tta", "vqascore")]
GIVEN = {"update-fraction": UpdateFraction(1.0)}  # of two steps it leaves none by default


@pytest.fixture(scope="module")
def rewards():
    return {"vqascore": VQAScore(folder("qwen2_5_vl"), scale="log", dtype="float32"), "hpsv3": hpsv3(hpsv3_folder())}


@pytest.fixture(scope="module")
def plain(rewards):
    """One run of each pair without a policy."""
    known = {}

    def run(method, reward):
        if (method, reward) not in known:
            known[method, reward] = aligned(method, rewards[reward])
        return known[method, reward]

    return run


def aligned(method, reward, memory=()):
    return tta.align("a red circle", method=METHODS[method], reward=reward, steps=2, memory=memory)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_methods_climb(plain, pair):
    run = plain(*pair)
    assert run.scores[0] > run.baseline.scores[0]


def cases():
    """Each policy with one pair, in turn; the others are slow."""
    for number, policy in enumerate(sorted(EXACT | APPROXIMATE)):
        for place, pair in enumerate(PAIRS):
            yield pytest.param(policy, pair, marks=() if place == number % 2 else pytest.mark.slow, id="-".join((policy, *pair)))


@pytest.mark.parametrize(("policy", "pair"), cases())
def test_they_climb_under_every_policy(plain, rewards, policy, pair):
    method, reward = pair
    run = aligned(method, rewards[reward], GIVEN.get(policy, policy))
    if policy in EXACT:
        assert abs(run.scores[0] - plain(*pair).scores[0]) < 1e-3
    if policy == "look-ahead":  # its gradient is another decoder's
        assert run.scores[0] != run.baseline.scores[0]
    else:
        assert run.scores[0] > run.baseline.scores[0]


def test_no_policy_is_forgotten():
    assert {entry.name for entry in plugins().registry.entries("memory")} == EXACT | APPROXIMATE | FORETELLING | ELSEWHERE


def test_foretelling_the_cost_is_refused_by_name(rewards):
    for reward in rewards.values():
        with pytest.raises(IncompatibleError, match=r"reward by Qwen where its cost is foretold \(memory='counted' or 'auto'"):
            aligned("date", reward, "counted")
