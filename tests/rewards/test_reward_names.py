"""The names that this plugin registers; listing them imports no large package."""

import importlib
import subprocess
import sys

import pytest

from tta_plugins import rewards

REGISTERED = {}
rewards.tta_register_rewards(lambda name, target, summary="", pipelines=(): REGISTERED.update({name: (target, summary)}))
PREFERENCE = {"clip", "pickscore", "hpsv2", "hpsv2.1", "imagereward", "aesthetic"}
PIXELS = {"darkness", "brightness", "contrast", "colourfulness", "sharpness", "jpeg", "incompressibility"}
PIXELS |= {"saturation", "edge-density", "colour-entropy", "high-frequency"}
LANGUAGE = {"vqascore", "soft-tifa", "hpsv3", "siglip2", "cyclereward", "clip-flant5", "mps"}
OTHERS = {"aesthetic-v2.5", "safety", "dino", "ocr", "remote"}


def test_names():
    assert REGISTERED.keys() == PREFERENCE | PIXELS | LANGUAGE | OTHERS


@pytest.mark.parametrize("name", REGISTERED)
def test_each_name_has_a_class_and_a_summary(name):
    target, summary = REGISTERED[name]
    module, _, attribute = target.partition(":")
    loaded = getattr(importlib.import_module(module), attribute)
    assert isinstance(loaded, type)
    assert loaded.__doc__
    assert 10 < len(summary) < 80
    if name in PIXELS:
        assert callable(loaded())


def test_registering_imports_no_torch():
    code = "import sys, tta_plugins.rewards as r; r.tta_register_rewards(lambda *_: None); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
