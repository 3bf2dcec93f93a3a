"""Trains the convnet judge, on renders with and without blur and noise."""

import random
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from tta_plugins.shapes.judge import JudgeNet, presence
from tta_plugins.shapes.models import SIZE
from tta_plugins.shapes.render import render
from tta_plugins.shapes.scenes import draw_pairs
from tta_plugins.shapes.stages.clip import blemish
from tta_plugins.shapes.stages.loop import Loop, Plan


def train_judge(out: Path, plan: Plan, seed: int, device: str) -> JudgeNet:
    """The trained judge, with averaged weights."""
    torch.manual_seed(seed)
    network = JudgeNet().to(device)

    def losses(rng: random.Random, step: int) -> dict[str, Tensor]:
        captions, scenes = draw_pairs(rng, plan.batch)
        logits = network(blemish(rng, render(scenes, SIZE)).to(device))
        named = presence(captions).to(device)
        exact = ((logits > 0) == (named > 0)).all(1).float().mean()
        return {"loss": functional.binary_cross_entropy_with_logits(logits, named), "exact": exact}

    Loop("judge", network, plan, out / "judge.pt", seed).run(losses)
    return network.eval()
