"""The shipped variables obey the laws."""

import pytest

from tta_core import Noise, NullEmbedding, TextEmbedding
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

    @pytest.fixture(params=[None, 2, 99])
    def variable(self, request):
        return Noise(last=request.param)


class TestProduct(VariableSuite):
    steers = frozenset({"text", "null", "noise"})

    @pytest.fixture
    def variable(self):
        return NullEmbedding(pooled=True) & TextEmbedding() & Noise(last=1)
