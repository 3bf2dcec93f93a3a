"""Prints FLOPs and peak memory of full-size runs, computed from configurations alone; fails if Stable Diffusion v1.5 misses a target.

    python benchmarks/cost_counts.py [sd15] [sdxl] [sd3] [flux]

tta_plugins.cost counts matrix products, convolutions and attention (fused); 1 multiply-add = 2 FLOPs. The totals include one forward of the
reward on the result, and exclude the text towers of rewards and the plain baseline. The networks are in bfloat16, with 1 prompt.
"""

import sys

from tta_core.values.schedules import Every
from tta_plugins.memory.checkpointing import Checkpointing
from tta_plugins.memory.chunked import Chunked
from tta_plugins.memory.frozen_convolutions import FrozenConvolutions
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.memory.segments import Segments
from tta_plugins.methods.date import DATE
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.planning.plan import planned
from tta_plugins.rewards.pixels import Darkness

LEAN = (FrozenConvolutions(), Checkpointing(), Chunked(denoiser=None, decoder=1, reward=None))
JUDGED = 0.162  # TFLOP: here the result is scored once more than by the released code
DATES = 118.55 + JUDGED  # the target is 118.5, rounded

# name, method, reward, steps, policies, most TFLOP, most MiB of activations
SD15 = [
    ("Null-TTA 5..55", NullTTA(inner_max=55), "hpsv2", 100, (), 24_400, None),
    ("Null-TTA 5..55, look-ahead", NullTTA(inner_max=55), "hpsv2", 100, (LookAhead(),), 11_000, None),
    ("Null-TTA 5..55, frozen convolutions", NullTTA(inner_max=55), "hpsv2", 100, (FrozenConvolutions(),), 24_400, None),
    ("Null-TTA 5..25, lean", NullTTA(), "hpsv2", 100, LEAN, None, 1_700),
    ("DATE", DATE(updates=Every(10)), "clip", 50, (), DATES, None),
    ("DATE, frozen convolutions", DATE(updates=Every(10)), "clip", 50, (FrozenConvolutions(),), DATES, None),
    ("DATE, lean", DATE(updates=Every(10)), "clip", 50, LEAN, None, 1_200),
    ("DNO, an iteration, graphs kept", DNO(1), Darkness(), 50, (), 185, None),
    ("DNO, an iteration, a step a segment", DNO(1), Darkness(), 50, (Segments(),), 265, None),
    ("DNO, an iteration, lean", DNO(1), Darkness(), 50, (Segments(), *LEAN), None, 900),
]
OTHERS = [
    ("DATE", DATE(updates=Every(10)), "clip", None, (), None, None),
    ("DATE, lean", DATE(updates=Every(10)), "clip", None, LEAN, None, None),
    ("DATE, lean, look-ahead", DATE(updates=Every(10)), "clip", None, (*LEAN, LookAhead()), None, None),
]


COLUMNS = {"evaluations": 11, "denoiser": 9, "decoder": 9, "reward": 8, "TFLOP": 9, "peak MiB": 9, "weights": 8}
HEADING = " ".join([f"{'run':40}", *(f"{name:>{width}}" for name, width in COLUMNS.items())])


def main(backbones):
    failed = []
    for backbone in backbones:
        print(f"\n{backbone}\n{HEADING}")
        for name, method, reward, steps, policies, most_work, most_memory in SD15 if backbone == "sd15" else OTHERS:
            forecast = planned(backbone=backbone, method=method, reward=reward, steps=steps, memory=policies).forecast
            work = {part: flops / 1e12 for part, flops in forecast.flops.items()}
            total = sum(work.values())
            if isinstance(method, DNO):
                total -= plain(forecast)
            peak = max(forecast.peaks.phases.values()) / 2**20
            parts = " ".join(f"{work[part]:>{width},.1f}" for part, width in (("denoiser", 9), ("decoder", 9), ("reward", 8)))
            print(
                f"{name:40} {forecast.evaluations:>11} {parts} {total:>9,.1f} {peak:>9,.0f} {forecast.peaks.parameters / 2**20:>8,.0f}",
                flush=True,
            )
            if most_work is not None and total > most_work:
                failed.append(f"{name}: {total:,.1f} TFLOP, more than {most_work:,.1f}")
            if most_memory is not None and peak > most_memory:
                failed.append(f"{name}: {peak:,.0f} MiB, more than {most_memory:,.0f}")
    if failed:
        sys.exit("\n".join(failed))


def plain(forecast):
    """TFLOP of sampling, decoding and scoring DNO's last iterate, which are not part of an iteration."""
    steps, prices = forecast.rows["text.backward"], forecast.prices
    return (steps * (prices["text"] + prices["null"]) + prices["decode"] + prices["reward"]) / 1e12


if __name__ == "__main__":
    main(sys.argv[1:] or ["sd15", "sdxl", "sd3", "flux"])
