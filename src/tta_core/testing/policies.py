"""The suite of laws for memory policies: each keeps its tolerance, composes, and restores everything."""

import contextlib
from collections.abc import Callable

import attrs
import pytest
import torch
from torch import nn

from tta_core.protocols.memory import MemoryPolicy, Setup
from tta_core.protocols.method import Method
from tta_core.running.frozen_networks import frozen_networks
from tta_core.solving.problem import Problem
from tta_core.testing.networked import NetworkedMixture
from tta_core.testing.problems import Likeness, problem_for, solved
from tta_core.testing.tables import vp_scheduler
from tta_core.values.noise import keyed_normal
from tta_core.values.typing import evolve


class MemoryPolicySuite:
    """Inherit, and override the fixtures `policy` and `method` (a cheap method with which the policy works).

    Attributes:
        approximates_method: whether it changes the method (fewer updates, another decoder) and not how a prediction is computed.
    """

    approximates_method: bool = False

    @pytest.fixture
    def policy(self) -> MemoryPolicy:
        """The policy to test."""
        raise NotImplementedError("Override the fixture `policy`.")

    @pytest.fixture
    def method(self) -> Method:
        """A method with which the policy works."""
        raise NotImplementedError("Override the fixture `method`.")

    def test_the_tolerance_is_stated(self, policy: MemoryPolicy) -> None:
        """A policy is a frozen value, and states the largest error of a prediction: 0 if exact, infinity if it changes the method."""
        assert isinstance(policy, MemoryPolicy), "a member of tta_core.MemoryPolicy is missing"
        assert policy.tolerance >= 0, f"tolerance is {policy.tolerance}"
        assert attrs.has(type(policy)), "the policy is not an attrs class, so two equal policies do not compare equal"
        assert policy == evolve(policy), "the same settings give an unequal policy"

    def test_predictions_stay_within_the_tolerance(self, policy: MemoryPolicy, method: Method) -> None:
        """A prediction under the policy differs from the plain one by at most the tolerance; by rounding if it is exact."""
        with torch.no_grad():
            expected, seen = _computed(method, _prediction), _computed(method, _prediction, policy)
        _assert_near(seen, expected, policy.tolerance, "prediction")

    def test_gradients_stay_within_the_tolerance(self, policy: MemoryPolicy, method: Method) -> None:
        """The gradient with respect to the embedding differs by at most ten times the tolerance; by rounding if it is exact."""
        expected, seen = _computed(method, _gradient), _computed(method, _gradient, policy)
        _assert_near(seen, expected, 10 * policy.tolerance, "gradient")

    def test_an_exact_policy_gives_the_same_result(self, policy: MemoryPolicy, method: Method) -> None:
        """A whole run with an exact policy has the same result as a run without it."""
        expected, seen = _computed(method, _result), _computed(method, _result, policy)
        if policy.tolerance == 0 and not self.approximates_method:
            torch.testing.assert_close(seen, expected, atol=1e-4, rtol=1e-4, msg="the result differs with an exact policy")
        assert torch.isfinite(seen).all(), "the run under the policy gave latents that are not finite"

    def test_everything_is_restored(self, policy: MemoryPolicy, method: Method) -> None:
        """After the run the networks have their weights, dtypes, layout, flags, hooks and methods as before."""
        backbone = NetworkedMixture()
        before = _record(backbone)
        _computed(method, _prediction, policy, backbone=backbone)
        _assert_unchanged(before, _record(backbone))

    def test_everything_is_restored_after_an_error(self, policy: MemoryPolicy, method: Method) -> None:
        """If the run ends with an exception, the networks are restored in the same way."""
        backbone = NetworkedMixture()
        before = _record(backbone)
        with contextlib.suppress(KeyboardInterrupt):
            _computed(method, _interrupted, policy, backbone=backbone)
        _assert_unchanged(before, _record(backbone))

    def test_a_second_run_gives_the_same(self, policy: MemoryPolicy, method: Method) -> None:
        """A second run with the same policy gives the same bits."""
        with torch.no_grad():
            first, second = (_computed(method, _prediction, policy) for _ in range(2))
        assert torch.equal(first, second), "a second run under the same policy differs"

    def test_policies_compose(self, policy: MemoryPolicy, method: Method) -> None:
        """Applied twice it still keeps its tolerance, and one undo restores everything."""
        backbone = NetworkedMixture()
        before = _record(backbone)
        with torch.no_grad():
            expected, seen = _computed(method, _prediction), _computed(method, _prediction, policy, policy, backbone=backbone)
        _assert_near(seen, expected, 2 * policy.tolerance, "prediction")
        _assert_unchanged(before, _record(backbone))


