"""A script that runs in its own process on the simulated accelerator. It prints one JSON line for each case: with the argument `all`, also
for the slow ones."""

import copy
import gc
import json
import logging
import sys
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "backbones"))
from tiny_pipelines import build

import tta_core as tta
from tta_core.errors import IncompatibleError, OutOfMemoryError, TTAError
from tta_core.testing.accelerator import use_accelerator
from tta_core.testing.traffic import TRAFFIC, counted, limited
from tta_core.values.schedules import Every
from tta_plugins.methods.baselines import BestOfN, Fixed
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

FAMILIES = ("sd", "sdxl", "sd3", "flux-schnell", "pixart-alpha")
METHODS = {
    "fixed": Fixed(),
    "best-of-n": BestOfN(2),
    "date": DATE(updates=Every(2)),
    "null-tta": NullTTA(particles=2, inner_min=3, inner_max=3, kernel="sampler"),
    "dno": DNO(iterations=1, shuffles=2, eta=0.0),
}
# Of the runs with a policy. In one step of DATE the denoiser is called before and after the decoder; segments cut a chain of two steps.
STEPS = {"best-of-n": 1, "date": 1, "dno": 2}
POLICIES = ("checkpointing", "frozen-convolutions", "segments", "chunked", "channels-last", "bf16", "fp16", "offload")
# By the kind of offloading, policies that are tried only on request: both are tried with others too.
SLOW = {
    "model": (),
    "sequential": ("checkpointing", "chunked", "channels-last"),
    "groups": ("checkpointing", "channels-last"),
    "layerwise casting": ("chunked", "offload"),
}
OFFLOADING = {
    "model": lambda pipe, device: pipe.enable_model_cpu_offload(device=device),
    "sequential": lambda pipe, device: pipe.enable_sequential_cpu_offload(device=device),
    "groups": lambda pipe, device: pipe.enable_group_offload(device, torch.device("cpu"), offload_type="leaf_level"),
    "layerwise casting": lambda pipe, device: pipe.to(device),
}


def said(case, **found):
    print(json.dumps({"case": case, **found}), flush=True)


def aligned(pipe, method, memory=(), steps=2, **options):
    given = {"backbone": pipe, "method": method, "reward": "brightness", "steps": steps, "memory": memory, "height": 32, "width": 32}
    return tta.align("a red circle", **{**given, **options}, baseline=False)


def apart(first, second):
    return (first.result.pixels.cpu() - second.result.pixels.cpu()).abs().max().item()


def main():
    gc.freeze()
    gc.enable()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    device = use_accelerator()
    for family in FAMILIES:
        pipe = build(family, Path(tempfile.mkdtemp()))
        pipe.set_progress_bar_config(disable=True)
        methods = METHODS if family == "sd" else {"date": METHODS["date"]}
        on_cpu = {name: aligned(pipe, method) for name, method in methods.items()}
        pipe.to(device)
        for name, method in methods.items():
            said(f"{family} {name}", apart=apart(on_cpu[name], aligned(pipe, method)))
        if family == "sd":
            waits(pipe)
            memory(pipe)
            pipe.to("cpu")
            on_cpu = {name: aligned(pipe, METHODS[name], steps=STEPS[name]) for name in STEPS}
            for kind in OFFLOADING:
                offloaded(kind, copy.deepcopy(pipe), on_cpu, device)
            pipe.to(device)
            policies(pipe, on_cpu)


def offloaded(kind, pipe, on_cpu, device):
    """Each policy on a pipeline whose weights are moved or cast during a run, with a method that needs gradients if the backward can find
    the weights."""
    if kind == "layerwise casting":
        pipe.unet.enable_layerwise_casting(storage_dtype=torch.float16, compute_dtype=torch.float32)
        on_cpu = {"best-of-n": aligned(pipe, METHODS["best-of-n"], steps=STEPS["best-of-n"])}
    OFFLOADING[kind](pipe, device)
    with_gradients = kind in ("model", "sequential")
    left_out = () if "all" in sys.argv[1:] else SLOW[kind]
    for policy in ("none", *(policy for policy in POLICIES if policy not in ("fp16", *left_out)), "none of them afterwards"):
        name = "best-of-n" if not with_gradients else "dno" if policy == "segments" else "date"
        memory_options = policy if policy in POLICIES else ()
        try:
            said(f"{kind}: {policy}", apart=apart(on_cpu[name], aligned(pipe, METHODS[name], memory_options, STEPS[name])))
        except IncompatibleError as error:
            said(f"{kind}: {policy}", refused=str(error))


def policies(pipe, on_cpu):
    for policy in POLICIES:
        name = "dno" if policy == "segments" else "date"
        said(f"policy {policy}", apart=apart(on_cpu[name], aligned(pipe, METHODS[name], policy, STEPS[name])))
        said(f"restored after {policy}", where=sorted({str(parameter.device) for parameter in pipe.unet.parameters()}))


def waits(pipe):
    """Waits and copies between two snapshots, by the step of the second one."""
    marks = []
    with counted():
        aligned(
            pipe, METHODS["null-tta"], steps=3, observers=[lambda snapshot: marks.append((snapshot.index, TRAFFIC.waits, TRAFFIC.copies))]
        )
    inner = [(now[1] - before[1], now[2] - before[2]) for before, now in pairwise(marks) if before[0] == now[0] < 2]
    said("inner steps", waits=max(wait for wait, _ in inner), copies=max(copy for _, copy in inner), count=len(inner))


def memory(pipe):
    with counted():
        aligned(pipe, METHODS["dno"])
        whole = TRAFFIC.peak - TRAFFIC.allocated
    with counted():
        aligned(pipe, METHODS["dno"], "segments")
        cut = TRAFFIC.peak - TRAFFIC.allocated
    said("peaks", whole=whole, cut=cut)
    with limited(TRAFFIC.allocated + (whole + cut) // 2):
        try:
            aligned(pipe, METHODS["dno"])
            said("too small", error="")
        except TTAError as error:
            said("too small", error=type(error).__name__, is_own=isinstance(error, OutOfMemoryError), message=str(error))
        gc.collect()
        said("segments fit", finite=bool(torch.isfinite(aligned(pipe, METHODS["dno"], "segments").result.pixels.cpu()).all()))


if __name__ == "__main__":
    main()
