"""A random Stable Diffusion, a reward with networks, and the results of a run of DATE with them."""

from pathlib import Path

import attrs
import pytest
import torch
from torch import nn

from tta_core.protocols.reward import Card
from tta_core.running.prepare import prepare
from tta_core.values.schedules import Every
from tta_plugins.backbones.pretrained import load_pipeline
from tta_plugins.methods.date import DATE

TINY_SD = Path(__file__).parent.parent / "methods" / "fixtures" / "tiny-sd"


@attrs.frozen(eq=False)
class Seen:
    """A reward with a convolution and a list of blocks as in a transformer."""

    networks: dict[str, nn.Module]
    card = Card(differentiable=True)

    def __call__(self, images, prompts):
        return self.networks["vision"](images).float()


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.SiLU()) for _ in range(2)])

    def forward(self, images):
        seen = self.stem(images.to(self.stem.weight.dtype))
        for block in self.blocks:
            seen = seen + block(seen)
        return seen.float().mean((1, 2, 3))


@pytest.fixture(scope="session")
def pipeline():
    return load_pipeline(str(TINY_SD), torch.float32, "cpu")


@pytest.fixture
def reward():
    torch.manual_seed(0)
    return Seen({"vision": Vision()})


@pytest.fixture
def prepared(pipeline, reward):
    """DATE on two prompts of 32 x 32 pixels with these policies, ready to run."""

    def prepared(*memory, method=None, judge=None):
        method = method or DATE(rho=0.5, updates=Every(1))
        judge = judge or reward
        return prepare(["a", "b"], backbone=pipeline, method=method, reward=judge, memory=memory, steps=2, height=32, width=32)

    return prepared


@pytest.fixture
def solve(prepared):
    """All snapshots of a run."""

    def solved(*memory, method=None, judge=None):
        with prepared(*memory, method=method, judge=judge) as run:
            return list(run.method.align(run.problem))

    return solved


@pytest.fixture
def networks(pipeline, reward):
    return {"unet": pipeline.unet, "vae": pipeline.vae, "text": pipeline.text_encoder, **reward.networks}
