"""Pipelines small enough to build in a test."""

from pathlib import Path

import pytest

from tta_plugins.backbones.pretrained import load_pipeline

TINY_SD = Path(__file__).parent.parent / "methods" / "fixtures" / "tiny-sd"


@pytest.fixture(scope="session")
def tiny_sd():
    """A random Stable Diffusion of 64 x 64 pixels, as a folder gives it."""
    return load_pipeline(str(TINY_SD))
