"""The embedded model's registered backbone and rewards. They load through the same code as any Stable Diffusion and any CLIP."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs
import torch
from torch import nn

from tta_core.protocols.backbone import Backbone
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.backbones.pretrained import load_pipeline
from tta_plugins.backbones.stable_diffusion import stable_diffusion
from tta_plugins.rewards.clip import CLIPScore
from tta_plugins.shapes import oracle
from tta_plugins.shapes.grammar import parse
from tta_plugins.shapes.judge import Judge
from tta_plugins.shapes.load import clip_folder, judge, pipeline_folder
from tta_plugins.shapes.metrics import GUIDANCE, STEPS


def shapes() -> Backbone:
    """The embedded pipeline as a backbone, on the CPU. With it `clip` means its own CLIP, since OpenAI's was not trained on such images."""
    pipeline = load_pipeline(str(pipeline_folder()), torch.float32, "cpu")
    return stable_diffusion(pipeline, steps=STEPS, guidance=GUIDANCE, rewards={"clip": "shapes-clip"})


@frozen
class ShapesCLIP:
    """Cosine of the embedded CLIP's embeddings of image and caption; higher is better."""

    card: ClassVar[Card] = Card(
        unit="cosine",
        range=(-0.2, 1.0),
        version="1",
        differentiable=True,
        source="trained here, see the page on the embedded model",
        licence="Apache-2.0",
        weights="in the package",
    )
    _clip: CLIPScore = attrs.field(factory=lambda: CLIPScore(clip_folder()), init=False, repr=False, eq=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Cosines, one per image."""
        return self._clip(images, prompts)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The image tower."""
        return self._clip.networks


@frozen
class ShapesJudge:
    """A convnet's probability in [0, 1] that the image has exactly the caption's coloured shapes; intended as a held-out score."""

    card: ClassVar[Card] = Card(
        unit="probability", range=(0.0, 1.0), version="1", differentiable=True, licence="Apache-2.0", weights="in the package"
    )
    _judge: Judge = attrs.field(factory=judge, init=False, repr=False, eq=False)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Probabilities, one per image."""
        return self._judge(images, prompts)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The convnet."""
        return {"judge": self._judge.network}


@frozen
class ShapesOracle:
    """The fraction in [0, 1] of the caption's facts that a program without weights finds in the image; no gradient."""

    card: ClassVar[Card] = Card(unit="share", range=(0.0, 1.0), version="1", differentiable=False, licence="Apache-2.0")

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Fractions, one per image."""
        return oracle.soft(images, [parse(prompt) for prompt in prompts]).to(images.device)


@frozen
class ShapesStrict:
    """1 if the program finds everything in the caption and nothing else, else 0; no gradient, intended as a held-out score."""

    card: ClassVar[Card] = Card(unit="right", range=(0.0, 1.0), version="1", differentiable=False, licence="Apache-2.0")

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """0 or 1, one per image."""
        return oracle.strict(images, [parse(prompt) for prompt in prompts]).to(images.device)
