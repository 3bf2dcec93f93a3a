"""Compares the methods here with a re-creation of the released codes (released.py): calls of the denoiser and time, in one process, where
each goes first in turn.

    OMP_NUM_THREADS=1 python benchmarks/side_by_side.py [--pairs 5] [--networks small middle]

`small` is the embedded model's denoiser and decoder. `middle` has the structure of Stable Diffusion with fewer channels and random weights.
The reward is a small CLIP image tower. Only the method is measured, without baseline and loading: processor time on the CPU, wall time on a
GPU. Ratios are medians of ours / theirs over the pairs, and that of the fastest run of each, which other work disturbs least.

released.py says what it leaves out of the released codes. Ours does more in one place: DNO evaluates its last update, which the released
code throws away. DNO is therefore compared twice: with as many images scored (theirs with n updates, ours with
n - 1, n images each) and with as many updates (n each; ours scores one image more). The released DNO has one checkpoint a step in every
row.
"""

import argparse
import gc
import statistics
import time

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from released import Released
from tower import Tower
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.running.prepare import prepare
from tta_core.values.controls import Embedding
from tta_core.values.schedules import Every
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.shapes.registered import shapes

INNER = (2, 3, 5)
NULL_TTA = NullTTA(particles=3, inner_min=2, inner_max=6, rate=0.3)


def middle():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(96, 192, 384, 384), cross_attention_dim=256, attention_head_dim=8, norm_num_groups=32
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 64, 128),
        latent_channels=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=32,
    )
    none = {"text_encoder": None, "tokenizer": None, "safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False)
    pipeline = StableDiffusionPipeline(unet=unet, vae=vae, scheduler=scheduler, **none)
    blank = Embedding(torch.zeros(1, 77, 256))  # it has no text encoder: the embeddings are given
    return WrappedBackbone(stable_diffusion(pipeline), encoding=lambda *_: blank, encoding_null=lambda *_: blank)


def small_tower():
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=8, projection_dim=64
    )
    return Tower({"vision": CLIPVisionModelWithProjection(config).eval().requires_grad_(False)})


class Calls:
    """Counts the calls of the denoiser, including recomputations."""

    def __init__(self, denoiser):
        self.count = 0
        denoiser.register_forward_pre_hook(self.add)

    def add(self, *_):
        self.count += 1


def runs(released, x, text, null):
    """By name: the released code's evaluations, our method, its number of steps and its policies."""
    segments = (Segments(),)

    def dno():
        released.dno(x, text, null, 5, 2)

    return {
        "Null-TTA, K 3, inner 2, 3, 5": (lambda: released.null_tta(x, text, null, INNER, 3), NULL_TTA, 3, ()),
        "DATE, all updates": (lambda: released.date(x, text, null, 5, 1), DATE(updates=Every(1)), 5, ()),
        "DATE, 10 %": (lambda: released.date(x, text, null, 10, 10), DATE(updates=Every(10)), 10, ()),
        "DNO, segments, as many images scored": (dno, DNO(1, regularisation=0.0), 5, segments),
        "DNO, segments, as many updates": (dno, DNO(2, regularisation=0.0), 5, segments),
        "DNO, graphs kept, as many images scored": (dno, DNO(1, regularisation=0.0), 5, ()),
        "DNO, graphs kept, as many updates": (dno, DNO(2, regularisation=0.0), 5, ()),
    }


def timed(run, calls, device):
    """Seconds and calls of one run."""
    calls.count = 0
    gc.collect()  # each run frees its own cycles only
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begun, calls.count


def main(names, pairs):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"torch {torch.__version__} on {device}; {torch.get_num_threads()} threads; medians of {pairs} pairs (quartiles)")
    for name in names:
        backbone = shapes() if name == "small" else middle()
        networks, reward = backbone.networks, small_tower()
        for network in networks.values():
            network.to(device)
        denoiser, decoder = networks["denoiser"], networks["decoder"]
        reward.networks["vision"].to(device)
        size = (backbone.defaults.height, backbone.defaults.width)
        text, null = torch.randn(2, 1, 77, denoiser.config.cross_attention_dim, device=device)
        x = torch.randn(1, *backbone.latent_shape(*size), device=device)
        calls, branches = Calls(denoiser), {"text": Embedding(text), "null": Embedding(null)}
        for label, (theirs, method, steps, memory) in runs(Released(denoiser, decoder, reward), x, text, null).items():
            options = {"backbone": backbone, "method": method, "reward": reward, "memory": memory, "steps": steps, "eta": method.needs.eta}
            seconds = []
            with prepare("a", **options, **branches) as prepared:

                def ours(prepared=prepared):
                    for _ in prepared.method.align(prepared.problem):
                        pass

                theirs()
                ours()
                for pair in range(pairs):
                    order = (theirs, ours) if pair % 2 else (ours, theirs)
                    measured = {run: timed(run, calls, device) for run in order}
                    (first, their_calls), (second, our_calls) = measured[theirs], measured[ours]
                    seconds.append((first, second))
            ratios = [second / first for first, second in seconds]
            low, median, high = statistics.quantiles(ratios, n=4) if pairs > 1 else ratios * 3
            fastest = min(second for _, second in seconds) / min(first for first, _ in seconds)
            print(
                f"{name:6} {label:40} calls {their_calls:3} -> {our_calls:3}   time {median:.2f} ({low:.2f}, {high:.2f}), "
                f"fastest runs {fastest:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--networks", nargs="+", choices=["small", "middle"], default=["small", "middle"])
    asked = parser.parse_args()
    main(asked.networks, asked.pairs)
