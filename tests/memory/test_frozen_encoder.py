"""The policy `frozen-encoder`: the U-Net's encoder is evaluated once per step; which results stay the same, what is saved, and where it is
refused."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.memory import Setup
from tta_core.running.prepare import prepare
from tta_core.testing import GaussianMixture, NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_core.values.trajectory import State
from tta_core.values.typing import evolve
from tta_plugins.memory.chunked import Chunked
from tta_plugins.memory.frozen_encoder import FrozenEncoder, _copied
from tta_plugins.methods.baselines import Fixed
from tta_plugins.methods.dno import DNO
from tta_plugins.methods.null_tta import NullTTA

INNER = 2
METHOD = NullTTA(particles=1, inner_min=INNER, inner_max=INNER)
unused = pytest.mark.filterwarnings("ignore:FrozenEncoder.* had no effect")


@pytest.fixture
def problem(prepared):
    """A problem with the policy, active from the first step on."""
    with prepared(FrozenEncoder(0.0), method=METHOD) as run:
        yield run.problem


def moved(embedding, by):
    """A changed copy of an embedding, as a leaf."""
    return evolve(embedding, tokens=(embedding.tokens + by).detach().requires_grad_())


def start(problem):
    return problem.at(problem.start(problem.controls), problem.steps[0])


def whole(problem, x, embedding):
    """The output of the whole U-Net, as evaluations without a gradient give it."""
    with torch.no_grad():
        return problem.backbone.predict(x, problem.steps[0], embedding)


def test_an_unchanged_embedding_gives_the_same_output_without_the_encoder(problem):
    here, null = start(problem), problem.controls.null
    with FlopCounterMode(display=False) as first:
        expected = here.branch("null", moved(null, 0.0))
    expected.sum().backward()
    with FlopCounterMode(display=False) as later:
        seen = here.branch("null", moved(null, 0.0))
    torch.testing.assert_close(seen, expected)
    counts = {tuple(name.split(".")[1:]): sum(flops.values()) for name, flops in first.get_flop_counts().items()}
    encoder = sum(flops for name, flops in counts.items() if name == ("mid_block",) or (name[:1] == ("down_blocks",) and len(name) == 2))
    assert later.get_total_flops() == first.get_total_flops() - encoder
    assert encoder > 0.3 * first.get_total_flops()


def test_a_changed_embedding_acts_through_the_up_blocks(problem):
    here, null = start(problem), problem.controls.null
    first = here.branch("null", moved(null, 0.0))
    first.sum().backward()
    leaf = moved(null, 0.5)
    seen, exact = here.branch("null", leaf), whole(problem, here.state.x, leaf)
    assert torch.autograd.grad(seen.sum(), leaf.tokens)[0].abs().max() > 0
    assert 0 < (seen - exact).norm() < (first - exact).norm()


def test_early_steps_and_the_first_gradient_of_a_step_are_exact(solve):
    plain, cheap = solve(method=METHOD), solve(FrozenEncoder(), method=METHOD)
    gradients = [torch.equal(mine.gradient[0], theirs.gradient[0]) for mine, theirs in zip(cheap[:-1], plain[:-1], strict=True)]
    assert gradients == [True] * (INNER + 1) + [False] * (INNER - 1)


def test_each_prompt_has_the_same_result_in_chunks_and_alone(solve, pipeline, reward):
    *_, expected = solve(FrozenEncoder(0.0), method=METHOD)
    *_, before = solve(Chunked(), FrozenEncoder(0.0), method=METHOD)
    *_, after = solve(FrozenEncoder(0.0), Chunked(), method=METHOD)
    given = {"backbone": pipeline, "method": METHOD, "reward": reward, "memory": FrozenEncoder(0.0), "steps": 2, "height": 32, "width": 32}
    with prepare("b", **given) as run:
        *_, alone = run.method.align(run.problem)
    for seen in (before.x0, after.x0, torch.cat([expected.x0[:1], alone.x0])):
        torch.testing.assert_close(seen, expected.x0, rtol=1e-3, atol=1e-3)


@unused
def test_two_separately_steered_branches_use_the_whole_unet(problem):
    """Both branches have inputs of the same shapes, so only the order of calls and gradients distinguishes them."""
    here = start(problem)
    branches = {"null": problem.controls.null, "text": problem.controls.text}
    for by in (0.0, 0.5, 1.0):
        leaves = {name: moved(embedding, by) for name, embedding in branches.items()}
        outputs = {name: here.branch(name, leaf) for name, leaf in leaves.items()}
        sum(output.sum() for output in outputs.values()).backward()
        for name, output in outputs.items():
            torch.testing.assert_close(output, whole(problem, here.state.x, leaves[name]))


@unused
@pytest.mark.parametrize("change", ["another x", "in place", "another step", "a gradient by x"])
def test_at_another_point_the_whole_unet_is_evaluated(problem, change):
    here, null = start(problem), problem.controls.null
    here.branch("null", moved(null, 0.0)).sum().backward()
    x, step, leaf = here.state.x, problem.steps[0], moved(null, 0.5)
    if change == "in place":
        x.mul_(1.1)
    elif change == "another step":
        step = problem.steps[1]
    else:
        x = x.clone().requires_grad_(change == "a gradient by x")
    seen = problem.at(State(x), step).branch("null", leaf)
    with torch.no_grad():
        torch.testing.assert_close(seen, problem.backbone.predict(x, step, leaf))


def test_a_method_with_one_gradient_per_step_gives_a_warning(solve):
    with pytest.warns(UserWarning, match=r"FrozenEncoder\(start=0\.2\) had no effect: .* DATE computed no second gradient"):
        solve(FrozenEncoder())


REFUSED = [
    (GaussianMixture(), METHOD, "the denoiser is none"),
    (NetworkedMixture(), METHOD, r"divides a U-Net with cross-attention, and the denoiser is \w+\. Use memory"),
    (GaussianMixture(), DNO(), "DNO differentiates the whole chain"),
    (GaussianMixture(), Fixed(), "Fixed does not differentiate the reward"),
]


@pytest.mark.parametrize(("backbone", "method", "reason"), REFUSED, ids=["none", "no U-Net", "chain", "no gradient"])
def test_unsuitable_backbones_and_methods_are_refused(backbone, method, reason):
    with pytest.raises(IncompatibleError, match=rf"Cannot use FrozenEncoder\(start=0\.2\) with .*This is because .*{reason}"):
        FrozenEncoder()(Setup(backbone, vp_scheduler(3), Likeness(), method))


def test_a_unet_that_is_compiled_as_a_whole_is_refused(prepared, pipeline, monkeypatch):
    monkeypatch.setattr(pipeline.unet, "_compiled_call_impl", pipeline.unet.forward)
    with pytest.raises(IncompatibleError, match=r"compiled as a whole\. Use memory=.compile."), prepared(FrozenEncoder(), method=METHOD):
        pytest.fail("it was prepared")


def test_a_start_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"FrozenEncoder\.start is 1\.0"):
        FrozenEncoder(1.0)


def test_a_tensor_that_occurs_twice_is_copied_once():
    """Adapters add to the last of a block's outputs in place, and with it to the same tensor among the residuals."""
    made = 2 * torch.ones(2, requires_grad=True)
    last, (residual,) = _copied((made, (made,)))
    last += 1
    assert (made.tolist(), residual.tolist(), residual.requires_grad) == ([2.0, 2.0], [3.0, 3.0], False)
