"""Rewards that a user calls directly refuse invalid images and prompts, each with a remedy."""

import numpy
import pytest
import torch
from PIL import Image

from tta_core.errors import InputError
from tta_core.plugins.discovery import plugins
from tta_core.values.images import as_pixels
from tta_plugins.rewards.blackbox import BlackBox
from tta_plugins.rewards.jpeg import Compressibility
from tta_plugins.rewards.mixtures import WeightedSum
from tta_plugins.rewards.pixels import Brightness

IMAGES, PROMPTS = torch.rand(2, 3, 8, 8), ["a red circle", "a blue square"]
IMAGE = Image.new("RGB", (8, 8), (255, 0, 0))
BAD = {
    "8-bit": ((IMAGES * 255).to(torch.uint8), PROMPTS, r"hold torch.uint8.*images.float\(\) / 255"),
    "grey": (IMAGES[:, :1], PROMPTS, r"\(2, 1, 8, 8\).*images.expand\(-1, 3, -1, -1\)"),
    "alpha": (torch.rand(2, 4, 8, 8), PROMPTS, r"\(2, 4, 8, 8\).*alpha.*images\[:, :3\]"),
    "channels last": (IMAGES.permute(0, 2, 3, 1), PROMPTS, r"channels are last: give images.permute\(0, 3, 1, 2\)"),
    "five channels": (torch.rand(2, 5, 8, 8), PROMPTS, r"Convert the images to RGB"),
    "not a number": (IMAGES.clone().fill_(float("nan")), PROMPTS, "hold NaN or infinite values"),
    "infinite": (IMAGES / 0, PROMPTS, "hold NaN or infinite values"),
    "levels": (IMAGES * 255, PROMPTS, r"lie in \[.*\].*images / 255"),
    "-1 to 1": (torch.linspace(-1, 1, 384).view(2, 3, 8, 8), PROMPTS, r"From \[-1, 1\], give images / 2 \+ 0.5"),
    "one image": (IMAGES[0], PROMPTS[:1], r"without a batch. Give images\[None\]"),
    "empty": (IMAGES[..., :0], PROMPTS, "at least one pixel"),
    "sparse": (IMAGES.to_sparse(), PROMPTS, "Give a dense tensor"),
    "meta": (IMAGES.to("meta"), PROMPTS, "without data"),
    "complex": (IMAGES + 0j, PROMPTS, "hold torch.complex64"),
    "PIL": ([IMAGE, IMAGE], PROMPTS, r"as_pixels\(images, b\) makes one"),
    "array": (numpy.zeros((2, 3, 8, 8)), PROMPTS, "a reward takes a tensor"),
    "one text": (IMAGES, "a red circle", r"Give \[prompt\] \* 2"),
    "number as a prompt": (IMAGES, ["a", 2], "one of the prompts is 2, but a prompt is a text"),
    "too few prompts": (IMAGES, PROMPTS[:1], "2 images and 1 prompts"),
}


@pytest.mark.parametrize(
    "name",
    ["brightness", "contrast", "colourfulness", "sharpness", "saturation", "edge-density", "colour-entropy", "high-frequency", "jpeg"],
)
def test_the_default_dtype_changes_no_score(name):
    reward = plugins().registry.create("rewards", name)
    scores = reward(IMAGES, PROMPTS)
    torch.set_default_dtype(torch.float64)
    try:
        again = reward(IMAGES, PROMPTS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(scores, again)


@pytest.mark.parametrize(
    "reward",
    [Brightness(), Compressibility(), BlackBox(lambda images, prompts: [0.0] * len(images))],
    ids=lambda reward: type(reward).__name__,
)
@pytest.mark.parametrize("case", BAD)
def test_invalid_batches_of_images_are_refused(reward, case):
    images, prompts, message = BAD[case]
    with pytest.raises(InputError, match=rf"Cannot use {type(reward).__name__}.*{message}"):
        reward(images, prompts)


def test_mixtures_refuse_them_too():
    with pytest.raises(InputError, match=r"Cannot use WeightedSum.*torch.uint8"):
        WeightedSum({"light": Brightness()})(BAD["8-bit"][0], PROMPTS)


def test_the_remedy_for_images_works():
    assert Brightness()(as_pixels([IMAGE, IMAGE], 2), PROMPTS).tolist() == pytest.approx([1 / 3] * 2)


def test_overshoot_and_half_precision_are_accepted():
    assert Brightness()(IMAGES * 1.2 - 0.1, PROMPTS).shape == Brightness()(IMAGES.half(), PROMPTS).shape == (2,)


def test_every_reward_checks_its_arguments():
    kinds = {entry.name: entry.load() for entry in plugins().registry.entries("rewards") if entry.target.startswith("tta_plugins.rewards")}
    unchecked = {name for name, kind in kinds.items() if not hasattr(kind.__call__, "__wrapped__")}
    assert len(kinds) > 25
    assert not unchecked
