"""Options, markers and the hypothesis profile of this project's tests."""

import gc
import importlib.metadata
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import settings

import annotation_checks

annotation_checks.install()

FAULTS = Counter()
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

pytest_plugins = ["tta_core.testing.profiles"]


def pytest_addoption(parser):
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow")
    parser.addoption("--weights", metavar="DIR", help="folder with real weights, for the tests marked weights")
    parser.addoption("--comfyui", metavar="COMMAND", help="'PYTHON PATH/main.py' of a ComfyUI, for the tests marked comfyui")


def pytest_configure(config):
    # Each run's record asks for eight, which takes 30 ms, and installed packages do not change during the tests.
    importlib.metadata.version = cache(importlib.metadata.version)
    torch.set_num_threads(1)  # tests run in parallel processes, whose threads would wait for each other
    if not config.getoption("--hypothesis-profile", None):
        settings.load_profile("fast")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """What is imported and collected stays until the end: the collector of garbage need not read 700,000 objects, 0.7 s each time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config, items):
    wanting = {
        "slow": not config.getoption("--runslow") and "slow: give --runslow",
        "weights": not config.getoption("--weights") and "needs real weights: give --weights DIR",
        "comfyui": not config.getoption("--comfyui") and "needs ComfyUI: give --comfyui 'PYTHON PATH/main.py'",
        "browser": not any(map(shutil.which, BROWSERS)) and f"needs one of {', '.join(BROWSERS)}: apt install chromium",
        "gpu": not torch.cuda.is_available() and "needs a CUDA device",
    }
    for item in items:
        for marker, reason in wanting.items():
            if reason and marker in item.keywords:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def weights_dir(request):
    """The folder given by `--weights`."""
    given = request.config.getoption("--weights")
    if given is None:
        pytest.skip("needs real weights: give --weights DIR")
    folder = Path(given)
    if not folder.is_dir():
        pytest.fail(f"--weights {given}: there is no such folder")
    return folder


@pytest.fixture(scope="session")
def shapes():
    """The embedded model, loaded once."""
    from tta_plugins.shapes.registered import shapes

    return shapes()


@pytest.fixture
def small():
    """Arguments of a run on two convolutional networks, whose activations need much more memory than latents and images do."""
    from torch import nn

    from tta_core.testing import NetworkedMixture, vp_scheduler
    from tta_core.testing.problems import Likeness

    def network(channels):
        layers = [nn.Conv2d(channels, 96, 3, padding=1)]
        for _ in range(3):
            layers += [nn.GroupNorm(4, 96), nn.SiLU(), nn.Conv2d(96, 96, 3, padding=1)]
        return nn.Sequential(*layers, nn.Conv2d(96, channels, 3, padding=1))

    backbone = NetworkedMixture(denoiser=network(4), decoder=network(3))
    return {"backbone": backbone, "reward": Likeness(), "scheduler": vp_scheduler(3, 1.0), "guidance": 2.0, "height": 24, "width": 24}


def pytest_runtest_logreport(report):
    """Collects the counts of the fault-injection tests, also from the processes of pytest-xdist."""
    if report.when == "teardown":
        for seam, tried, survived in (value for name, value in report.user_properties if name == "faults"):
            FAULTS[seam, "tried"] += tried
            FAULTS[seam, "survived"] += survived


def pytest_terminal_summary(terminalreporter):
    if FAULTS:
        tried, survived = (sum(count for (_, kind), count in FAULTS.items() if kind == what) for what in ("tried", "survived"))
        each = ", ".join(f"{seam} {FAULTS[seam, 'survived']}/{FAULTS[seam, 'tried']}" for seam in sorted({seam for seam, _ in FAULTS}))
        terminalreporter.write_line(f"faults injected: {tried} tried, {survived} survived ({each})")
