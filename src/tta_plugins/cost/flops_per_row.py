"""FLOPs of one row through each component of a setup, forward and backward, counted on the networks themselves."""

import torch

from tta_core.protocols.memory import Setup
from tta_core.solving import steering
from tta_core.values.typing import evolve
from tta_plugins.cost.dummy_problem import dummy_problem, size_of
from tta_plugins.cost.measured_calls import MeasuredCalls, measured_calls


def flops_per_row(setup: Setup) -> dict[str, float]:
    """FLOPs of one row, by the ledger's names. The backward pass is the one that the method needs, to its variable and to x if the
    method moves x, with everything that policies recompute."""
    with measured_calls(evolve(setup, prompts=setup.prompts[:1])) as calls:
        return counted_flops(calls)


def counted_flops(calls: MeasuredCalls) -> dict[str, float]:
    """FLOPs of one row, by the ledger's names, from measured calls."""
    setup = evolve(calls.setup, prompts=calls.setup.prompts[:1])
    size = size_of(setup)
    problem = dummy_problem(setup, setup.backbone, setup.reward, setup.backbone.latent_shape(*size))
    controls, needs = problem.controls, setup.method.needs
    if needs.variable is not None:
        controls = needs.variable.write(controls, steering.leaves(needs.variable.read(controls)))
    x = problem.start(controls).x
    if (needs.moves_x or needs.moves_x0) and needs.gradient:
        x = x.detach().requires_grad_()
    branches = {"text": controls.text}
    if controls.null is not None and problem.guidance != 1:
        branches["null"] = controls.null
    x0 = x.detach().requires_grad_()
    images = torch.zeros(1, 3, *size, requires_grad=True)
    costs = {"decode": calls.decode(x0), "look-ahead": calls.look_ahead(x0), "reward": calls.reward(images, problem.prompts)}
    costs |= {name: calls.denoiser(x, problem.steps[0], embedding) for name, embedding in branches.items()}
    flops = {name: float(cost.flops) for name, cost in costs.items()}
    return flops | {f"{name}.backward": float(cost.flops_backward) for name, cost in costs.items() if cost.flops_backward is not None}
