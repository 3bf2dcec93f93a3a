"""Measures the work that a method does outside the networks, and the networks' share of a run, on the runs of side_by_side.py.

    OMP_NUM_THREADS=1 python benchmarks/cost_kernel.py [--repeats 25] [--only DATE]

First with networks that compute nothing: milliseconds of processor time of the fastest run, ours and the released procedures', and the
Python functions that ours calls. Then with the small networks: milliseconds of each component in the fastest run of each.
"""

import argparse
import gc
import sys
import time
from collections import Counter

import torch
from released import Released
from side_by_side import runs, small_tower

from tta_core.running.prepare import prepare
from tta_core.values.controls import Embedding
from tta_plugins.shapes.registered import shapes


class Constant(torch.autograd.Function):
    """An output of this shape, with a gradient of this size for each input."""

    @staticmethod
    def forward(ctx, shape, *inputs):
        ctx.shapes = [given.shape for given in inputs]
        return torch.full(shape, 0.1)

    @staticmethod
    def backward(ctx, _gradient):
        return None, *(torch.full(shape, 0.01) for shape in ctx.shapes)


def without_work(denoiser, decoder):
    """Replace the networks' computation; returns a reward without any."""
    side = 8

    def decode(z, return_dict=False):
        return (Constant.apply((z.shape[0], 3, side * z.shape[2], side * z.shape[3]), z),)

    denoiser.forward = lambda x, time, encoder_hidden_states, **_: (Constant.apply(x.shape, x, encoder_hidden_states),)
    decoder.decode = decode
    return lambda images, prompts: Constant.apply((images.shape[0],), images)


def functions_called(run):
    """The number of Python functions that a run calls."""
    count = 0

    def profile(_frame, event, _argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count


def timed(owner, name, label, spent):
    """Add the processor time of each call of a method to `spent`."""
    method = getattr(owner, name)

    def call(*args, **kwargs):
        begun = time.process_time()
        try:
            return method(*args, **kwargs)
        finally:
            spent[label] += time.process_time() - begun

    setattr(owner, name, call)


def fastest(run, spent):
    """Milliseconds of one run, whole and by component."""
    spent.clear()
    gc.collect()
    begun = time.process_time()
    run()
    return (time.process_time() - begun) * 1e3, {label: seconds * 1e3 for label, seconds in spent.items()}


def main(repeats, only, empty):
    backbone, reward, spent = shapes(), small_tower(), Counter()
    denoiser, decoder = backbone.networks["denoiser"], backbone.networks["decoder"]
    size = (backbone.defaults.height, backbone.defaults.width)
    text, null = torch.randn(2, 1, 77, denoiser.config.cross_attention_dim)
    x = torch.randn(1, *backbone.latent_shape(*size))
    if empty:
        reward = without_work(denoiser, decoder)
    else:
        for owner, name, label in ((denoiser, "forward", "denoiser"), (decoder.decoder, "forward", "decoder")):
            timed(owner, name, label, spent)
        timed(reward.networks["vision"], "forward", "reward", spent)
        timed(torch.autograd, "grad", "backward", spent)
    print("networks that compute nothing" if empty else "small networks")
    for label, (theirs, method, steps, memory) in runs(Released(denoiser, decoder, reward), x, text, null).items():
        if only not in label:
            continue
        options = {"backbone": backbone, "method": method, "reward": reward, "memory": memory, "steps": steps, "eta": method.needs.eta}
        with prepare("a", **options, text=Embedding(text), null=Embedding(null)) as prepared:

            def ours(prepared=prepared):
                for _ in prepared.method.align(prepared.problem):
                    pass

            found = {"theirs": [], "ours": []}
            for _ in range(repeats):
                found["theirs"].append(fastest(theirs, spent))
                found["ours"].append(fastest(ours, spent))
            calls = f", {functions_called(ours):,} Python functions called by ours" if empty else ""
        best = {who: min(times, key=lambda each: each[0]) for who, times in found.items()}
        for who, (whole, parts) in best.items():
            print(f"{label:40} {who:6} {whole:8.1f} ms " + "  ".join(f"{part} {ms:.1f}" for part, ms in sorted(parts.items())))
        print(f"{label:40} ratio  {best['ours'][0] / best['theirs'][0]:8.2f}{calls}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--only", default="", help="runs whose name contains this")
    given = parser.parse_args()
    main(given.repeats, given.only, empty=True)
    main(max(1, given.repeats // 2), given.only, empty=False)
