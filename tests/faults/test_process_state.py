"""A run's numbers depend on its arguments alone, and not on torch's settings or on a reward that changes its arguments."""

import threading

import pytest
import torch
from faulty import aligned, brightness
from torch import nn

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError, RewardError
from tta_core.protocols.reward import Card
from tta_core.running.frozen_networks import frozen_networks, on_device, one_policy_at_a_time
from tta_core.testing import GaussianMixture, NetworkedMixture, vp_scheduler
from tta_core.values.schedules import Every, Steps
from tta_plugins.methods.baselines import BestOfN, Fixed
from tta_plugins.methods.date import DATE


@pytest.fixture(scope="module")
def expected():
    return aligned().result.pixels


SETTINGS = {
    "default device": (lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)),
    "default dtype": (lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)),
    "half by default": (lambda: torch.set_default_dtype(torch.bfloat16), lambda: torch.set_default_dtype(torch.float32)),
    "no grad": (lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False)),
    "seed": (lambda: torch.manual_seed(11), lambda: None),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_process(name, expected, count):
    count("tried")
    put, back = SETTINGS[name]
    before, parts = torch.get_default_dtype(), {"backbone": GaussianMixture(), "scheduler": vp_scheduler(4)}
    put()
    try:
        dtype = torch.get_default_dtype()
        pixels = aligned(**parts).result.pixels
        assert torch.get_default_dtype() == dtype, "not restored"
    finally:
        back()
    assert torch.get_default_dtype() == before
    assert torch.equal(pixels, expected)
    count("survived")


def test_autocast(expected, count):
    count("tried")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(aligned().result.pixels, expected)
    count("survived")


@pytest.mark.parametrize("transform", [torch.vmap, torch.func.grad], ids=["vmap", "grad"])
def test_inside_a_function_transform(transform, count):
    def call(x):
        aligned()
        return x.sum()

    count("tried")
    with pytest.raises(InputError, match=r"Cannot align inside a function that torch transforms"):
        transform(call)(torch.zeros(2))
    count("survived")


def test_networks_that_were_loaded_under_inference_mode_are_refused_by_name(count):
    count("tried")
    with torch.inference_mode():
        backbone = NetworkedMixture()
    with pytest.raises(InputError, match=r"weights of Sequential were loaded under torch.inference_mode"):
        aligned(backbone=backbone)
    count("survived")


def test_embeddings_that_were_made_under_inference_mode(count):
    count("tried")
    with torch.inference_mode():
        text = GaussianMixture().encode(("a red circle",), 8, 8)
    mode, plain = (aligned(text=given).result.pixels for given in (text, text.map(lambda tensor: torch.tensor(tensor.tolist()))))
    assert torch.equal(mode, plain)
    count("survived")


def test_a_prepared_run_does_not_depend_on_settings_that_changed_since(expected, count):
    count("tried")
    parts = {"backbone": GaussianMixture(), "scheduler": vp_scheduler(4), "method": DATE(updates=Every(1)), "reward": brightness}
    with tta.prepare("a red circle", **parts) as prepared:
        with torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
            pixels = tta.run(prepared).result.pixels
        with torch.inference_mode(), pytest.raises(InputError, match="inference_mode"):
            tta.run(prepared)
        with torch.no_grad(), pytest.raises(InputError, match=r"under torch.no_grad"):
            list(prepared.method.align(prepared.problem))
    assert torch.equal(pixels, expected)
    with pytest.raises(InputError, match=r"context of tta_core.prepare that made it has ended"):
        tta.run(prepared)
    count("survived")


def test_a_reward_that_changes_its_arguments(count):
    def spoiling(images, prompts):
        scores = images.mean((1, 2, 3)).clone()
        with torch.no_grad():
            images.zero_()
        return scores

    count("tried")
    assert torch.equal(aligned(reward=spoiling, method=BestOfN(3)).result.pixels, aligned(method=BestOfN(3)).result.pixels)
    count("survived")


BAD_SCORES = {
    "float64 that overflows": lambda images: torch.full((len(images),), 1e300, dtype=torch.float64),
    "sparse": lambda images: images.mean((1, 2, 3)).detach().to_sparse(),
    "meta": lambda images: torch.zeros(len(images), device="meta"),
    "integers": lambda images: torch.zeros(len(images), dtype=torch.int64),
    "list": lambda images: [0.0] * len(images),
    "complex": lambda images: torch.zeros(len(images), dtype=torch.complex64),
}


@pytest.mark.parametrize("name", BAD_SCORES)
def test_invalid_scores(name, count):
    count("tried")

    class Bad:
        card = Card(differentiable=False)

        def __call__(self, images, prompts):
            return BAD_SCORES[name](images)

    with pytest.raises(RewardError, match="Bad"):
        aligned(reward=Bad(), method=Fixed())
    count("survived")


def test_overlapping_runs_restore_the_networks(count):
    count("tried")
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    network[0].bias.requires_grad_(False)
    inside, leave = threading.Event(), threading.Event()

    def other():
        with frozen_networks([network]):
            inside.set()
            leave.wait()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert inside.wait(600)
        with frozen_networks([network]):
            pass
        assert not network.training, "the other still has it"
        assert not network[0].weight.requires_grad
    finally:
        leave.set()
        thread.join()
    assert network.training
    assert network[1].training
    assert network[0].weight.requires_grad
    assert not network[0].bias.requires_grad
    count("survived")


def test_a_run_with_a_policy_does_not_share_its_networks(count):
    count("tried")
    network = nn.Linear(2, 2)
    alone = one_policy_at_a_time
    with alone([network], []), alone([network], []):
        refused = pytest.raises(IncompatibleError, match=r"Cannot use Linear with 'bf16' while another run uses it")
        with refused, alone([network], ["bf16"]):
            pass
    with alone([network], ["bf16"]), pytest.raises(IncompatibleError, match="with 'bf16'"), alone([network], []):
        pass
    with alone([network], ["bf16"]):
        pass
    count("survived")


def test_threads_on_one_backbone_give_the_results_of_one(expected, count):
    count("tried")
    results = {}

    def run(name):
        results[name] = aligned().result.pixels

    threads = [threading.Thread(target=run, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(torch.equal(pixels, expected) for pixels in results.values())
    count("survived")


@pytest.mark.parametrize(
    ("reward", "why"),
    [(lambda images, prompts: (images * 255).round().mean((1, 2, 3)), "exactly zero"), (brightness, "select none")],
    ids=["rounded", "no step"],
)
def test_updates_without_effect_are_reported(reward, why, count):
    count("tried")
    updates = Every(1) if why == "exactly zero" else Steps((99,))
    with pytest.warns(UserWarning, match=rf"DATE (changed nothing|made no update).*{why}"):
        done = aligned(method=DATE(updates=updates), reward=reward, scheduler=vp_scheduler(4))
    assert why in done.manifest["remarks"][0]
    assert torch.equal(done.result.pixels, done.baseline.pixels)
    count("survived")


def test_a_network_without_values_is_named():
    network = torch.nn.Linear(3, 1).to("meta")
    with pytest.raises(InputError, match="weights of Linear have no values"), on_device([network], torch.device("cpu")):
        pass
