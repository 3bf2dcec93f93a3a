"""The variables of the package keep the laws."""

import pytest

from tta_core import Noise, NullEmbedding, TextEmbedding
from tta_core.errors import InputError
from tta_core.testing import VariableSuite


class TestText(VariableSuite):
    @pytest.fixture(params=[False, True], ids=["tokens", "pooled"])
    def variable(self, request):
        return TextEmbedding(pooled=request.param)


class TestNull(VariableSuite):
    steers = frozenset({"null"})

    @pytest.fixture(params=[False, True], ids=["tokens", "pooled"])
    def variable(self, request):
        return NullEmbedding(pooled=request.param)


class TestNoise(VariableSuite):
    steers = frozenset({"noise"})

    @pytest.fixture(params=[Noise(), Noise(last=2), Noise(last=99), Noise(first=1), Noise(first=99)], ids=repr)
    def variable(self, request):
        return request.param


def test_noise_takes_first_or_last_but_not_both():
    with pytest.raises(InputError, match="one of the two"):
        Noise(last=1, first=1)


class TestProduct(VariableSuite):
    steers = frozenset({"text", "null", "noise"})

    @pytest.fixture
    def variable(self):
        return NullEmbedding(pooled=True) & TextEmbedding() & Noise(last=1)
