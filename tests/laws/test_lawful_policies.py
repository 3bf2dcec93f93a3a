"""Every memory policy of the package that works without a GPU keeps the laws."""

import pytest

from tta_core.plugins.discovery import plugins
from tta_core.testing import MemoryPolicySuite
from tta_core.values.schedules import Every
from tta_plugins.memory.auto import Auto
from tta_plugins.memory.channels_last import ChannelsLast
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked, VAESlicing
from tta_plugins.memory.compiled import Compiled
from tta_plugins.memory.counted import Counted
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.frozen_encoder import FrozenEncoder
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.offload import Offload
from tta_plugins.memory.precision import BF16, FP16
from tta_plugins.memory.segments import Segments
from tta_plugins.memory.update_schedule import UpdateFraction, UpdateWindow
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO

EXACT = [Checkpointing(), FrozenConvolutions(), Chunked(), VAESlicing(), ChannelsLast(), Counted()]
ON_PREDICTIONS = [*EXACT, FP16(), BF16(), LookAhead(), Auto(10**12)]
ON_UPDATES = [UpdateFraction(0.5), UpdateWindow()]
ON_CHAINS = [Segments(), Segments("sqrt")]


def test_every_policy_is_tested():
    listed = {type(policy) for policy in (*ON_PREDICTIONS, *ON_UPDATES, *ON_CHAINS, Compiled())}
    assert listed == {entry.load() for entry in plugins().registry.entries("memory")} - {
        Offload,
        FrozenEncoder,
    }  # tests/memory: need a device, a U-Net


class TestOnPredictions(MemoryPolicySuite):
    @pytest.fixture(params=ON_PREDICTIONS, ids=lambda policy: type(policy).__name__)
    def policy(self, request):
        return request.param

    @pytest.fixture
    def method(self):
        return DATE(updates=Every(2))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile itself requires it
class TestCompiled(MemoryPolicySuite):
    @pytest.fixture
    def policy(self):
        return Compiled(backend="eager")

    @pytest.fixture
    def method(self):
        return DATE(updates=Every(2))


class TestOnUpdates(MemoryPolicySuite):
    approximates_method = True

    @pytest.fixture(params=ON_UPDATES, ids=lambda policy: type(policy).__name__)
    def policy(self, request):
        return request.param

    @pytest.fixture
    def method(self):
        return DATE()


class TestOnChains(MemoryPolicySuite):
    @pytest.fixture(params=ON_CHAINS, ids=repr)
    def policy(self, request):
        return request.param

    @pytest.fixture
    def method(self):
        return DNO(2, shuffles=3)
