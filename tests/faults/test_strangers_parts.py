"""Methods and backbones by authors who misunderstood the protocol: the error names them, and not the method or the reward beside them."""

import types

import attrs
import pytest
import torch
from faulty import aligned, brightness

import tta_core as tta
from tta_core.errors import IncompatibleError, InputError, RunError, TTAError
from tta_core.protocols.wrappers import WrappedBackbone, WrappedReward
from tta_core.testing import GaussianMixture
from tta_core.values.provenance import describe
from tta_plugins.methods.baselines import Fixed

MIXTURE = GaussianMixture()
MEMBERS = (
    "defaults", "networks", "device", "sampler", "latent_shape", "has_null", "encode", "encode_null", "predict", "combine", "decode",
)  # fmt: skip


def stranger(**changes):
    """A backbone like the mixture with some members replaced."""
    members = {name: getattr(MIXTURE, name) for name in MEMBERS} | changes
    return type("Stranger", (types.SimpleNamespace,), {"__module__": "stranger"})(**members)


def without_graph(call):
    return torch.no_grad()(call)


BACKBONES = {
    "defaults": ({"defaults": {"steps": 3}}, InputError, "Stranger .* has the defaults .*'steps': 3"),
    "networks": ({"networks": [torch.nn.Linear(1, 1)]}, InputError, "Stranger .* has the networks .*Linear"),
    "a tensor": ({"encode": lambda *_: torch.zeros(1, 3, 8)}, InputError, "Stranger .* encoded text as tensor"),
    "rows": ({"encode": lambda *_: tta.Embedding(torch.zeros(3, 3, 8))}, InputError, "encoded text as 3 rows for 1 prompts"),
    "a tuple": ({"predict": lambda *args: (MIXTURE.predict(*args),)}, RunError, "Stranger .* predicted tuple for x"),
    "channels": ({"predict": lambda x, *_: torch.cat([x, x], 1)}, RunError, r"Stranger .* predicted a tensor of shape \(\d, 8, 4, 4\)"),
    "no graph": ({"predict": without_graph(MIXTURE.predict)}, IncompatibleError, "differentiate Stranger .* its `predict` returned"),
    "no graph decoded": ({"decode": without_graph(MIXTURE.decode)}, IncompatibleError, "differentiate Stranger .* its `decode` returned"),
    "bytes": ({"decode": lambda x0: MIXTURE.decode(x0).byte()}, InputError, "Stranger .* decoded torch.uint8 images"),
}


@pytest.mark.parametrize(("changes", "kind", "message"), BACKBONES.values(), ids=BACKBONES)
def test_a_backbone_is_named(changes, kind, message, count):
    count("tried")
    with pytest.raises(kind, match=message):
        aligned(backbone=stranger(**changes))
    count("survived")


def test_a_backbone_without_gradients_works_with_methods_that_need_none():
    without = stranger(predict=without_graph(MIXTURE.predict), decode=torch.inference_mode()(MIXTURE.decode))
    assert torch.equal(aligned(backbone=without, method=Fixed()).result.pixels, aligned(method=Fixed()).result.pixels)


@attrs.frozen
class Gives:
    """A method whose `align` returns what the function gives."""

    give: object
    needs = tta.Needs()

    def align(self, problem):
        return self.give(problem)


async def asynchronous(problem):
    yield problem


METHODS = {
    "nothing": (lambda problem: None, "Gives .* returned None from align"),
    "a result": (lambda problem: problem.controls, "Gives .* returned Controls"),
    "asynchronous": (asynchronous, "Gives .* returned <async_generator"),
    "shape": (
        lambda problem: [tta.Snapshot(0, 1, problem.controls, torch.zeros(1, 4, 8, 8))],
        r"x0 has the shape \(1, 4, 8, 8\), but this run's latents have \(1, 4, 4, 4\)",
    ),
}


@pytest.mark.parametrize(("give", "message"), METHODS.values(), ids=METHODS)
def test_a_method_is_named(give, message, count):
    count("tried")
    with pytest.raises(TTAError, match=message):
        aligned(method=Gives(give))
    count("survived")


def test_a_wrapped_part_is_described_by_its_own_module():
    assert describe(WrappedBackbone(stranger())) == describe(stranger()) == "Stranger (defined in stranger)"
    assert describe(WrappedReward(brightness, brightness)) == describe(brightness)
