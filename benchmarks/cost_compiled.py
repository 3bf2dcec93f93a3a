"""What `compile` does to a run: DATE on the embedded model, with and without, once everything is compiled.

    OMP_NUM_THREADS=1 python benchmarks/cost_compiled.py [pairs]

Both in one process, in turn, by processor time. Needs a C++ compiler.
"""

import statistics
import sys
import time

from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.registered import shapes

PROMPTS = ("a red circle", "a blue square")


def drawn(backbone, memory):
    """The latents, and the seconds of the method alone."""
    with prepare(PROMPTS, backbone=backbone, memory=memory, steps=4, method=DATE(rho=0.5, updates=Every(2))) as prepared:
        begun = time.process_time()
        *_, last = prepared.method.align(prepared.problem)
        return last.x0, time.process_time() - begun


def main(pairs):
    backbone, ratios = shapes(), []
    compiled, _ = drawn(backbone, "compile")  # the first call compiles
    plain, _ = drawn(backbone, ())
    for pair in range(pairs):
        spent = {memory: drawn(backbone, memory)[1] for memory in (("compile", ()) if pair % 2 else ((), "compile"))}
        ratios.append(spent["compile"] / spent[()])
    ratios.sort()
    print(f"latents differ by at most {(plain - compiled).abs().max() / plain.abs().max():.1e} of the largest")
    print(
        f"compiled / plain: median {statistics.median(ratios):.3f} of {pairs} pairs, "
        f"quartiles {ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
