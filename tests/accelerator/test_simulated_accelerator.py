"""On a simulated accelerator every family and method gives the CPU's numbers, every tensor is on the right device, and waits are
counted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from on_device import SLOW

FOLDER = Path(__file__).parent
# The collector of garbage would read the half a million objects of the imports several times.
SCRIPT = "import gc; gc.disable(); import on_device; on_device.main()"


@pytest.fixture(scope="module")
def found(request):
    """The output of the script, by case. It runs in its own process, since the device stays registered."""
    command = [sys.executable, "-c", SCRIPT, *(["all"] if request.config.getoption("--runslow") else [])]
    finished = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=3000, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
    return {line["case"]: line for line in map(json.loads, finished.stdout.splitlines())}


def test_every_method_and_every_family_gives_the_cpus_numbers(found):
    cases = {
        case: line["apart"] for case, line in found.items() if case.split()[0] in ("sd", "sdxl", "sd3", "flux-schnell", "pixart-alpha")
    }
    assert len(cases) == 9
    assert {case: apart for case, apart in cases.items() if apart > 1e-4} == {}


@pytest.mark.parametrize("policy", ["checkpointing", "frozen-convolutions", "segments", "chunked", "channels-last", "offload"])
def test_exact_policies_give_the_cpus_numbers(found, policy):
    assert found[f"policy {policy}"]["apart"] < 1e-4


@pytest.mark.parametrize("policy", ["bf16", "fp16"])
def test_half_precision_is_cast_and_undone(found, policy):
    assert 0 < found[f"policy {policy}"]["apart"] < 0.2
    assert found[f"restored after {policy}"]["where"] == ["simulated:0"]


EXACT = ("none", "checkpointing", "frozen-convolutions", "segments", "chunked", "channels-last", "offload", "none of them afterwards")
REFUSED = {
    ("sequential", "frozen-convolutions"): "each has its own forward",
    ("sequential", "offload"): "sequential offloading moves them already",
    ("sequential", "bf16"): "a network has none in memory",
    ("groups", "frozen-convolutions"): "each has its own forward",
    ("groups", "segments"): "BestOfN declares none",
    ("layerwise casting", "segments"): "BestOfN declares none",
    ("layerwise casting", "bf16"): "layerwise casting casts them too",
}


PAIRS = [
    pytest.param(kind, policy, marks=[pytest.mark.slow] if policy in SLOW[kind] else []) for kind in SLOW for policy in [*EXACT, "bf16"]
]


@pytest.mark.parametrize(("kind", "policy"), PAIRS)
def test_an_offloaded_pipeline_gives_the_cpus_numbers_or_an_error_with_every_policy(found, kind, policy):
    case = found[f"{kind}: {policy}"]
    if (kind, policy) in REFUSED:
        assert REFUSED[kind, policy] in case["refused"]
    else:
        assert case["apart"] < (1e-4 if policy in EXACT else 0.2)


def test_an_inner_step_waits_once_and_copies_nothing(found):
    inner = found["inner steps"]
    assert inner["count"] >= 4
    assert (inner["waits"], inner["copies"]) == (1, 0)


def test_memory_is_counted_and_limited(found):
    assert found["peaks"]["cut"] < found["peaks"]["whole"]
    assert found["too small"]["is_own"], found["too small"]
    assert found["segments fit"]["finite"]
