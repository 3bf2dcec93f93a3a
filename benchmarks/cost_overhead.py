"""Measures the kernel's overhead over a hand-written loop that makes the same evaluations: DATE on the embedded model.

    OMP_NUM_THREADS=1 python benchmarks/cost_overhead.py [pairs]

Both run in one process, alternately, and processor time is measured, so the machine's speed and other load have little influence. The
target is 3 %.
"""

import statistics
import sys
import time

import torch

from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.methods.date import DATE
from tta_plugins.shapes.registered import ShapesCLIP, shapes

PROMPTS = ("a red circle", "a blue square")
STEPS, EVERY, RHO, GUIDANCE = 20, 4, 0.5, 5.0


def by_hand(pipeline, reward, table, x, text, null):
    unet, vae = pipeline.unet, pipeline.vae
    scaling = vae.config.scaling_factor

    def clean(x, step, branch):
        a, s = step.a, step.s
        output = branch["null"] + GUIDANCE * (branch["text"] - branch["null"])
        return a * x - s * output, s * x + a * output

    def image(x0):
        return (vae.decode(x0 / scaling, return_dict=False)[0] / 2 + 0.5).clamp(0, 1)

    for step in table:
        branch = {}
        if step.index % EVERY:
            with torch.no_grad():
                both = unet(torch.cat([x, x]), step.time, encoder_hidden_states=torch.cat([text, null]), return_dict=False)[0]
            branch["text"], branch["null"] = both.chunk(2)
        else:
            with torch.no_grad():
                branch["null"] = unet(x, step.time, encoder_hidden_states=null, return_dict=False)[0]
            leaf = text.clone().requires_grad_()
            branch["text"] = unet(x, step.time, encoder_hidden_states=leaf, return_dict=False)[0]
            score = reward(image(clean(x, step, branch)[0]), PROMPTS)
            (gradient,) = torch.autograd.grad(score.sum(), leaf)
            text = text + RHO * gradient / gradient.flatten(1).norm(dim=1)[:, None, None]
            with torch.no_grad():
                branch["text"] = unet(x, step.time, encoder_hidden_states=text, return_dict=False)[0]
        with torch.no_grad():
            x0, eps = clean(x, step, branch)
            x = step.a_next * x0 + step.s_next * eps
    with torch.no_grad():
        return reward(image(x), PROMPTS)


def main(pairs):
    backbone, reward = shapes(), ShapesCLIP()
    method = DATE(rho=RHO, updates=Every(EVERY))
    with prepare(PROMPTS, backbone=backbone, method=method, reward=reward, steps=STEPS, guidance=GUIDANCE, eta=0.0) as prepared:
        problem = prepared.problem
        controls, table = problem.controls, problem.steps
        start = problem.start(controls).x

        def kernel():
            *_, last = method.align(problem)
            return last.scores

        def hand():
            return by_hand(backbone.pipeline, reward, table, start, controls.text.tokens, controls.null.tokens)

        torch.testing.assert_close(kernel(), hand(), atol=1e-3, rtol=1e-3)
        ratios, fastest = [], {}
        for pair in range(pairs):
            spent = {}
            for run in (kernel, hand) if pair % 2 else (hand, kernel):
                begun = time.process_time()
                run()
                spent[run] = time.process_time() - begun
                fastest[run] = min(spent[run], fastest.get(run, spent[run]))
            ratios.append(spent[kernel] / spent[hand])
    ratios.sort()
    middle = statistics.median(ratios)
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    print(f"kernel / by hand: median {middle:.4f} of {pairs} pairs, quartiles {low:.4f} to {high:.4f}")
    print(f"fastest: {fastest[kernel] / fastest[hand]:.4f}, of {fastest[hand]:.3f} s by hand")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
