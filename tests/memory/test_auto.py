"""memory="auto" and sizes: the first choice that fits, its reason, and the retry if the device runs out of memory even so."""

import pytest
import torch

import tta_core
from tta_core.errors import InputError, OutOfMemoryError
from tta_core.plugins import resolve
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import Card
from tta_core.testing import GaussianMixture, NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values.schedules import Every
from tta_plugins.cost.memory_profile import MemoryProfile, memory_profile
from tta_plugins.memory.auto import Auto
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO


@pytest.mark.parametrize(
    ("size", "limit"), [("16GB", 16 * 10**9), ("16GiB", 16 * 2**30), ("1.5GB", 15 * 10**8), ("800MB", 8 * 10**8)], ids=str
)
def test_a_size_is_a_limit(size, limit):
    assert resolve.policies(size) == (Auto(limit),)


def run(backbone, *memory, **options):
    options = options if "scheduler" in options else {"steps": 2, **options}
    return tta_core.align("a red circle", backbone=backbone, method=DATE(updates=Every(2)), memory=memory, **options)


@pytest.fixture
def sized(monkeypatch):
    """Predicts without running anything: a gigabyte, less what each policy saves in this test. Returns the predictions that were
    requested."""
    asked = []

    def memory_profile(setup):
        networks = setup.backbone.networks.values()
        half = all(tensor.dtype == torch.bfloat16 for network in networks for tensor in network.parameters())
        checkpointed = sum("forward" in vars(network) for network in networks)
        chunked = getattr(setup.backbone, "predicting", None) is not None
        asked.append((half, checkpointed, chunked))
        return MemoryProfile(0, {"method": (1000 - 100 * checkpointed - 300 * chunked) * 10**6 // (1 + half)})

    monkeypatch.setattr("tta_plugins.memory.auto.memory_profile", memory_profile)
    return asked


def setup_for(policy, method=None):
    backbone = NetworkedMixture()
    setup = Setup(backbone, vp_scheduler(3), Likeness(), method or DATE(), height=8, width=8, guidance=2.0)
    with setup.undo:
        under = policy(setup)
        dtypes = {tensor.dtype for tensor in backbone.denoiser.parameters()}
    assert {tensor.dtype for tensor in backbone.denoiser.parameters()} == {torch.float32}
    return under.remarks[-1], dtypes


def test_more_memory_gives_fewer_policies(sized):
    roomy, _ = setup_for(Auto(2 * 10**9))
    assert "fastest within 2 GB: frozen-convolutions 1 GB predicted" in roomy
    narrow, _ = setup_for(Auto(10**9))
    assert "frozen-convolutions + checkpointing (components=('decoder',)) 0.9 GB predicted; too much: frozen-convolutions 1 GB" in narrow
    assert len(sized) == 3


def test_exact_choices_come_before_half_precision(sized):
    exact, dtypes = setup_for(Auto(6 * 10**8))
    assert "checkpointing + chunked 0.5 GB predicted" in exact
    assert dtypes == {torch.float32}
    halved, dtypes = setup_for(Auto(5 * 10**8))
    assert "bf16 + frozen-convolutions + checkpointing (components=('decoder',)) 0.45 GB predicted" in halved
    assert dtypes == {torch.bfloat16}


def test_a_differentiated_chain_gets_segments(sized):
    assert "segments" not in setup_for(Auto(6 * 10**8))[0]
    assert "frozen-convolutions + segments + checkpointing + chunked 0.5 GB" in setup_for(Auto(6 * 10**8), DNO(1))[0]


def test_nothing_fits(sized):
    with pytest.raises(OutOfMemoryError, match=r"No choice .* fits 0.005 GB. Predicted: frozen-convolutions 1 GB"):
        setup_for(Auto(5 * 10**6))
    assert sized[-1] == (True, 2, True)


def test_the_choice_is_in_the_record(shapes):
    assert "auto chose the fastest within 1 GB: frozen-convolutions 0.0" in run(shapes, "1GB").manifest["memory"][-1]


@pytest.mark.slow
def test_an_exact_choice_changes_nothing(shapes):
    plain, narrow = run(shapes), run(shapes, "28MB")
    assert "too much: frozen-convolutions 0.0" in narrow.manifest["memory"][-1]
    torch.testing.assert_close(narrow.result.pixels, plain.result.pixels, atol=1e-3, rtol=1e-3)


def test_a_backbone_without_networks_is_not_changed():
    setup = Setup(GaussianMixture(), vp_scheduler(3), Likeness(), DATE(), height=8, width=8, guidance=2.0)
    under = Auto(10**9)(setup)
    assert "chunked" not in under.remarks[-1]
    assert under.backbone is setup.backbone


class Full:
    """A reward on a device that is full for the first so many calls."""

    card = Card(differentiable=True)

    def __init__(self, times):
        self.times, self.seen = times, 0

    def __call__(self, images, prompts):
        if images.shape[0] == 1 and images.requires_grad and type(images) is torch.Tensor:
            self.seen += 1
            if self.seen <= self.times:
                raise torch.OutOfMemoryError("full")
        return images.mean((1, 2, 3))


def test_auto_runs_again_with_less_memory_and_reports_it(sized):
    judge = Full(times=2)
    tried = run(NetworkedMixture(), Auto(2 * 10**9), reward=judge, scheduler=vp_scheduler(2, 0.0))
    assert tried.cost.retries == 2
    assert judge.seen > 2
    assert tried.manifest["memory"][0].startswith("Auto(limit=2000000000, share=0.32")
    assert tried.record()["cost"]["retries"] == 2


def test_auto_stops_after_its_retries(sized):
    with pytest.raises(OutOfMemoryError, match=r"No choice|ran out of memory"):
        run(NetworkedMixture(), Auto(2 * 10**9), reward=Full(times=10**9), scheduler=vp_scheduler(2, 0.0))


_ADVICE = r"cpu ran out of memory. .* to need 0.0.* Try memory='auto'.*memory=\['frozen-convolutions', 'checkpointing', 'chunked'\]"


def test_another_run_gets_one_message(small):
    with pytest.raises(OutOfMemoryError, match=_ADVICE):
        run(small["backbone"], reward=Full(times=10**9), scheduler=vp_scheduler(2, 0.0))


def test_a_limit_of_zero_is_refused():
    with pytest.raises(InputError, match="cannot choose"):
        Auto(0)


def test_a_prediction_grows_with_the_batch(small):
    backbone, size = small["backbone"], {"height": 24, "width": 24, "guidance": 2.0}
    one, four = (
        memory_profile(Setup(backbone, vp_scheduler(2, 0.0), Likeness(), DATE(), prompts=("a",) * rows, **size)) for rows in (1, 4)
    )
    assert one.parameters == four.parameters
    assert 3 < four.phases["method"] / one.phases["method"] < 5
