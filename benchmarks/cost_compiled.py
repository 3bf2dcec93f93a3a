"""Compares the processor time of a run with the policy `compile`, after compilation, and without it: DATE on the embedded model.

    OMP_NUM_THREADS=1 python benchmarks/cost_compiled.py [pairs]

Both runs are made in one process, alternately. A C++ compiler is needed.
"""

import statistics
import sys
import time

from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.registered import shapes

PROMPTS = ("a red circle", "a blue square")


def sampled(backbone, memory):
    """The latents, and the seconds of the method alone."""
    with prepare(PROMPTS, backbone=backbone, memory=memory, steps=4, method=DATE(rho=0.5, updates=Every(2))) as prepared:
        begun = time.process_time()
        *_, last = prepared.method.align(prepared.problem)
        return last.x0, time.process_time() - begun


def main(pairs):
    backbone, ratios = shapes(), []
    compiled, _ = sampled(backbone, "compile")  # the first call compiles
    plain, _ = sampled(backbone, ())
    for pair in range(pairs):
        spent = {memory: sampled(backbone, memory)[1] for memory in (("compile", ()) if pair % 2 else ((), "compile"))}
        ratios.append(spent["compile"] / spent[()])
    ratios.sort()
    print(f"largest difference of the latents, relative to the largest value: {(plain - compiled).abs().max() / plain.abs().max():.1e}")
    print(
        f"compiled / plain: median {statistics.median(ratios):.3f} of {pairs} pairs, "
        f"quartiles {ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
