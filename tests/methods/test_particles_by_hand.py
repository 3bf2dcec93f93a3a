"""Particle methods compared with their equations, computed one particle at a time, with settings that no recorded run has."""

import itertools
import math

import pytest
import torch

from tta_core import GivenNoise
from tta_core.testing.problems import Likeness, problem_for
from tta_core.testing.tables import vp_scheduler
from tta_core.values.schedules import Constant, Every, Geometric, Power, Steps
from tta_core.values.typing import evolve
from tta_plugins.methods.das import DAS
from tta_plugins.methods.fk import FK

STEPS, PARTICLES, GUIDANCE = 5, 5, 3.0
UNIFORMS = {"ssp": PARTICLES - 1, "systematic": 1, "stratified": PARTICLES, "independent": PARTICLES, "multinomial": PARTICLES + 1}


def resampled(scheme, weights, u):
    """The ancestors, computed from the definitions of the schemes."""
    k, weights, u = len(weights), [float(weight) for weight in weights], [float(value) for value in u]
    reached = list(itertools.accumulate(weights))
    if scheme == "ssp":
        return ssp(weights, u)
    if scheme == "multinomial":
        sums = list(itertools.accumulate(-math.log(value) for value in u))
        u = [value / sums[-1] for value in sums[:-1]]
    points = {"systematic": [(u[0] + i) / k for i in range(k)], "stratified": [(u[i % len(u)] + i) / k for i in range(k)]}.get(scheme, u)
    return [next((j for j in range(k) if reached[j] >= point), k - 1) for point in points]


def ssp(weights, u):
    k = len(weights)
    counts = [math.floor(k * weight) for weight in weights]
    rest = [k * weight - count for weight, count in zip(weights, counts, strict=True)]
    i, j = 0, 1
    for n in range(k - 1):
        up, down = min(rest[j], 1 - rest[i]), min(rest[i], 1 - rest[j])
        if u[n] < (up / (up + down) if up + down else 0):
            i, j, up = j, i, down
        if rest[j] < 1 - rest[i]:
            rest[i], j = rest[i] + up, n + 2
        else:
            rest[j], counts[i], i = rest[j] - up, counts[i] + 1, n + 2
    if sum(counts) == k - 1:
        counts[j if i == k else i] += rest[j if i == k else i] > 0.99
    return [particle for particle in range(k) for _ in range(counts[particle])]


class ByHand:
    """The estimates of one sample, with DDIM and eta 1."""

    def __init__(self, problem, sample):
        self.problem, self.sample = problem, sample

    def eps(self, x, i):
        row, controls = slice(self.sample, self.sample + 1), self.problem.controls
        text, null = (self.problem.backbone.predict(x, self.problem.steps[i], branch[row]) for branch in (controls.text, controls.null))
        return null + GUIDANCE * (text - null)

    def x0(self, x, i):
        return (x - self.problem.steps[i].s * self.eps(x, i)) / self.problem.steps[i].a

    def reward(self, x0):
        return Likeness()(self.problem.backbone.decode(x0).clamp(0, 1), [self.problem.prompts[self.sample]])[0]

    def gradient(self, x, i):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.reward(self.x0(x, i)), x)[0]

    def step(self, x, i):
        """The mean and the standard deviation of the next x."""
        before, after = self.problem.steps[i].a ** 2, self.problem.steps[i].a_next ** 2
        std = math.sqrt((1 - after) / (1 - before) * (1 - before / after))
        return math.sqrt(after) * self.x0(x, i) + math.sqrt(1 - after - std**2) * self.eps(x, i), std


def prepared(method):
    """A problem of two prompts, the noises of each row `(k, b, ...)`, and the uniforms."""
    draw = torch.Generator().manual_seed(3)
    rows = [torch.randn(PARTICLES, 2, 4, 4, 4, generator=draw) for _ in range(STEPS + 1)]
    uniforms = {(i,): torch.rand(UNIFORMS[method.resampling], 2, generator=draw, dtype=torch.float64) for i in range(STEPS)}
    problem = problem_for(method, guidance=GUIDANCE, scheduler=vp_scheduler(STEPS, 1.0))
    noises = GivenNoise(tuple(rows), uniforms={**uniforms, (STEPS,): torch.full((1, 2), 0.5, dtype=torch.float64)})
    controls = evolve(problem.controls, noise=torch.stack([row[0] for row in rows]))
    return evolve(problem, noises=noises, controls=controls), rows, uniforms


def normalised(log_weights):
    total = torch.logsumexp(torch.stack(log_weights), 0)
    return [weight - total for weight in log_weights], total


def effective(log_weights):
    return 1 / sum(math.exp(2 * weight) for weight in log_weights)


EQUAL = [torch.tensor(-math.log(PARTICLES), dtype=torch.float64)] * PARTICLES
DAS_CASES = [
    DAS(PARTICLES, 0.05, tempering=Power(0.3, 2), threshold=1.1),
    DAS(PARTICLES, 0.005, tempering=Geometric(0.2), threshold=0.95, start=2, resampling="stratified", choose="reward"),
    DAS(PARTICLES, 0.05, tempering=Constant(1.0), threshold=0.9, proposal="prior", resampling="multinomial"),
    DAS(PARTICLES, 0.02, tempering=Geometric(0.02), adaptive=0.6, threshold=0.7, resampling="systematic"),
]


