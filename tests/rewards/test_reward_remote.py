"""A reward in another virtual environment: equal numbers, bit for bit, and clear messages if its process fails."""

import os
import signal
import subprocess
import sys
import threading
import venv
from pathlib import Path

import pytest
import torch

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError, LoadError, RewardError
from tta_core.testing import GaussianMixture, RewardSuite, vp_scheduler
from tta_plugins.methods.date import DATE
from tta_plugins.rewards.pixels import Brightness
from tta_plugins.rewards.remote.reward import RemoteReward

THERE = '''
import os, sys, time
import torch
import transformers

class Network:
    """A convolution drawn from a seed, with a card; says which transformers it sees."""

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.networks = {"net": torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GELU(), torch.nn.Conv2d(4, 2, 3))}
        self.version = transformers.__version__

    @property
    def card(self):
        class Card:
            unit, range, version, differentiable, facts = "units", (0.0, 1.0), self.version, True, ()
        return Card()

    def __call__(self, images, prompts):
        lengths = torch.tensor([float(len(prompt)) for prompt in prompts])
        return self.networks["net"](images).square().mean((1, 2, 3)) + 0.01 * lengths

def by_target(images, prompts):
    return images.mean((1, 2, 3)) * torch.tensor([float(len(prompt.facts["target"])) for prompt in prompts])

def rounded(images, prompts):
    with torch.no_grad():
        return images.mean((1, 2, 3))

def chatty(images, prompts):
    print("garbage on standard output")
    os.write(1, b"\\x00\\xff more garbage")
    return images.mean((1, 2, 3))

def failing(images, prompts):
    print("about to fail", file=sys.stderr)
    raise ValueError("no such thing")

def exhausted(images, prompts):
    raise torch.OutOfMemoryError("CUDA out of memory")

class Hanging:
    def __init__(self):
        print("going to sleep", file=sys.stderr, flush=True)

    def __call__(self, images, prompts):
        time.sleep(3600)

def leaving(images, prompts):
    print("last words", file=sys.stderr, flush=True)
    os._exit(7)

def listed(images, prompts):
    return [0.0] * len(prompts)

def chosen(images, prompts):
    """The function that the first prompt names."""
    return globals()[prompts[0].partition(" ")[0]](images, prompts)

class Unmade:
    def __init__(self):
        raise RuntimeError("weights are missing")
'''


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """An environment with the installed torch, its own transformers, and the module of rewards above."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "transformers.py").write_text('__version__ = "3.141"\n')
    (packages / "rewards_there.py").write_text(THERE)
    (packages / "installed.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
    return folder


@pytest.fixture
def remote(elsewhere):
    made = []

    def make(name, **options):
        made.append(tta.remote_reward(elsewhere, f"rewards_there:{name}", **options))
        return made[-1]

    yield make
    for reward in made:
        reward.close()


@pytest.fixture(scope="module")
def network(elsewhere):
    """One child process for all tests that do not end it, since a start imports torch."""
    reward = tta.remote_reward(elsewhere, "rewards_there:Network", settings={"seed": 3})
    yield reward
    reward.close()


@pytest.fixture(scope="module")
def chosen(elsewhere):
    """One child process for all of the functions above; `to` in the prompts chooses the function."""
    reward = tta.remote_reward(elsewhere, "rewards_there:chosen")
    yield reward
    reward.close()


def to(name):
    return [f"{name} {prompt}" for prompt in PROMPTS]


@pytest.fixture(scope="module")
def here(elsewhere):
    """The same class in this process, with the same weights."""
    namespace = {}
    exec(compile(THERE, "there", "exec"), namespace)
    reward = namespace["Network"](seed=3)
    reward.networks["net"].requires_grad_(False).eval()
    return reward


def score_and_gradient(reward, images, prompts, weights):
    images = images.clone().requires_grad_()
    scores = reward(images, prompts)
    (gradient,) = torch.autograd.grad((scores * weights).sum(), images)
    return scores.detach(), gradient


IMAGES, PROMPTS, WEIGHTS = (
    torch.rand(3, 3, 12, 10, generator=torch.Generator().manual_seed(0)),
    ["a", "bb", "ccc"],
    torch.tensor([1.0, -2.0, 0.5]),
)


@pytest.mark.parametrize("resident", [True, False])
def test_scores_and_gradients_are_the_same_to_the_last_bit(network, remote, here, resident):
    reward = network if resident else remote("Network", settings={"seed": 3}, resident=False)
    assert reward.card.version == "3.141"
    assert reward.card.range == (0.0, 1.0)
    for again in range(2 if resident else 1):
        expected = score_and_gradient(here, IMAGES + again / 9, PROMPTS, WEIGHTS)
        found = score_and_gradient(reward, IMAGES + again / 9, PROMPTS, WEIGHTS)
        assert all(torch.equal(*pair) for pair in zip(expected, found, strict=True))
    with torch.no_grad():
        assert torch.equal(reward(IMAGES, PROMPTS), here(IMAGES, PROMPTS))
    if not resident:
        assert reward._child._process is None


def test_two_calls_may_be_open_at_once_and_freed_graphs_are_deleted(network, here):
    reward = network
    first, second = (images.clone().requires_grad_() for images in (IMAGES, IMAGES * 0.5))
    one, two = reward(first, PROMPTS).sum(), reward(second, PROMPTS).sum()
    two.backward()
    one.backward()
    expected = score_and_gradient(here, IMAGES, PROMPTS, torch.ones(3))[1]
    assert torch.equal(first.grad, expected)
    assert len(reward._child._kept) == 2
    del one, two
    reward(IMAGES, PROMPTS)
    assert not reward._child._kept


def test_an_alignment_follows_the_remote_gradient(network, here):
    run = [
        tta.align("a", backbone=GaussianMixture(), method=DATE(), reward=judge, scheduler=vp_scheduler(3))
        for judge in (network, lambda images, prompts: here(images, prompts))
    ]
    assert torch.equal(run[0].result.pixels, run[1].result.pixels)
    assert run[0].scores[0] > run[0].baseline.scores[0]


class TestRemote(RewardSuite):
    @pytest.fixture(scope="class")
    def reward(self):
        """A reward that is registered in that environment, by its name."""
        reward = tta.remote_reward(sys.executable, "brightness")
        yield reward
        reward.close()

    def test_a_registered_name_has_its_card(self, reward):
        assert reward.card == Brightness.card
        assert torch.equal(reward(IMAGES, PROMPTS), Brightness()(IMAGES, PROMPTS))


def test_facts_are_sent_with_the_prompts(chosen):
    reward = chosen
    prompts = [tta.Prompt("by_target", target=target) for target in ("ab", "abcd", "a")]
    torch.testing.assert_close(reward(IMAGES, prompts), IMAGES.mean((1, 2, 3)) * torch.tensor([2.0, 4, 1]))
    with pytest.raises(RewardError, match="fact 'reference' is a Tensor, which cannot be sent"):
        reward(IMAGES[:1], [tta.Prompt("x", reference=IMAGES[0])])


def test_a_reward_without_a_gradient_has_none_in_this_process(chosen):
    assert not chosen(IMAGES.clone().requires_grad_(), to("rounded")).requires_grad
    with pytest.raises(IncompatibleError, match="do not depend differentiably"):
        tta.align("rounded", backbone=GaussianMixture(), method=DATE(), reward=chosen, scheduler=vp_scheduler(2))


def test_printed_text_does_not_disturb_the_messages(chosen):
    assert torch.equal(chosen(IMAGES, to("chatty")), IMAGES.mean((1, 2, 3)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("failing", r"raised ValueError: no such thing(.|\n)*in failing"),
        ("exhausted", r"ran out of memory: score fewer images"),
        ("leaving", r"ended with exit code 7\. Its last output: (.|\n)*last words"),
        ("listed", r"returned list, not a tensor"),
    ],
)
def test_failures_have_the_childs_message_and_the_next_call_works(chosen, name, message):
    with pytest.raises(RewardError, match=message):
        chosen(IMAGES, to(name))
    assert torch.equal(chosen(IMAGES, to("chatty")), IMAGES.mean((1, 2, 3)))


def test_a_hanging_child_is_stopped_and_its_output_is_in_the_error(remote):
    reward = remote("Hanging")
    reward._child._timeout = 0.1  # after its start, which may take long
    with pytest.raises(RewardError, match=r"did not reply within 0\.1 s and was stopped(.|\n)*going to sleep"):
        reward(IMAGES, PROMPTS)


def test_a_killed_child_is_reported_and_replaced(network, here):
    reward = network
    images = IMAGES.clone().requires_grad_()
    scores = reward(images, PROMPTS)
    os.kill(reward._child._process._child.pid, signal.SIGKILL)
    with pytest.raises(RewardError, match=r"killed by SIGKILL, which the system sends if memory runs out|lost the graph"):
        scores.sum().backward()
    assert torch.equal(reward(IMAGES, PROMPTS), here(IMAGES, PROMPTS))
    scores = reward(images, PROMPTS)
    reward.restart()
    with pytest.raises(RewardError, match="lost the graph"):
        scores.sum().backward()
    scores, child = reward(images, PROMPTS), reward._child._process._child
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with pytest.raises(RewardError, match="lost the graph"):
        scores.sum().backward()


def test_the_child_ends_with_the_reward(elsewhere):
    reward = tta.remote_reward(elsewhere, "rewards_there:chatty")
    child = reward._child._process._child
    del reward
    child.wait(600)  # raises an error if it is still running


def test_threads_take_turns(network, here):
    reward, found = network, {}
    expected = {row: here(IMAGES[row : row + 1], ["a"]) for row in range(3)}

    def ask(row):
        found[row] = reward(IMAGES[row : row + 1], ["a"])

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[row], expected[row]) for row in range(3))


@pytest.mark.parametrize(
    ("python", "factory", "message"),
    [
        ("/nowhere/python", "a:b", "/nowhere/python could not be started"),
        pytest.param(
            None,
            "no_such_module:Reward",
            "could not be made: ModuleNotFoundError: No module named 'no_such_module'",
            marks=pytest.mark.slow,
        ),
        pytest.param(None, "rewards_there:Missing", "could not be made: AttributeError", marks=pytest.mark.slow),
        (None, "rewards_there:Unmade", "could not be made: RuntimeError: weights are missing"),
        ("/bin/false", "a:b", r"did not start: ended with exit code 1"),
    ],
)
def test_a_child_that_cannot_start_gives_the_reason(elsewhere, python, factory, message):
    with pytest.raises(LoadError, match=message):
        tta.remote_reward(python or elsewhere, factory)


TOWER = """
import torch, transformers
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

