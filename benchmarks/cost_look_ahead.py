"""Compares look-ahead decoders with the full decoder on the embedded model: their gradients, and the scores of runs with them.

    OMP_NUM_THREADS=1 python benchmarks/cost_look_ahead.py [prompts]

The target reward is the embedded CLIP. The held-out score is the convnet judge, whose gradient is not used. Differences are paired by
prompt and seed, with 95 % intervals of the mean.
"""

import math
import statistics
import sys

import torch

import tta_core
from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.methods.date import DATE
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.shapes.registered import ShapesJudge, shapes

COLOURS, THINGS = ("red", "blue", "green", "yellow"), ("circle", "square", "triangle")
SCALES = (0.375, 0.5, 0.75)


def prompts(count):
    return [f"a {COLOURS[i % 4]} {THINGS[i % 3]}" for i in range(count)]


def cosines(backbone, scale, texts):
    """For each step, the cosine between the gradients with the two decoders, per prompt, on the same plain trajectory."""
    method = DATE(rho=0.0, updates=Every(1))
    gradients = []
    for memory in ((), (LookAhead(scale),)):
        with prepare(texts, backbone=backbone, method=method, memory=memory) as prepared:
            gradients.append([s.gradient[0].flatten(1) for s in method.align(prepared.problem) if s.gradient])
    return [torch.cosine_similarity(full, cheap).tolist() for full, cheap in zip(*gradients, strict=True)]


def interval(values):
    return f"{statistics.mean(values):+.4f} +- {1.96 * statistics.stdev(values) / math.sqrt(len(values)):.4f}"


def main(count):
    backbone, judge, texts = shapes(), ShapesJudge(), prompts(count)
    for scale in SCALES:
        steps = cosines(backbone, scale, texts)
        thirds = [[c for step in steps[i * len(steps) // 3 : (i + 1) * len(steps) // 3] for c in step] for i in range(3)]
        early, middle, late = map(statistics.mean, thirds)
        print(f"scale {scale}: gradient cosine {early:.3f} early, {middle:.3f} in the middle, {late:.3f} late", flush=True)
    for method in (DATE(updates=Every(2)), NullTTA(inner_min=1, inner_max=3)):
        runs = {
            scale: tta_core.align(texts, backbone=backbone, method=method, memory=LookAhead(scale) if scale else ())
            for scale in (None, *SCALES)
        }
        with torch.no_grad():
            held_out = {scale: judge(run.result.pixels, texts).tolist() for scale, run in runs.items()}
        full = runs[None]
        gain = [after - before for after, before in zip(full.scores, full.baseline.scores, strict=True)]
        mean = statistics.mean(held_out[None])
        print(f"{type(method).__name__}, full decoder: target over the baseline {interval(gain)}, held out {mean:.3f}")
        for scale in SCALES:
            target = [cheap - whole for cheap, whole in zip(runs[scale].scores, full.scores, strict=True)]
            other = [cheap - whole for cheap, whole in zip(held_out[scale], held_out[None], strict=True)]
            print(f"  scale {scale}: target {interval(target)}, held out {interval(other)}, compared with the full decoder", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 12)
