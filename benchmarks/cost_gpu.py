"""Measures wall time and peak memory on a GPU: each method here, and a re-creation of the released code, in one process.

    python benchmarks/cost_gpu.py [--batches 1 4 16] [--repeats 3] [--compile] [--predict]

The networks have random weights in the real shapes of Stable Diffusion v1.5, CLIP-H (Null-TTA) and CLIP-L (DATE). The re-creation makes the
evaluations of the released code, with its precisions: float16 denoiser, float32 decoder and reward, and DATE in float32. Guidance branches
are always one batch of two; Null-TTA evaluates both branches in every inner step; DNO decodes an unused image at every step and recomputes
each step. It also does the arithmetic between evaluations, in fewer operations than diffusers' schedulers. float32 is torch's default:
matrix products in float32, convolutions in TF32. GB (10^9 bytes) are the allocator's peak above the parameters; `--predict` prints the
prediction of that peak beside it. A CUDA device is needed.
"""

import argparse
import itertools
import statistics
import sys
import time
from contextlib import contextmanager
from functools import partial

import attrs
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from released import Released
from tower import Tower
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tta_core.protocols.reward import Card
from tta_core.running.prepare import prepare
from tta_core.values.controls import Embedding
from tta_core.values.schedules import Every
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.cost.memory_profile import memory_profile
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.compiled import Compiled
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.precision import BF16, FP16
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.planning.pipeline_configuration import pipeline_configuration

STEPS, INNER, PARTICLES = 4, 3, 3  # short runs: the cost of a step does not depend on the number of steps
RELEASED = {
    "null_tta": {"inner": (INNER,) * STEPS, "particles": PARTICLES},
    "date": {"steps": STEPS, "every": 2},
    "dno": {"steps": STEPS, "iterations": 1},
}
TOWERS = {
    "L": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 14, "projection_dim": 768},
    "H": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "patch_size": 14, "projection_dim": 1024},
}


@attrs.frozen(eq=False)
class Dark:
    """The darkness reward of DNO."""

    card = Card(differentiable=True)

    def __call__(self, images, prompts):
        return -images.mean((1, 2, 3))


def networks(device):
    facts = pipeline_configuration("sd15")
    with device:
        unet, vae = UNet2DConditionModel.from_config(dict(facts.denoiser)), AutoencoderKL.from_config({**facts.vae, "force_upcast": False})
    return unet.eval().requires_grad_(False), vae.eval().requires_grad_(False)


def tower(kind, device):
    config = CLIPVisionConfig(num_attention_heads=16, **TOWERS[kind])
    with device:
        return CLIPVisionModelWithProjection(config).eval().requires_grad_(False)


def measured(run, device, repeats):
    """Median seconds and peak GB of a call, after one warm-up."""
    seconds = []
    for _ in range(1 + repeats):
        torch.cuda.empty_cache()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before, begun = torch.cuda.memory_allocated(device), time.perf_counter()
        run()
        torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
        peak = torch.cuda.max_memory_allocated(device) - before
    return statistics.median(seconds[1:]), peak / 1e9


@contextmanager
def ours(backbone, method, reward, memory, batch, text, null):
    branches = {"text": Embedding(text), "null": Embedding(null)}  # different: equal embeddings would be evaluated once for both
    with prepare(["a"] * batch, backbone=backbone, method=method, reward=reward, memory=memory, steps=STEPS, **branches) as prepared:

        def run():
            for _ in prepared.method.align(prepared.problem):
                pass

        yield run, prepared.setup


def main(batches, repeats, compiled, predicted):
    device = torch.device("cuda")
    unet, vae = networks(device)
    parts = {"vae": vae, "unet": unet, "scheduler": DDIMScheduler.from_config(dict(pipeline_configuration("sd15").scheduler))}
    pipeline = StableDiffusionPipeline(
        **parts, text_encoder=None, tokenizer=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    backbone = stable_diffusion(pipeline)
    cases = {
        "null_tta": (NullTTA(particles=PARTICLES, inner_min=INNER, inner_max=INNER), Tower({"vision": tower("H", device)}), torch.float16),
        "date": (DATE(updates=Every(2)), Tower({"vision": tower("L", device)}), torch.float32),
        "dno": (DNO(1, regularisation=0.0), Dark(), torch.float16),
    }
    lean = (FrozenConvolutions(), Checkpointing())
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}; medians of {repeats} after one warm-up", flush=True)
    for (name, (method, reward, precision)), batch in itertools.product(cases.items(), batches):
        text, null = torch.randn(2, batch, 77, 768, device=device)
        x = torch.randn(batch, 4, 64, 64, device=device)
        segments = (Segments(),) if name == "dno" else ()
        runs = {
            "released": None,
            "exact, float32": segments,
            "float16": (FP16(), *segments),
            "bfloat16": (BF16(), *segments),
            "bfloat16, lean": (BF16(), *segments, *lean),
            "bfloat16, frozen convolutions, look-ahead": (BF16(), *segments, FrozenConvolutions(), LookAhead()),
        }
        if compiled:
            runs["bfloat16, compiled"] = (BF16(), Compiled(), *segments)
            runs["bfloat16, CUDA graphs"] = (BF16(), Compiled(mode="reduce-overhead"), *segments)
        for label, memory in runs.items():
            unet.to(precision if memory is None else torch.float32)
            released = Released(unet, vae, reward)
            try:
                if memory is None:
                    theirs = partial(getattr(released, name), x, text, null, **RELEASED[name])
                    found, forecast = measured(theirs, device, repeats), ""
                else:
                    with ours(backbone, method, reward, memory, batch, text, null) as (run, setup):
                        found = measured(run, device, repeats)
                        forecast = f"  predicted {max(memory_profile(setup).phases.values()) / 1e9:6.2f} GB" if predicted else ""
                print(f"{name:9} batch {batch:2} {label:42} {found[0]:7.3f} s {found[1]:7.2f} GB{forecast}", flush=True)
            except Exception as error:  # a row that fails does not lose the others
                print(f"{name:9} batch {batch:2} {label:42} {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also measure compiled blocks, which takes minutes")
    parser.add_argument("--predict", action="store_true", help="print the predicted peak beside each measured one")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("Cannot measure: there is no CUDA device. Run this on a machine that has one, or run cost_counts.py, which needs none.")
    main(asked.batches, asked.repeats, asked.compile, asked.predict)
