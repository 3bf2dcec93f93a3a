"""FLOPs of one row through each component of a setup, forwards and backwards, counted on the networks themselves."""

from collections.abc import Callable

import torch
from torch import Tensor

from tta_core.protocols.memory import Setup
from tta_core.solving import steering
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
        if fake.method.needs.moves_x and fake.method.needs.gradient:
            state = evolve(state, x=state.x.detach().requires_grad_())
            value += (state.x,)
        here = problem.at(state, problem.steps[0])
        null, decode = controls.null, problem.backbone.decode
        prices = _both("text", lambda: here.branch("text", controls.text), value)
        if null is not None and problem.guidance != 1:
            prices |= _both("null", lambda: here.branch("null", null), value)
        x0 = problem.start(controls).x.detach().requires_grad_()
        prices |= _both("decode", lambda: decode(x0), (x0,))
        prices |= _both("look-ahead", lambda: (fake.look_ahead or decode)(x0), (x0,))
        images = torch.zeros(1, 3, *size, requires_grad=True)
        return prices | _both("reward", lambda: problem.reward(images, problem.prompts), (images,))


def _both(name: str, forward: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> dict[str, float]:
    with FlopCount() as ahead:
        output = forward()
    prices = {name: float(ahead.total)}
    if output.requires_grad:
        with FlopCount() as back:
            torch.autograd.grad(output.sum(), leaves, allow_unused=True, retain_graph=True)
        prices[f"{name}.backward"] = float(back.total)
    return prices
