"""How often a method asks each network, counted by running the method itself on networks that cost nothing.

So no method has a second, hand-written formula that could become wrong.
"""

import torch

from tta_core.protocols.memory import Setup
from tta_plugins.cost.dummies import DummyBackbone, DummyReward, dummy_problem, size_of


def evaluation_count(setup: Setup) -> dict[str, int]:
    """Rows through each component in a run of the setup's method, forwards and backwards, by the ledger's names."""
    backbone = DummyBackbone(setup.backbone)
    problem = dummy_problem(setup, backbone, DummyReward(setup.reward), backbone.latent_shape(*size_of(setup)))
    with torch.enable_grad():
        for _ in setup.method.align(problem):
            pass
    return dict(problem.ledger.counts)
