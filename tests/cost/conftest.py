"""The embedded model, loaded once, and a run on small networks."""

import pytest
from torch import nn

from tta_core.testing import NetworkedMixture, vp_scheduler
from tta_core.testing.problems import Likeness
from tta_plugins.shapes.registered import shapes as load


@pytest.fixture(scope="session")
def shapes():
    return load()


@pytest.fixture
def small():
    """Arguments of a run on two convolutional networks, whose activations need much more memory than latents and images do."""

    def network(channels):
        layers = [nn.Conv2d(channels, 96, 3, padding=1)]
        for _ in range(3):
            layers += [nn.GroupNorm(4, 96), nn.SiLU(), nn.Conv2d(96, 96, 3, padding=1)]
        return nn.Sequential(*layers, nn.Conv2d(96, channels, 3, padding=1))

    backbone = NetworkedMixture(denoiser=network(4), decoder=network(3))
    return {"backbone": backbone, "reward": Likeness(), "scheduler": vp_scheduler(3, 1.0), "guidance": 2.0, "height": 24, "width": 24}
