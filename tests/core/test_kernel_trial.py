"""A reward that would make a run random or without effect is reported before the first step."""

import warnings

import pytest
import torch
from torch import nn

import tta_core as tta
from tta_core.errors import IncompatibleError
from tta_core.testing import GaussianMixture, vp_scheduler
from tta_plugins.methods.baselines import BestOfN
from tta_plugins.methods.date import DATE


def prepared(reward, method=None):
    with tta.prepare("a red circle", backbone=GaussianMixture(), reward=reward, method=method or DATE(), scheduler=vp_scheduler(2)):
        pass


def rounded(images, prompts):
    return (images * 255).round().mean((1, 2, 3))


def detached(images, prompts):
    weight = torch.ones(1, requires_grad=True)
    return (images.detach() * weight).mean((1, 2, 3))


class Constant:
    card = tta.Card(differentiable=True)

    def __call__(self, images, prompts):
        return torch.ones(len(prompts))


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, images, prompts):
        self.calls += 1
        return images.mean((1, 2, 3)) + self.calls


class Holding:
    def __init__(self, *layers):
        self.network = nn.Sequential(nn.Conv2d(3, 1, 1), *layers)

    def __call__(self, images, prompts):
        return self.network(images).mean((1, 2, 3))


@pytest.mark.parametrize("reward", [detached, Constant()])
def test_a_gradient_that_never_reaches_the_images_is_refused(reward):
    with pytest.raises(IncompatibleError, match="do not depend differentiably on the images"):
        prepared(reward)
    prepared(reward, BestOfN(n=2))


def test_a_gradient_that_is_zero_everywhere_gives_a_warning():
    with pytest.warns(UserWarning, match=r"gradient of rounded .* exactly zero"):
        prepared(rounded)
    prepared(rounded, BestOfN(n=2))


def test_a_score_that_saturates_on_one_image_only_gives_no_warning():
    def hinge(images, prompts):
        return (images.std((1, 2, 3)) - 0.02).clamp(min=0)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(hinge)


@pytest.mark.parametrize("method", [DATE(), BestOfN(n=2)])
def test_two_scores_for_one_image_give_a_warning(method):
    with pytest.warns(UserWarning, match="gave one image two scores, .*random, or keeps state"):
        prepared(Counting(), method)


@pytest.mark.parametrize("layer", [nn.Dropout(1e-9), nn.BatchNorm2d(1)], ids=["dropout", "batch-norm"])
def test_an_undeclared_network_in_train_mode_gives_a_warning(layer):
    held = Holding(layer)
    with pytest.warns(UserWarning, match="uses a Sequential in train mode"):
        prepared(held)
    network = held.network
    with pytest.warns(UserWarning, match="uses a Sequential in train mode"):
        prepared(lambda images, prompts: network(images).mean((1, 2, 3)))
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(held)


def test_a_network_without_dropout_may_stay_in_train_mode():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepared(Holding())
