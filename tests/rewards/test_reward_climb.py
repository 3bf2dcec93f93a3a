"""Methods raise the rewards by vision-language models on the embedded model, with every memory policy."""

import pytest
import torch
from tiny_vlms import folder, hpsv3, hpsv3_folder

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.plugins.discovery import plugins
from tta_core.running.prepare import prepare
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.cost.flops_per_row import flops_per_row
from tta_plugins.memory.compiled import Compiled
from tta_plugins.memory.update_schedule import UpdateFraction
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.rewards.vqascore import VQAScore
from tta_plugins.shapes.registered import shapes

pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile itself requires it

METHODS = {"date": DATE(rho=0.5), "null-tta": NullTTA(particles=1, inner_min=2, inner_max=2)}
EXACT = {"auto", "channels-last", "checkpointing", "chunked", "compile", "counted", "frozen-convolutions", "vae-slicing"}
APPROXIMATE = {"bf16", "fp16", "look-ahead", "update-fraction", "update-window"}
# "segments" is tested below; "offload" needs a device, and is tested on the simulated one with other rewards
# "frozen-encoder" changes no reward
ELSEWHERE = {"frozen-encoder", "offload", "segments"}
PAIRS = [("date", "vqascore"), ("null-tta", "hpsv3"), ("date", "hpsv3"), ("null-tta", "vqascore")]
GIVEN = {
    "compile": Compiled(("reward",), backend="eager"),
    "update-fraction": UpdateFraction(1.0),  # by default it has no update in two steps
}


@pytest.fixture(scope="module")
def rewards():
    return {"vqascore": VQAScore(folder("qwen2_5_vl"), scale="log", dtype="float32"), "hpsv3": hpsv3(hpsv3_folder())}


@pytest.fixture(scope="module")
def backbone():
    return shapes()


@pytest.fixture(scope="module")
def plain(rewards, backbone):
    """One run of each pair without a policy."""
    known = {}

    def run(method, reward):
        if (method, reward) not in known:
            known[method, reward] = aligned(backbone, METHODS[method], rewards[reward])
        return known[method, reward]

    return run


def aligned(backbone, method, reward, memory=(), baseline=True):
    return tta.align("a red circle", backbone=backbone, method=method, reward=reward, steps=2, memory=memory, baseline=baseline)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_methods_raise_the_reward(plain, pair):
    run = plain(*pair)
    assert run.scores[0] > run.baseline.scores[0]


def cases():
    """Each policy with one pair, in turn. The other pairs are slow, and so are all pairs with policies that trace or count a whole
    reward."""
    for number, policy in enumerate(sorted(EXACT | APPROXIMATE)):
        for place, pair in enumerate(PAIRS):
            usual = 0 if policy == "bf16" else number % 2  # half precision is tried with each reward; fp16 takes the other one
            is_slow = place != usual or policy in ("compile", "counted")  # tests/memory compiles a reward; "auto" counts too
            yield pytest.param(policy, pair, marks=pytest.mark.slow if is_slow else (), id="-".join((policy, *pair)))


@pytest.mark.parametrize(("policy", "pair"), cases())
def test_methods_raise_the_reward_with_every_policy(plain, rewards, backbone, policy, pair):
    method, reward = pair
    run = aligned(backbone, METHODS[method], rewards[reward], GIVEN.get(policy, policy), baseline=policy not in EXACT)
    before = (run.baseline or plain(*pair).baseline).scores[0]
    if policy in EXACT:
        assert abs(run.scores[0] - plain(*pair).scores[0]) < 1e-3
    if policy == "look-ahead":  # the gradient is that of another decoder
        assert run.scores[0] != before
    else:
        assert run.scores[0] > before


QUICK_AND_SLOW = ["hpsv3", pytest.param("vqascore", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_a_chain_in_segments_raises_the_reward(rewards, backbone, name):
    """Only a method that differentiates the whole chain can use segments; the others are refused."""
    method = DNO(iterations=1, eta=0.0)
    whole, cut = (aligned(backbone, method, rewards[name], memory) for memory in ((), "segments"))
    assert cut.scores[0] == pytest.approx(whole.scores[0], abs=1e-4)
    assert cut.scores[0] > cut.baseline.scores[0]
    with pytest.raises(IncompatibleError, match=r"Segments.*splits a chain that is differentiated as a whole"):
        aligned(backbone, METHODS["date"], rewards[name], "segments")


def test_offload_is_refused_if_everything_is_in_host_memory(rewards, backbone):
    with pytest.raises(IncompatibleError, match=r"Offload.*the backbone computes there already"):
        aligned(backbone, METHODS["date"], rewards["hpsv3"], "offload")


def test_every_policy_is_tested():
    assert {entry.name for entry in plugins().registry.entries("memory")} == EXACT | APPROXIMATE | ELSEWHERE


@pytest.mark.parametrize("name", QUICK_AND_SLOW)
def test_their_cost_is_counted_on_the_networks_themselves(rewards, backbone, name):
    """The count on tensors without data equals that of a real call."""
    reward, images = rewards[name], torch.rand(1, 3, 64, 64).requires_grad_()
    with prepare("a red circle", backbone=backbone, method=METHODS["date"], reward=reward, steps=2) as prepared:
        counted = flops_per_row(prepared.setup)
        with CostTracker() as ahead:
            score = reward(images, ["a red circle"])
        with CostTracker() as back:
            torch.autograd.grad(score.sum(), images)
    assert (counted["reward"], counted["reward.backward"]) == (ahead.flops, back.flops)
