"""What Null-TTA reaches with cheaper inner steps: the U-Net's encoder frozen within a step, or a tiny decoder. Embedded model.

    OMP_NUM_THREADS=1 python benchmarks/cheaper_updates.py runs/cheaper [--prompts 200] [--decoder FOLDER]
    OMP_NUM_THREADS=1 python benchmarks/cheaper_updates.py --cosines --prompts 8

The first adds lines to runs/cheaper/lines.jsonl, one for each prompt and arm, continues where it was stopped, and prints the table of what
is there: gains over plain sampling, and differences from the full networks, paired by prompt, with half their 95 % interval. The decoder is
a folder of diffusers' AutoencoderTiny (`benchmarks/tiny_decoder.py` trains one). The second prints the cosine of the gradient under the
policy "frozen-encoder" with the exact one at the same points, by fifths of the run. Both take `shapes-hard` from its first row.
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import attrs
import torch
from results_table import shown

import tta_core
from tta_core.running.prepare import prepare
from tta_core.solving.estimators import Exact
from tta_plugins.bench.prompt_files import Choice, read_choice
from tta_plugins.bench.statistics import interval
from tta_plugins.cost.cost_tracker import CostTracker
from tta_plugins.memory.frozen_encoder import FrozenEncoder
from tta_plugins.memory.look_ahead_decoder import LookAhead
from tta_plugins.methods.null_tta import NullTTA
from tta_plugins.shapes.registered import ShapesCLIP, ShapesJudge, ShapesStrict, shapes

PLAIN, FULL, BATCH, STEPS = "plain sampling", "full networks", 8, 10
SCORES = {"target": ShapesCLIP(), "judge": ShapesJudge(), "strictly right": ShapesStrict()}
METHOD = NullTTA(particles=1, inner_min=10, inner_max=10)


def prompts(count):
    return list(read_choice(Choice("shapes-hard", limit=count), Path()).prompts)


def run(backbone, texts, memory, with_baseline):
    """The scores of the result, and of plain sampling, by name; and the processor time of both together."""
    begun = time.process_time()
    made = tta_core.align(
        texts, backbone=backbone, method=METHOD, reward=SCORES["target"], memory=memory, steps=STEPS, eta=1.0, baseline=with_baseline
    )
    seconds = time.process_time() - begun
    samples = {"result": made.result.pixels} | ({PLAIN: made.baseline.pixels} if with_baseline else {})
    with torch.no_grad():
        scored = {name: {score: judge(pixels, texts).tolist() for score, judge in SCORES.items()} for name, pixels in samples.items()}
    return scored, seconds


def compare(file, texts, arms):
    file.parent.mkdir(parents=True, exist_ok=True)
    backbone, done = shapes(), {(line["arm"], line["prompt"]) for line in read(file)}
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        for arm, memory in arms.items():
            if all((arm, text) in done for text in batch):
                continue
            scored, seconds = run(backbone, batch, memory, with_baseline=arm == FULL)
            with file.open("a") as lines:
                for name, scores in scored.items():
                    for row, text in enumerate(batch):
                        known = {"arm": arm if name == "result" else name, "prompt": text, "seconds": seconds / len(batch)}
                        lines.write(json.dumps(known | {score: column[row] for score, column in scores.items()}) + "\n")


def read(file):
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def work(memory):
    """The FLOPs of the method for one prompt."""
    with prepare(prompts(1), backbone=shapes(), method=METHOD, reward=ShapesCLIP(), memory=memory, steps=STEPS, eta=1.0) as prepared:
        with CostTracker() as counted:
            for _ in prepared.method.align(prepared.problem):
                pass
        return counted.flops


def table(file, arms):
    lines, flops = read(file), {arm: work(memory) for arm, memory in arms.items()}
    by_arm = {arm: {line["prompt"]: line for line in lines if line["arm"] == arm} for arm in (PLAIN, *arms)}
    print(f"| arm | prompts | FLOPs | {' | '.join(SCORES)} | against the full networks: {' | '.join(SCORES)} |")
    print("|---|" + "---:|" * (2 + 2 * len(SCORES)))
    for arm in arms:
        own = by_arm[arm]
        gains = [over(own, by_arm[PLAIN], score) for score in SCORES]
        apart = [over(own, by_arm[FULL], score) if arm != FULL else "" for score in SCORES]
        print(f"| {' | '.join([arm, str(len(own)), f'{flops[arm] / flops[FULL]:.2f}', *gains, *apart])} |")


def over(arm, base, score):
    found = interval([arm[prompt][score] - base[prompt][score] for prompt in arm if prompt in base])
    return shown({"mean": found.mean, "low": found.low, "high": found.high})


@attrs.frozen
class Both:
    """The exact gradient; notes its cosine with that of another problem, whose networks have the policy."""

    other: object
    cosines: dict = attrs.field(factory=dict)
    points: dict = attrs.field(factory=dict)
    needs_gradient = True

    def __call__(self, evaluate, value, problem, key):
        seen, exact = Exact()(evaluate, value, problem, key)
        here, reference = evaluate.args[1:]
        there = self.points.setdefault(key[0], self.other.at(here.state, here.step))
        cheap = Exact()(partial(evaluate.func, self.other, there, reference), value, self.other, key)[1]
        self.cosines[key] = torch.cosine_similarity(exact[0].flatten(1), cheap[0].flatten(1)).tolist()
        return seen, exact


def cosines(texts):
    for name, method in (("10 inner steps", METHOD), ("null-tta.fast", attrs.evolve(NullTTA.fast(), particles=1))):
        given = {"method": method, "steps": STEPS, "eta": 1.0}
        with (
            prepare(texts, backbone=shapes(), reward=ShapesCLIP(), memory=FrozenEncoder(0.0), **given) as cheap,
            prepare(texts, backbone=shapes(), reward=ShapesCLIP(), **given) as exact,
        ):
            both = Both(cheap.problem)
            for _ in attrs.evolve(method, estimator=both).align(exact.problem):
                pass
        last = max(k for _, k in both.cosines)
        for part, updates in (("all updates but the first", range(1, last + 1)), ("the last update", [last])):
            chosen = [(i * 5 // STEPS, values) for (i, k), values in both.cosines.items() if k in updates]
            fifths = [statistics.mean(cosine for fifth, values in chosen if fifth == wanted for cosine in values) for wanted in range(5)]
            print(f"{name}, {part} of a step: {', '.join(f'{cosine:.2f}' for cosine in fifths)}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default="runs/cheaper")
    parser.add_argument("--prompts", default=200, type=int)
    parser.add_argument("--decoder", help="a folder of diffusers' AutoencoderTiny")
    parser.add_argument("--cosines", action="store_true")
    given = parser.parse_args()
    texts, arms = prompts(given.prompts), {FULL: (), "frozen encoder": FrozenEncoder()}
    if given.decoder:
        arms["tiny decoder"] = LookAhead(autoencoder=given.decoder)
    if given.cosines:
        cosines(texts)
    else:
        compare(given.folder / "lines.jsonl", texts, arms)
        table(given.folder / "lines.jsonl", arms)


if __name__ == "__main__":
    main()