class Tower:
    def __init__(self):
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
        config = CLIPVisionConfig(**sizes, image_size=16, patch_size=8, projection_dim=8)
        model = CLIPVisionModelWithProjection(config).eval()
        with torch.no_grad():
            for name, parameter in sorted(model.named_parameters()):
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))) * 0.2)
        self.networks, self.version = {"vision": model}, transformers.__version__

    @property
    def card(self):
        class Card:
            unit, range, version, differentiable, facts = "units", None, self.version, True, ()
        return Card()

    def __call__(self, images, prompts):
        return self.networks["vision"](pixel_values=images).image_embeds.square().mean(1)
"""


@pytest.mark.slow
def test_a_network_of_another_transformers_version(tmp_path):
    """A real second environment with another version of transformers: the same weights give the same scores and gradients, up to
    rounding."""
    venv.create(tmp_path, symlinks=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    (packages / "tower_there.py").write_text(TOWER)
    (packages / "zz_installed.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")
    wanted = ["transformers==4.57.6", "huggingface-hub<1", "tokenizers<0.23"]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packages), *wanted]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no package index: {done.stderr[-200:]}")
    namespace = {}
    exec(compile(TOWER, "tower", "exec"), namespace)
    here, reward = namespace["Tower"](), tta.remote_reward(tmp_path, "tower_there:Tower")
    try:
        assert reward.card.version == "4.57.6" != here.version
        images = torch.rand(3, 3, 16, 16)
        (expected, one), (found, other) = (score_and_gradient(judge, images, PROMPTS, WEIGHTS) for judge in (here, reward))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
        assert (other - one).norm() < 1e-4 * one.norm()
    finally:
        reward.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"settings": {"a": object()}}, "must be plain data"),
        ({"timeout": 0.0}, "takes seconds above 0"),
        ({"timeout": -1.0}, "takes seconds above 0"),
        ({"timeout": float("nan")}, "takes seconds above 0"),
    ],
)
def test_arguments_that_no_process_can_use_are_refused_before_it_starts(changes, said):
    with pytest.raises(InputError, match=said):
        RemoteReward("no-python", "brightness", **changes)
