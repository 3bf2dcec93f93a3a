"""The mean and std of a sampler's result on a single Gaussian: computed exactly from its table, and estimated by sampling."""

import math

import torch

from tta_core.protocols.scheduler import Scheduler
from tta_core.testing.mixture import GaussianMixture
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import State


def affine(scheduler: Scheduler, sigma: float) -> tuple[float, float]:
    """Mean (in units of mu) and std of a chain of first order on N(mu, sigma^2), where E[x0 | x] is linear in x."""
    mean, variance = 0.0, scheduler.initial_std**2
    for step in scheduler.steps:
        std = scheduler.predict(State(torch.zeros(1, 4, 4, 4)), torch.zeros(1, 4, 4, 4), step).transition.std
        k = math.sqrt(max(0.0, step.s_next**2 - std**2))
        shrink = step.a * sigma**2 / ((step.a * sigma) ** 2 + step.s**2)
        weight = step.a_next - step.a * k / step.s
        slope = k / step.s + weight * shrink
        mean, variance = slope * mean + weight * (1 - step.a * shrink), slope**2 * variance + std**2
    return mean, math.sqrt(variance)


def sampled(scheduler: Scheduler, mixture: GaussianMixture, embedding: Embedding, rows: int = 600) -> tuple[torch.Tensor, float]:
    """Mean and pooled std of many chains; history is dropped, so that the solver is of first order."""
    generator = torch.Generator().manual_seed(0)
    x = scheduler.initial_std * torch.randn(rows, 4, 4, 4, generator=generator)
    many = embedding.repeated(rows)
    for step in scheduler.steps:
        transition = scheduler.predict(State(x), mixture.predict(x, step, many), step).transition
        x = transition.sample(torch.randn(x.shape, generator=generator))
    mean = x.mean(0, keepdim=True)
    return mean, math.sqrt((x - mean).square().sum().item() / ((rows - 1) * mean.numel()))