Computation = Callable[[Setup], torch.Tensor]


def _computed(method: Method, computation: Computation, *policies: MemoryPolicy, backbone: NetworkedMixture | None = None) -> torch.Tensor:
    """The result of a computation under these policies, in a setup that is undone afterwards."""
    backbone = backbone or NetworkedMixture()
    setup = Setup(backbone, vp_scheduler(3, method.needs.eta), Likeness(), method, height=8, width=8, guidance=2.0)
    with frozen_networks(backbone.networks.values()), setup.undo:
        for policy in policies:
            setup = policy(setup)
        return computation(setup)


def _interrupted(setup: Setup) -> torch.Tensor:
    _prediction(setup)
    raise KeyboardInterrupt


def _result(setup: Setup) -> torch.Tensor:
    return solved(setup.method, _with_setup(problem_for(setup.method, steps=3), setup)).x0


def _with_setup(problem: Problem, setup: Setup) -> Problem:
    return evolve(
        problem,
        backbone=setup.backbone,
        scheduler=setup.scheduler,
        reward=setup.reward,
        look_ahead_decoder=setup.look_ahead,
        segment=setup.segment,
        loss_scale=setup.loss_scale,
    )


def _prediction(setup: Setup) -> torch.Tensor:
    backbone, step = setup.backbone, setup.scheduler.steps[1]
    embedding = backbone.encode(["a red circle", "a blue square"], 8, 8)
    x = torch.stack([keyed_normal(("policy", row), (4, 4, 4)) for row in range(2)])
    return backbone.predict(x, step, embedding)


def _gradient(setup: Setup) -> torch.Tensor:
    backbone, step = setup.backbone, setup.scheduler.steps[1]
    embedding = backbone.encode(["a red circle", "a blue square"], 8, 8)
    leaf = embedding.tokens.clone().requires_grad_()
    x = torch.stack([keyed_normal(("policy", row), (4, 4, 4)) for row in range(2)])
    images = (setup.look_ahead or backbone.decode)(backbone.predict(x, step, evolve(embedding, tokens=leaf)))
    objective = images.square().mean() * setup.loss_scale
    return torch.autograd.grad(objective, leaf)[0] / setup.loss_scale


def _assert_near(seen: torch.Tensor, expected: torch.Tensor, tolerance: float, what: str) -> None:
    error = ((seen - expected).norm() / expected.norm()).item()
    assert error <= max(tolerance, 1e-5), f"the {what} is off by {error:.2g}, which is more than the stated {tolerance:g}"


Record = dict[str, object]


def _record(backbone: NetworkedMixture) -> Record:
    """Everything that a policy could forget to restore, comparable by ==."""
    record: Record = {}
    for role, network in backbone.networks.items():
        for name, tensor in network.state_dict().items():
            record[f"{role}.{name}"] = (tensor.dtype, tensor.stride(), str(tensor.device), tensor.flatten().tolist())
        for name, module in network.named_modules():
            record[f"{role}.{name} ({type(module).__name__})"] = _state(module)
    return record


def _state(module: nn.Module) -> object:
    """A module's mode, flags and hooks, and all attributes set on the instance."""
    hooks = {name: len(value) for name, value in vars(module).items() if name.endswith("_hooks")}
    own = {name: repr(value) for name, value in vars(module).items() if not name.startswith("_") and not isinstance(value, nn.Module)}
    flags = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
    return hooks, own, flags, module._compiled_call_impl is None


def _assert_unchanged(before: Record, after: Record) -> None:
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    assert not changed, f"the policy did not restore {', '.join(sorted(changed))}"
