"""A policy that would have no effect is refused by name, with the reason."""

import pytest
from torch import nn

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.memory import Setup
from tta_core.protocols.variables import Noise
from tta_core.running.prepare import prepare
from tta_core.solving.estimators import Hybrid2, ZerothOrder
from tta_core.testing import GaussianMixture, NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_plugins.memory.channels_last import ChannelsLast
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked, VAESlicing
from tta_plugins.memory.compiled import Compiled
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.offload import Offload
from tta_plugins.memory.precision import BF16, FP16
from tta_plugins.memory.segments import Segments
from tta_plugins.memory.update_schedule import UpdateFraction, UpdateWindow
from tta_plugins.methods.baselines import Fixed
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.methods.sequential import Sequential


def setup(backbone=None, method=None):
    return Setup(backbone or GaussianMixture(), vp_scheduler(3), Likeness(), method or DATE())


NETWORKLESS = [FP16(), BF16(), Checkpointing(), FrozenConvolutions(), Compiled(), ChannelsLast(), Offload()]


@pytest.mark.parametrize("policy", NETWORKLESS, ids=lambda policy: type(policy).__name__)
def test_without_networks(policy):
    with pytest.raises(IncompatibleError, match=rf"Cannot use {type(policy).__name__}.* with GaussianMixture and Likeness.*because"):
        policy(setup())


@pytest.mark.parametrize("policy", [UpdateFraction(), UpdateWindow()], ids=lambda policy: type(policy).__name__)
def test_without_a_schedule_of_updates(policy):
    with pytest.raises(IncompatibleError, match="DNO has no `updates` schedule"):
        policy(setup(method=DNO()))


CHAINLESS = [Fixed(), DATE(), NullTTA(), DATE(variable=Noise()), DNO(estimator=ZerothOrder()), Sequential((DATE(), Fixed()))]


@pytest.mark.parametrize("method", CHAINLESS, ids=repr)
def test_segments_without_a_differentiated_chain(method):
    with pytest.raises(IncompatibleError, match=rf"Cannot use Segments\(every=1\) .* because .* {type(method).__name__} declares none"):
        Segments()(setup(method=method))


@pytest.mark.parametrize("method", [DNO(), DNO(estimator=Hybrid2()), Sequential((DATE(), DNO()))], ids=repr)
def test_segments_of_a_differentiated_chain(method):
    assert Segments()(setup(method=method)).segment == 1


def test_a_named_policy_is_refused_before_the_first_step():
    with pytest.raises(IncompatibleError, match=r"Segments.*DATE declares none"), prepare("a", method="date", memory="segments"):
        pytest.fail("it was prepared")


def test_offload_where_everything_is_in_host_memory_already():
    with pytest.raises(IncompatibleError, match="Offload"):
        Offload()(setup(NetworkedMixture()))


MEANINGLESS = [
    (Chunked, {"decoder": 0}),
    (Chunked, {"denoiser": None, "decoder": None, "reward": None}),
    (VAESlicing, {"rows": 0}),
    (Segments, {"every": 0}),
    (LookAhead, {"scale": 0.0}),
    (LookAhead, {"scale": 1.5}),
    (LookAhead, {"scale": 0.5, "autoencoder": nn.Identity()}),
]


@pytest.mark.parametrize(("policy", "settings"), MEANINGLESS, ids=str)
def test_settings_without_a_meaning(policy, settings):
    with pytest.raises(InputError, match=rf"{policy.__name__}\(.*cannot run"):
        policy(**settings)
