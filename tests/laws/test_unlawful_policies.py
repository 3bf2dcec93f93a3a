"""Each law of memory policies fails for a policy that is made to break it."""

from typing import ClassVar

import attrs
import pytest
import torch
from breaking import assert_caught, laws_of

from tta_core.testing import MemoryPolicySuite, NetworkedMixture
from tta_core.values.typing import frozen
from tta_plugins.methods.date import DATE


@frozen
class Policy:
    """Changes nothing; each subclass breaks one law."""

    tolerance: float = 0.0

    def __call__(self, setup):
        return setup


class Scaled(Policy):
    """Multiplies all weights by a factor, and restores them afterwards."""

    factor = 1.01

    def __call__(self, setup):
        for parameter in _parameters(setup):
            setup.undo.callback(setattr, parameter, "data", parameter.data)
            parameter.data = parameter.data * self.factor
        return setup


class Bent(NetworkedMixture):
    def predict(self, x, step, embedding):
        output = super().predict(x, step, embedding)
        return 2 * output - output.detach()


class DoubledGradient(Policy):
    def __call__(self, setup):
        return attrs.evolve(setup, backbone=Bent())


class Bolder(Policy):
    def __call__(self, setup):
        return attrs.evolve(setup, method=DATE(rho=3.0))


class Keeping(Policy):
    def __call__(self, setup):
        setup.backbone.denoiser.register_forward_hook(lambda *_: None)
        return setup


class FairWeather(Policy):
    """Undoes its changes only if there was no error."""

    def __call__(self, setup):
        parameter, before = _parameters(setup)[0], _parameters(setup)[0].data
        parameter.data = before + 1

        def restore(kind, error, traceback):
            if kind is None:
                parameter.data = before

        setup.undo.push(restore)
        return setup


class Wearing(Policy):
    """Its error grows with every run."""

    runs: ClassVar[list[int]] = []

    def __call__(self, setup):
        self.runs.append(1)
        for parameter in _parameters(setup):
            setup.undo.callback(setattr, parameter, "data", parameter.data)
            parameter.data = parameter.data * (1 + 1e-3 * len(self.runs))
        return setup


class Single(Policy):
    """Remembers one original for each network, so a second application overwrites the first."""

    def __call__(self, setup):
        parameter = _parameters(setup)[0]
        setup.backbone.denoiser.original = parameter.data
        parameter.data = parameter.data + 0
        parameter.data[0, 0] += 1e-6

        def restore():
            parameter.data = setup.backbone.denoiser.__dict__.pop("original", parameter.data)

        setup.undo.callback(restore)
        return setup


def _parameters(setup):
    return [parameter for network in setup.backbone.networks.values() for parameter in network.parameters()]


BROKEN = {
    "test_the_tolerance_is_stated": Policy(tolerance=-1.0),
    "test_predictions_stay_within_the_tolerance": Scaled(),
    "test_gradients_stay_within_the_tolerance": DoubledGradient(),
    "test_an_exact_policy_gives_the_same_result": Bolder(),
    "test_everything_is_restored": Keeping(),
    "test_everything_is_restored_after_an_error": FairWeather(),
    "test_a_second_run_gives_the_same": Wearing(),
    "test_policies_compose": Single(),
}


@pytest.mark.parametrize("law", laws_of(MemoryPolicySuite))
def test_the_law_catches(law):
    assert_caught(MemoryPolicySuite, law, {"policy": BROKEN[law], "method": DATE()}, attributes={})


@pytest.mark.parametrize("law", laws_of(MemoryPolicySuite))
def test_the_base_class_of_these_policies_keeps_the_laws(law):
    subjects = {"policy": Policy(), "method": DATE()} if "stated" not in law else {"policy": Policy()}
    getattr(MemoryPolicySuite(), law)(**subjects)
    assert torch.is_grad_enabled()
