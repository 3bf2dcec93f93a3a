"""Counts how often a method evaluates each network, by running the method on networks that cost nothing.

So no method needs a formula of its own, which could become wrong.
"""

from collections.abc import Sequence

import torch

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.memory import Setup
from tta_core.protocols.reward import card_of
from tta_core.protocols.wrappers import WrappedBackbone, WrappedReward
from tta_core.values.controls import Embedding
from tta_core.values.trajectory import Step
from tta_core.values.typing import Images, Latents, Scores
from tta_plugins.cost.dummy_problem import dummy_problem, size_of

_SIDE = 4  # height and width of latents and images


def evaluation_count(setup: Setup) -> dict[str, int]:
    """Rows through each component in a run of the setup's method, forward and backward, by the ledger's names."""
    channels = setup.backbone.latent_shape(*size_of(setup))[0]
    reward = WrappedReward(setup.reward, _low_scores if card_of(setup.reward).differentiable is False else _low_scores_with_graph)
    problem = dummy_problem(setup, _dummy_backbone(setup.backbone), reward, (channels, _SIDE, _SIDE))
    with torch.enable_grad():
        for _ in setup.method.align(problem):
            pass
    return dict(problem.ledger.counts)


def _dummy_backbone(backbone: Backbone) -> Backbone:
    """The backbone with calls that compute almost nothing; outputs depend on x and on the embedding, so that they have gradients."""

    def encode_null(prompts: Sequence[str | None], height: int, width: int) -> Embedding | None:
        return _encode(prompts, height, width) if backbone.has_null else None

    return WrappedBackbone(
        backbone,
        encoding=_encode,
        encoding_null=encode_null,
        predicting=_predict,
        combining=lambda text, null, guidance: null + guidance * (text - null),
        decoding=lambda x0: 0.5 + 0 * x0.mean(1, keepdim=True).expand(-1, 3, -1, -1),
        device=torch.device("cpu"),
    )


def _encode(prompts: Sequence[str | None], height: int, width: int) -> Embedding:
    """Two tokens and a pooled vector, of zeros."""
    return Embedding(torch.zeros(len(prompts), 2, 4), torch.zeros(len(prompts), 4))


def _predict(x: Latents, step: Step, embedding: Embedding) -> Latents:
    """x times 1, where the 1 depends on the embedding; it is a product, so that a checkpoint has a tensor to recompute."""
    total = sum(leaf.flatten(1).sum(1) for leaf in embedding.leaves)
    return x * (1 + 0 * torch.as_tensor(total).view(-1, 1, 1, 1))


def _low_scores_with_graph(images: Images, prompts: Sequence[str]) -> Scores:
    """Scores so low that no method stops early, with a gradient of zero."""
    return images.mean((1, 2, 3)) * 0 - 1e6


def _low_scores(images: Images, prompts: Sequence[str]) -> Scores:
    return _low_scores_with_graph(images, prompts).detach()
