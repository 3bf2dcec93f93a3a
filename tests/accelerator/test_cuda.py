"""On a CUDA device every family and method gives the CPU's numbers, and memory, waits and offloading are as documented."""

import gc
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "backbones"))
from on_device import METHODS
from stock import MAKERS
from tiny_pipelines import FAMILIES as FIRST
from tiny_pipelines import build
from tiny_transformers import FAMILIES as WITH_LANGUAGE_MODELS

import tta_core as tta
from tta_core.errors import IncompatibleError, OutOfMemoryError, TTAError
from tta_plugins.memory.compiled import Compiled
from tta_plugins.methods.null_tta import NullTTA

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]

EXACT = ("checkpointing", "frozen-convolutions", "segments", "chunked", "vae-slicing", "channels-last", "offload", "counted", "auto")


@pytest.fixture(autouse=True)
def full_float32(monkeypatch):
    """Switches TF32 off: by default convolutions on a GPU round their inputs to ten bits."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def aligned(pipe, method, memory=(), steps=2, family="", **options):
    given = {
        "backbone": MAKERS.get(family, lambda pipe: pipe)(pipe),
        "method": method,
        "reward": "brightness",
        "steps": steps,
        "height": 32,
        "width": 32,
        "memory": memory,
    }
    return tta.align("a red circle", **{**given, **options}, baseline=False)


def image_or_refusal(pipe, method, **options):
    try:
        return aligned(pipe, method, **options).result.pixels.cpu()
    except TTAError as error:
        return type(error)


def same(first, second, most=1e-4):
    if isinstance(first, type) or isinstance(second, type):
        return first is second
    return (first - second).abs().max().item() <= most


@pytest.mark.parametrize("family", [*FIRST, *WITH_LANGUAGE_MODELS])
def test_every_method_gives_the_cpus_numbers(family, tmp_path):
    pipe = build(family, tmp_path)
    expected = {name: image_or_refusal(pipe, method, family=family) for name, method in METHODS.items()}
    assert isinstance(expected["fixed"], torch.Tensor)
    pipe.to("cuda")
    found = {name: image_or_refusal(pipe, method, family=family) for name, method in METHODS.items()}
    assert [name for name in METHODS if not same(expected[name], found[name])] == []


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "qwen-image"])
@pytest.mark.parametrize("policy", EXACT)
def test_exact_policies_give_the_cpus_numbers(family, policy, tmp_path):
    pipe, method = build(family, tmp_path), METHODS["dno" if policy == "segments" else "date"]
    expected = aligned(pipe, method).result.pixels
    pipe.to("cuda")
    if policy == "frozen-convolutions" and isinstance(image_or_refusal(pipe, method, memory=policy), type):
        pytest.skip("no convolutions here")
    assert same(expected, aligned(pipe, method, policy).result.pixels.cpu())
    assert {parameter.device.type for part in (pipe.vae, pipe.text_encoder) for parameter in part.parameters()} == {"cuda"}


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux-dev", "qwen-image"])
@pytest.mark.parametrize("policy", ["bf16", "fp16"])
def test_half_precision_is_within_its_tolerance_and_undone(family, policy, tmp_path):
    pipe = build(family, tmp_path)
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    expected = aligned(pipe, METHODS["date"]).result.pixels
    pipe.to("cuda")
    before = [parameter.clone() for parameter in denoiser.parameters()]
    found = aligned(pipe, METHODS["date"], policy).result.pixels.cpu()
    assert 0 < (expected - found).abs().max() < 0.2
    assert all(torch.equal(first, second) for first, second in zip(before, denoiser.parameters(), strict=True))


OFFLOADS = {
    "model": lambda pipe: pipe.enable_model_cpu_offload(device="cuda"),
    "sequential": lambda pipe: pipe.enable_sequential_cpu_offload(device="cuda"),
    "group": lambda pipe: pipe.enable_group_offload(torch.device("cuda"), offload_type="leaf_level", use_stream=False),
    "group, stream": lambda pipe: pipe.enable_group_offload(torch.device("cuda"), offload_type="leaf_level", use_stream=True),
}
POLICIES = [(), "checkpointing", "frozen-convolutions", "segments", "chunked", "channels-last", "offload", "bf16"]


@pytest.mark.parametrize("family", ["sd", "sd3"])
@pytest.mark.parametrize("kind", ["model", "sequential"])
@pytest.mark.parametrize("policy", POLICIES)
def test_offloaded_pipelines_give_the_cpus_numbers_or_an_error(family, kind, policy, tmp_path):
    pipe, method = build(family, tmp_path), METHODS["dno" if policy == "segments" else "date"]
    expected = aligned(pipe, method).result.pixels
    OFFLOADS[kind](pipe)
    found = image_or_refusal(pipe, method, memory=policy)
    if kind == "model" or not policy or not isinstance(found, type):
        assert same(expected, found, 0.2 if policy == "bf16" else 1e-4)
    assert same(expected, aligned(pipe, method).result.pixels.cpu())  # the pipeline works as before the runs


@pytest.mark.parametrize("family", ["sd", "sd3"])
@pytest.mark.parametrize("kind", ["group", "group, stream"])
def test_group_offloading_works_only_for_methods_without_gradients(family, kind, tmp_path):
    pipe = build(family, tmp_path)
    expected = aligned(pipe, METHODS["best-of-n"]).result.pixels
    OFFLOADS[kind](pipe)
    assert same(expected, aligned(pipe, METHODS["best-of-n"]).result.pixels.cpu())
    with pytest.raises(IncompatibleError, match="group offloading"):
        aligned(pipe, METHODS["date"])
    assert same(expected, aligned(pipe, METHODS["best-of-n"]).result.pixels.cpu())


def test_an_inner_step_waits_once(tmp_path):
    pipe = build("sd", tmp_path).to("cuda")
    marks = []
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")

            def note(snapshot):
                marks.append((snapshot.index, sum("synchroniz" in str(wait.message) for wait in waits)))

            aligned(pipe, NullTTA(particles=2, inner_min=3, inner_max=3), steps=3, observers=[note])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    inner = [after[1] - before[1] for before, after in pairwise(marks) if before[0] == after[0] < 2]
    assert len(inner) >= 4
    assert max(inner) <= 1


@pytest.fixture
def small_device():
    """A function that limits this process to so many bytes of the device in all."""
    total = torch.cuda.get_device_properties(0).total_memory

    def leave(count):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(1.0, count / total))

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)


def peak_of(run):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    return torch.cuda.max_memory_reserved()


def test_a_chain_that_does_not_fit_is_an_error_with_advice_and_fits_in_segments(small_device, tmp_path):
    pipe = build("sd", tmp_path).to("cuda")
    sizes = {"steps": 24, "height": 512, "width": 512}
    whole = peak_of(lambda: aligned(pipe, METHODS["dno"], **sizes))
    cut = peak_of(lambda: aligned(pipe, METHODS["dno"], "segments", **sizes))
    assert cut < 0.7 * whole
    small_device((whole + cut) // 2)
    with pytest.raises(OutOfMemoryError, match="segments"):
        aligned(pipe, METHODS["dno"], **sizes)
    assert torch.isfinite(aligned(pipe, METHODS["dno"], "segments", **sizes).result.pixels).all()


def test_auto_tries_again_when_its_prediction_was_too_low(small_device, tmp_path):
    pipe = build("sd", tmp_path).to("cuda")
    sizes = {"steps": 24, "height": 512, "width": 512}
    whole = peak_of(lambda: aligned(pipe, METHODS["dno"], **sizes))
    cut = peak_of(lambda: aligned(pipe, METHODS["dno"], "segments", **sizes))
    small_device((whole + cut) // 2)
    found = aligned(pipe, METHODS["dno"], f"{2 * whole // 2**20}MiB", **sizes)  # the user's limit is below the memory of the device
    assert found.cost.retries >= 1
    assert torch.isfinite(found.result.pixels).all()


@pytest.mark.parametrize("mode", [None, "reduce-overhead"], ids=["default", "CUDA graphs"])
@pytest.mark.parametrize("name", ["date", "null-tta", "dno"])
def test_compiled_networks_give_the_same_numbers(mode, name, tmp_path):
    pipe = build("sd", tmp_path).to("cuda")
    expected = aligned(pipe, METHODS[name]).result.pixels
    assert same(expected, aligned(pipe, METHODS[name], Compiled(mode=mode)).result.pixels, 1e-3)
