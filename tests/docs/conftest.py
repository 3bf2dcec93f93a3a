"""Runs of the documentation's code read the embedded model from its files once."""

import copy
from functools import cache

import pytest

from tta_plugins.backbones.pretrained import load_pipeline

_read = cache(load_pipeline)


@pytest.fixture
def read_once(monkeypatch):
    """Each run on the embedded model gets a copy of the pipeline as it was first read, since reading takes three times as long."""
    monkeypatch.setattr("tta_plugins.shapes.registered.load_pipeline", lambda *given: copy.deepcopy(_read(*given)))
