"""The suite of laws for variables: a written value can be read again, and nothing else changes."""

import pytest
import torch

from tta_core.errors import IncompatibleError
from tta_core.protocols.variables import ControllableVariable, Noise, NullEmbedding, Product, TextEmbedding
from tta_core.testing.profiles import drawn
from tta_core.testing.strategies import controls, seeds
from tta_core.values.controls import Controls, Embedding
from tta_core.values.typing import evolve


class VariableSuite:
    """Inherit, and override the fixture `variable`.

    Attributes:
        steers: which of "text", "null" and "noise" a write may replace.
    """

    steers: frozenset[str] = frozenset({"text"})

    @pytest.fixture
    def variable(self) -> ControllableVariable:
        """The variable to test."""
        raise NotImplementedError("Override the fixture `variable`.")

    @drawn(here=controls(), seed=seeds())
    def test_reading_what_was_written_gives_it(self, variable: ControllableVariable, here: Controls, seed: int) -> None:
        """read(write(c, v)) = v, bit for bit."""
        value = _fresh(variable, here, seed)
        assert _same(variable.read(variable.write(here, value)), value), "the value read differs from the value written"

    @drawn(here=controls())
    def test_writing_what_was_read_changes_nothing(self, variable: ControllableVariable, here: Controls) -> None:
        """write(c, read(c)) = c, bit for bit."""
        assert _same(_everything(variable.write(here, variable.read(here))), _everything(here)), (
            "writing the value that was read changed the controls"
        )

    @drawn(here=controls(), seed=seeds())
    def test_the_second_of_two_writes_wins(self, variable: ControllableVariable, here: Controls, seed: int) -> None:
        """write(write(c, u), v) = write(c, v)."""
        first, second = _fresh(variable, here, seed), _fresh(variable, here, seed + 1)
        twice, once = variable.write(variable.write(here, first), second), variable.write(here, second)
        assert _same(_everything(twice), _everything(once)), "the result of two writes depends on the first"

    @drawn(here=controls(), seed=seeds())
    def test_what_is_not_steered_stays_the_same_object(self, variable: ControllableVariable, here: Controls, seed: int) -> None:
        """A write replaces the steered controls, and every other control stays the same object."""
        after = variable.write(here, _fresh(variable, here, seed))
        for name in ("text", "null", "noise"):
            kept = getattr(after, name) is getattr(here, name)
            assert kept or name in self.steers, f"{name} is not steered, but a write replaced it: its guidance branch runs again"

    @drawn(here=controls(), seed=seeds())
    def test_a_write_leaves_the_old_controls_alone(self, variable: ControllableVariable, here: Controls, seed: int) -> None:
        """A write makes new controls, and the old ones keep their numbers."""
        before = [tensor.clone() for tensor in _everything(here)]
        variable.write(here, _fresh(variable, here, seed))
        assert _same(_everything(here), before), "a write changed the controls it was given"

    @drawn(here=controls(batch=3))
    def test_rows_are_samples(self, variable: ControllableVariable, here: Controls) -> None:
        """Dimension 0 of every steered tensor is the sample: changing row 1 changes the controls of sample 1 alone."""
        value = variable.read(here)
        assert all(tensor.shape[0] == 3 for tensor in value), f"3 samples, but rows {[tensor.shape[0] for tensor in value]}"
        bumped = tuple(torch.cat([tensor[:1], tensor[1:2] + 1, tensor[2:]]) for tensor in value)
        after = variable.write(here, bumped)
        for old, new in zip(_by_sample(here), _by_sample(after), strict=True):
            assert torch.equal(old[[0, 2]], new[[0, 2]]), "changing one sample's value changed another sample's controls"

    @drawn(here=controls())
    def test_gradients_reach_the_leaves(self, variable: ControllableVariable, here: Controls) -> None:
        """Written leaves get a gradient of 1 from the sum of all controls."""
        leaves = tuple(tensor.clone().requires_grad_() for tensor in variable.read(here))
        total = sum(tensor.sum() for tensor in _everything(variable.write(here, leaves)))
        assert isinstance(total, torch.Tensor)
        assert total.requires_grad, "the written controls do not depend on the leaves"
        for gradient in torch.autograd.grad(total, leaves, allow_unused=True):
            assert gradient is not None, "a leaf has no influence on the controls"
            assert torch.equal(gradient, torch.ones_like(gradient)), "a leaf's influence on the controls is not the identity"

    @drawn(here=controls())
    def test_a_product_reads_its_parts_in_order(self, variable: ControllableVariable, here: Controls) -> None:
        """(u & v) reads u's tensors, then v's; and products associate."""
        kinds: dict[str, ControllableVariable] = {"null": NullEmbedding(), "text": TextEmbedding(), "noise": Noise()}
        free = [other for name, other in kinds.items() if name not in self.steers]
        if not free:
            pytest.skip("The variable steers everything, so there is no other variable for a product.")
        other = free[0]
        product = Product((variable, other))
        assert _same(product.read(here), (*variable.read(here), *other.read(here))), "a product does not read its parts one after another"
        nested = Product((Product((variable, other)),))
        assert _same(nested.read(here), product.read(here)), "a nested product reads something else"

    @drawn(here=controls(null=False))
    def test_needs_null_is_declared_correctly(self, variable: ControllableVariable, here: Controls) -> None:
        """Without a null embedding, a variable that needs one raises an error, and any other works."""
        if variable.needs_null:
            with pytest.raises(IncompatibleError, match="null"):
                variable.read(here)
        else:
            variable.write(here, variable.read(here))

    @drawn(here=controls())
    def test_a_read_is_not_a_copy_of_the_whole(self, variable: ControllableVariable, here: Controls) -> None:
        """A read depends only on the steered controls: changing the others does not change it."""
        others = {"text", "null"} - self.steers
        changed = evolve(here, **{name: _moved(getattr(here, name)) for name in others})
        changed = changed if "noise" in self.steers else evolve(changed, noise=here.noise + 1)
        assert _same(variable.read(changed), variable.read(here)), "the value depends on controls that are not steered"


def _moved(embedding: object) -> Embedding:
    assert isinstance(embedding, Embedding)
    return embedding[torch.tensor([1, 0])]


def _fresh(variable: ControllableVariable, here: Controls, seed: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(tensor.shape, generator=generator) for tensor in variable.read(here))


def _everything(here: Controls) -> tuple[torch.Tensor, ...]:
    branches = [branch for branch in (here.text, here.null) if branch is not None]
    return (*(leaf for branch in branches for leaf in branch.leaves), here.noise)


def _by_sample(here: Controls) -> tuple[torch.Tensor, ...]:
    *embeddings, noise = _everything(here)
    return (*embeddings, noise.transpose(0, 1))


def _same(first: object, second: object) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # type: ignore[call-overload]
