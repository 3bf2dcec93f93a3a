"""FLOPs of one row through each component of a setup, forwards and backwards, counted on the networks themselves."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from tta_core.protocols.memory import Setup
from tta_core.solving import steering
from tta_core.values.controls import Embedding
from tta_core.values.typing import evolve
from tta_plugins.cost.dummies import dummy_problem, size_of
from tta_plugins.cost.fake_setup import on_fake_tensors
from tta_plugins.cost.flop_count import FlopCount


def flops_per_row(setup: Setup) -> dict[str, float]:
    """FLOPs a row, by the ledger's names. The backward is the one that the method needs: to its variable,
    and to x where the method moves it; recomputation included."""
    with on_fake_tensors(evolve(setup, prompts=setup.prompts[:1])) as fake:
        size = size_of(fake)
        problem = dummy_problem(fake, fake.backbone, fake.reward, fake.backbone.latent_shape(*size))
        controls = problem.controls
        value: tuple[Tensor, ...] = ()
        variable = fake.method.needs.variable
        if variable is not None:
            value = steering.leaves(variable.read(controls))
            controls = variable.write(controls, value)
        state = problem.start(controls)
        needs = fake.method.needs
        if (needs.moves_x or needs.moves_x0) and needs.gradient:
            state = evolve(state, x=state.x.detach().requires_grad_())
            value += (state.x,)
        here = problem.at(state, problem.steps[0])
        branches = {"text": controls.text}
        if controls.null is not None and problem.guidance != 1:
            branches["null"] = controls.null
        flops = _of_branches(branches, state.x.requires_grad, lambda name: _counted(lambda: here.branch(name, branches[name]), value))
        decode, x0 = problem.backbone.decode, problem.start(controls).x.detach().requires_grad_()
        flops["decode"] = _counted(lambda: decode(x0), (x0,))
        look_ahead = fake.look_ahead
        flops["look-ahead"] = flops["decode"] if look_ahead is None else _counted(lambda: look_ahead(x0), (x0,))
        images = torch.zeros(1, 3, *size, requires_grad=True)
        flops["reward"] = _counted(lambda: problem.reward(images, problem.prompts), (images,))
    return {name + way: count for name, counts in flops.items() for way, count in zip(("", ".backward"), counts, strict=False)}


def _of_branches(
    branches: Mapping[str, Embedding], moving: bool, count: Callable[[str], tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """Both guidance branches; one whose embedding has the other's form is not counted again. `moving`: x needs a gradient."""
    flops: dict[str, tuple[float, ...]] = {}
    known: dict[object, tuple[float, ...]] = {}
    forms = {name: tuple((leaf.shape, leaf.dtype) for leaf in embedding.leaves) for name, embedding in branches.items()}
    steered = {name: any(leaf.requires_grad for leaf in embedding.leaves) for name, embedding in branches.items()}
    for name in sorted(branches, key=steered.__getitem__, reverse=True):
        same = known.get((forms[name], steered[name]))
        other = known.get((forms[name], True))
        flops[name] = same or (other[:1] if other and not moving else count(name))
        known[forms[name], steered[name]] = flops[name]
    return flops


def _counted(forward: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> tuple[float, ...]:
    """FLOPs of a forward and, where its output has a gradient, of its backward."""
    with FlopCount() as ahead:
        output = forward()
    if not output.requires_grad:
        return (float(ahead.total),)
    with FlopCount() as back:
        torch.autograd.grad(output.sum(), leaves, allow_unused=True, retain_graph=True)
    return float(ahead.total), float(back.total)
