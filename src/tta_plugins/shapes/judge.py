"""The judge: a small convnet that names the coloured shapes in an image.

Its architecture and labels differ from the reward's, so that it can detect images that exploit the reward.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from attrs import frozen
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from tta_plugins.shapes.grammar import COLOURS, SHAPES, Caption, Thing, parse

THINGS = tuple(Thing(colour, shape) for colour in COLOURS for shape in SHAPES)


class JudgeNet(nn.Module):
    """Maps images [b 3 64 64] in [0, 1] to logits [b 18], one for each coloured shape. Without BatchNorm it does not learn."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 96)
        stages = []
        for narrow, wide in pairwise(widths):
            stages += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.BatchNorm2d(wide), nn.ReLU()]
        self.features = nn.Sequential(*stages, nn.Conv2d(96, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU())
        self.heads = nn.Linear(2 * 96, len(THINGS))

    def forward(self, images: Tensor) -> Tensor:
        """The logits that each thing is in the image."""
        features = self.features(images * 2 - 1)
        return self.heads(torch.cat([features.mean((2, 3)), features.amax((2, 3))], 1))


@frozen
class Judge:
    """A callable like a reward: the probability in [0, 1] that the image has exactly the caption's things; higher is better.

    It ignores relations and backgrounds. Prompts must be sentences of the shapes language.
    """

    network: JudgeNet

    def __call__(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores [b]."""
        named = presence([parse(prompt) for prompt in prompts]).to(images.device)
        return (-functional.binary_cross_entropy_with_logits(self.network(images), named, reduction="none").sum(1)).exp()


def presence(captions: Sequence[Caption]) -> Tensor:
    """[n 18]: 1 for each thing that the caption names, else 0."""
    return torch.tensor([[float(thing in caption.things) for thing in THINGS] for caption in captions])


def read_judge(folder: Path) -> Judge:
    """The judge with the weights in a folder, on the CPU."""
    network = JudgeNet()
    state = load_file(folder / "model.safetensors")
    network.load_state_dict({key: value.float() for key, value in state.items()})
    return Judge(network.eval().requires_grad_(False))
