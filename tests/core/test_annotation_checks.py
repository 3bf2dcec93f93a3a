"""In the tests each annotation is checked, with or without shapes, as by jaxtyping's own hook."""

import jaxtyping
import pytest
import torch
from jaxtyping import Float, TypeCheckError
from jaxtyping._import_hook import Typechecker
from torch import Tensor

from tta_core.protocols.backbone import classifier_free
from tta_core.testing.mixture import GaussianMixture

check = jaxtyping.jaxtyped(typechecker=next(iter(Typechecker.lookup.values())))  # as in the import hook


@check
def added(x: Float[Tensor, "b n"], y: Float[Tensor, "b n"], to: tuple[int, ...] = ()) -> Float[Tensor, "b n"]:
    return (x + y).reshape(to or x.shape)


@check
def halves(x: Float[Tensor, "b n"], parts: int) -> Float[Tensor, "b {parts} m"]:
    return x.reshape(len(x), 2, -1)


@check
def rows(x: Float[Tensor, "b n"]) -> list[Float[Tensor, " n"]]:
    return [added(row[None], row[None])[0] for row in x]


def test_correct_arguments_pass():
    assert added(torch.ones(2, 4), torch.ones(2, 4)).sum() == 16
    assert halves(torch.ones(2, 4), 2).shape == (2, 2, 2)
    assert len(rows(torch.ones(3, 4))) == 3, "a call within a call has dimensions of its own"


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: added(torch.ones(2, 4), torch.ones(2, 3)), id="two arguments disagree"),
        pytest.param(lambda: added(torch.ones(2, 4), torch.ones(2, 4), (4, 2)), id="arguments and result disagree"),
        pytest.param(lambda: added(torch.ones(2, 4), torch.ones(2, 4), 8), id="a plain type"),
        pytest.param(lambda: halves(torch.ones(2, 6), 3), id="a dimension that is an argument"),
        pytest.param(lambda: classifier_free(torch.ones(1, 4, 2, 2), torch.ones(2, 4, 2, 2), 2.0), id="the kernel's shapes"),
        pytest.param(lambda: GaussianMixture().encode("text", 8, "8"), id="the kernel's plain types"),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_checks_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert added(torch.ones(2, 4), torch.ones(2, 4), (4, 2)).shape == (4, 2)
