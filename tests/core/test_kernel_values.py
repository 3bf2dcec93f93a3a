"""Value classes are checked at construction and cannot be changed; networks are frozen during a run and restored after it."""

import contextlib
import random

import attrs
import pytest
import torch
from jaxtyping import TypeCheckError

import tta_core as tta
from tta_core.errors import InputError
from tta_core.running.frozen_networks import frozen_networks
from tta_core.testing import NetworkedMixture
from tta_core.values.typing import evolve, frozen
from tta_plugins.methods.date import DATE

TOKENS = torch.zeros(2, 3, 8)


@frozen
class Held:
    """A value whose checks look at a random item."""

    values: list[int]


def test_checks_leave_pythons_random_numbers_as_they_are():
    before = random.getstate()
    Held([1, 2, 3])
    with contextlib.suppress(InputError):
        Held(["a", "b", "c"])
    assert random.getstate() == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: tta.GaussianTransition(torch.zeros(2, 4), 1.0),
        lambda: tta.Embedding(torch.zeros(3, 8)),
        lambda: tta.Embedding(TOKENS, pooled=torch.zeros(3, 5)),
        lambda: tta.Embedding(TOKENS, mask=torch.ones(2, 3)),
        lambda: tta.Controls(tta.Embedding(TOKENS), None, torch.zeros(2, 4, 4, 4)),
        lambda: evolve(tta.GaussianTransition(torch.zeros(2, 4, 4, 4), 1.0), mean=torch.zeros(4)),
        lambda: DATE(start="middle"),
    ],
)
def test_wrong_shapes_and_choices_are_refused_at_construction(make):
    with pytest.raises(InputError):
        make()


def test_a_combination_of_types_that_passed_does_not_let_another_pass():
    good = torch.zeros(2, 4, 4, 4)
    tta.GaussianTransition(good, 1.0)
    for mean, std in ((good[0], 1.0), (good.int(), 1.0), (good, "1"), (good, None), (None, 1.0)):
        with pytest.raises(InputError):
            tta.GaussianTransition(mean, std)
    tta.Embedding(TOKENS, extra={"time_ids": torch.zeros(2, 6)})
    with pytest.raises(InputError):
        tta.Embedding(TOKENS, extra={"time_ids": None})
    assert DATE(start="original")
    with pytest.raises(InputError):
        DATE(start="middle")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DATE(start="middle"), "DATE.start takes Literal['current', 'original'], but 'middle' was given."),
        (lambda: DATE(0.5, 3), "DATE.updates takes tta_core.values.schedules.Schedule, but 3 was given."),
        (lambda: tta.Budget(flops="much"), "Budget.flops takes float | None, but 'much' was given."),
        (
            lambda: tta.Embedding(TOKENS, pooled=torch.zeros(3, 5)),
            "Embedding.pooled takes jaxtyping.Float[Tensor, 'b p'] | None, but a torch.float32 tensor of shape (3, 5) was given. "
            "Dimensions of the same name must be equal in all fields.",
        ),
    ],
)
def test_an_error_names_class_field_accepted_values_and_the_given_one(make, message):
    with pytest.raises(InputError) as refusal:
        make()
    assert str(refusal.value) == message
    assert isinstance(refusal.value.__cause__, TypeCheckError)


def test_whole_numbers_are_floats():
    assert DATE(rho=1) == DATE(rho=1.0)


def test_values_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        DATE().rho = 2.0
    assert attrs.evolve(DATE(), rho=2.0).rho == 2.0


def test_rows_of_embeddings():
    embedding = tta.Embedding(
        torch.arange(6.0).view(2, 3, 1), torch.arange(2.0).view(2, 1), torch.ones(2, 3, dtype=torch.int64), {"time_ids": torch.arange(2)}
    )
    assert embedding.repeated(2) is embedding
    assert embedding.repeated(4).pooled.flatten().tolist() == [0, 1, 0, 1]
    assert embedding.repeated(4).extra["time_ids"].tolist() == [0, 1, 0, 1]
    assert embedding[torch.tensor([1])].tokens.flatten().tolist() == [3, 4, 5]
    assert embedding[torch.tensor([1])].mask.shape == (1, 3)


def test_the_better_of_two_sample_by_sample():
    def controls(value):
        tokens = torch.full((2, 3, 8), value)
        return tta.Controls(tta.Embedding(tokens), tta.Embedding(tokens), torch.full((2, 2, 4, 4, 4), value))

    def snapshot(value, *scores):
        x0 = torch.full((2, 4, 4, 4), value)
        return tta.Snapshot(int(value), 5, controls(value), x0, torch.tensor(scores))

    best = snapshot(1.0, 0.5, 0.1).better(snapshot(2.0, 0.5, 0.3))
    assert best.scores.tolist() == pytest.approx([0.5, 0.3])
    assert best.x0[:, 0, 0, 0].tolist() == [1, 2]
    assert best.controls.text.tokens[:, 0, 0].tolist() == [1, 2]
    assert best.controls.noise[0, :, 0, 0, 0].tolist() == [1, 2]
    assert best.index == 2


def test_networks_are_frozen_and_restored_also_after_an_error():
    networks = NetworkedMixture().networks
    first = next(networks["denoiser"].parameters())
    networks["decoder"].eval()
    next(networks["decoder"].parameters()).requires_grad_(False)
    with contextlib.suppress(KeyboardInterrupt), frozen_networks(networks.values()):
        assert not first.requires_grad
        assert not networks["denoiser"].training
        raise KeyboardInterrupt
    assert first.requires_grad
    assert networks["denoiser"].training
    assert not networks["decoder"].training
    assert not next(networks["decoder"].parameters()).requires_grad


def test_names_of_the_kernel_are_imported_when_used():
    assert "align" in dir(tta)
    for name in tta.__all__:
        assert getattr(tta, name) is not None
    with pytest.raises(AttributeError, match="no_such_word"):
        tta.no_such_word  # noqa: B018