@pytest.mark.parametrize("method", DAS_CASES, ids=lambda method: method.resampling)
def test_das(method):
    problem, rows, uniforms = prepared(method)
    *snapshots, last = method.align(problem)
    moved = 0
    for b in range(2):
        hand, weights, evidence, strength = ByHand(problem, b), EQUAL, 0.0, 0.0
        xs, twists, ratios = [rows[0][c, b : b + 1] for c in range(PARTICLES)], [0.0] * PARTICLES, [0.0] * PARTICLES
        for i in range(STEPS):
            k, ancestors, slopes = i - method.start, list(range(PARTICLES)), [torch.zeros_like(x) for x in xs]
            if k >= 0:
                values = [hand.reward(hand.x0(x, i)).double() / method.alpha for x in xs]
                if method.proposal == "gradient":
                    slopes = [hand.gradient(x, i) / method.alpha for x in xs]
                before = [weight + ratio - twist for weight, ratio, twist in zip(weights, ratios, twists, strict=True)]
                strength = tempered(method, before, values, strength, k)
                twists = [strength * value for value in values]
                weights, total = normalised([weight + twist for weight, twist in zip(before, twists, strict=True)])
                evidence = evidence + total
                if effective(weights) < method.threshold * PARTICLES:
                    ancestors = resampled(method.resampling, torch.stack(weights).exp(), uniforms[(i,)][:, b])
                    weights, moved = EQUAL, moved + 1
            assert snapshots[i].readings["ancestors"][:, b].tolist() == ancestors
            following = 0.0 if k < -1 else strength if method.adaptive and k > 0 else method.tempering(k + 1, STEPS)
            xs, slopes, twists = ([of[a] for a in ancestors] for of in (xs, slopes, twists))
            for c in range(PARTICLES):
                mean, std = hand.step(xs[c], i)
                shift, noise = following * slopes[c], rows[i + 1][c, b : b + 1]
                xs[c] = mean + std * noise + std**2 * shift
                ratios[c] = (-std * (noise * shift).sum() - std**2 * shift.square().sum() / 2).double()
        rewards = [hand.reward(x).double() for x in xs]
        ends = [w + ratio + reward / method.alpha - twist for w, ratio, reward, twist in zip(weights, ratios, rewards, twists, strict=True)]
        weights, total = normalised(ends)
        best = int(torch.stack(rewards if method.choose == "reward" else weights).argmax())
        torch.testing.assert_close(last.x0[b : b + 1], xs[best], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last.readings["log_evidence"][b], evidence + total, atol=1e-4, rtol=1e-4)
    assert moved, "nothing was resampled"


def tempered(method, before, values, last, k):
    """lambda: that of the schedule, or the largest above it that keeps the effective sample size."""
    low = method.tempering(k, STEPS)
    if not method.adaptive or k == 0:
        return low

    def kept(strength):
        weights, _ = normalised([weight + strength * value for weight, value in zip(before, values, strict=True)])
        return effective(weights) >= method.adaptive * PARTICLES

    low, high = max(low, last), 1.0
    if kept(high):
        return high
    for _ in range(50):
        low, high = ((low + high) / 2, high) if kept((low + high) / 2) else (low, (low + high) / 2)
    return low


FK_CASES = [
    FK(PARTICLES, 20.0, "rt", Steps((0, 2, 3)), resampling="ssp"),
    FK(PARTICLES, 20.0, "add", Steps((1, 2, 3)), 0.8, resampling="systematic", choose="weight"),
    FK(PARTICLES, 20.0, "max", Every(), 0.8),
    FK(PARTICLES, 20.0, "diff", Every(2), None, resampling="stratified"),
]


@pytest.mark.parametrize("method", FK_CASES, ids=lambda method: method.potential)
def test_fk_with_weights_that_are_kept(method):
    problem, rows, uniforms = prepared(method)
    *snapshots, last = method.align(problem)
    moved = 0
    for b in range(2):
        hand, weights, products = ByHand(problem, b), EQUAL, [0.0] * PARTICLES
        xs, memory = [rows[0][c, b : b + 1] for c in range(PARTICLES)], [-math.inf if method.potential == "max" else 0.0] * PARTICLES
        for i in range(STEPS):
            nexts = [mean + std * rows[i + 1][c, b : b + 1] for c, (mean, std) in enumerate(hand.step(x, i) for x in xs)]
            ancestors = list(range(PARTICLES))
            if method.updates(i, STEPS):
                rewards = [float(hand.reward(hand.x0(x, i))) for x in xs]
                for c, (reward, kept) in enumerate(zip(rewards, list(memory), strict=True)):
                    memory[c] = {"max": max(reward, kept), "add": reward + kept}.get(method.potential, reward)
                    potential = method.strength * (reward - kept if method.potential == "diff" else memory[c])
                    weights, products[c] = [*weights[:c], weights[c] + potential, *weights[c + 1 :]], products[c] + potential
                weights, _ = normalised(weights)
                if i + 1 < STEPS and (method.threshold is None or effective(weights) < method.threshold * PARTICLES):
                    ancestors = resampled(method.resampling, torch.stack(weights).exp(), uniforms[(i,)][:, b])
                    weights, moved = EQUAL, moved + 1
            assert snapshots[i].readings["ancestors"][:, b].tolist() == ancestors
            xs, memory, products = ([of[a] for a in ancestors] for of in (nexts, memory, products))
        rewards = [hand.reward(x).double() for x in xs]
        weights, _ = normalised([w + method.strength * reward - p for w, reward, p in zip(weights, rewards, products, strict=True)])
        best = int(torch.stack(rewards if method.choose == "reward" else weights).argmax())
        torch.testing.assert_close(last.x0[b : b + 1], xs[best], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last.readings["weights"][:, b], torch.stack(weights).exp(), atol=1e-4, rtol=1e-3)
    assert moved, "nothing was resampled"
