"""The cosine between the CLIP embeddings of an image and its prompt, for CLIP score, PickScore and HPS.

The image tower runs at every call, and memory policies can change it. The text tower runs once per prompt and stays in host memory: on an
accelerator it would take a third of the memory (ViT-H: 1.4 of 3.9 GB) for one use per prompt.
"""

from collections.abc import Callable, Sequence

import attrs
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPTokenizer
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.values.typing import Images, Scores
from tta_plugins.rewards.clip_checkpoint import Checkpoint
from tta_plugins.rewards.preprocessing import ImagePath, Pixels
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where
from tta_plugins.text_limit import warn_if_cut

Embeds = Float[Tensor, "b d"]


@attrs.frozen(eq=False)
class Cosine:
    """Two towers of one CLIP model, ready to compare images with prompts."""

    networks: dict[str, nn.Module]
    text: "TextFeatures"
    pixels: Pixels
    temperature: float
    source: str

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """Cosines in [-1, 1], float32: the product is never computed in half precision, where similar images would get equal scores."""
        embeds = image_embeds(self.networks["vision"], self.pixels(images))
        return (embeds * self.text.on(embeds.device, tuple(prompts))).sum(-1).to(images.device)


def cosine(checkpoint: Checkpoint, path: ImagePath, tokenizer: Where | Tokenizer, clean: Callable[[str], str] = str) -> Cosine:
    """Build both towers. `clean` is applied to a prompt before it is tokenised."""
    config = checkpoint.config.text_config
    loaded = load_tokenizer(CLIPTokenizer, tokenizer, ("tokenizer.json", "vocab.json"), config.vocab_size)
    text = TextFeatures(checkpoint.text_tower(), loaded, config.max_position_embeddings, clean)
    return Cosine({"vision": checkpoint.image_tower()}, text, checkpoint.pixels(path), checkpoint.temperature, checkpoint.source)


def image_embeds(tower: nn.Module, pixels: Images) -> Embeds:
    """Unit image embeddings in float32, on the tower's device, computed in the tower's current dtype."""
    weight = next(tower.parameters())
    return normalize(tower(pixel_values=pixels.to(weight.device, weight.dtype)).image_embeds.float(), dim=-1)


@attrs.frozen(eq=False)
class TextFeatures:
    """Unit text embeddings, float32. Each prompt is encoded once and alone, so that it does not depend on other prompts or padding."""

    tower: nn.Module = attrs.field(repr=False)
    tokenizer: Tokenizer = attrs.field(repr=False)
    length: int
    clean: Callable[[str], str] = str
    _known: dict[str, Tensor] = attrs.field(factory=dict, init=False, repr=False)
    _placed: dict[tuple[torch.device, tuple[str, ...]], Tensor] = attrs.field(factory=dict, init=False, repr=False)

    def __call__(self, prompts: Sequence[str]) -> Embeds:
        """Rows in the order of the prompts; about 4 kB is kept for each encoded prompt."""
        for prompt in prompts:
            if prompt not in self._known:
                self._known[prompt] = self._encode(prompt)
        return torch.stack([self._known[prompt] for prompt in prompts])

    def on(self, device: torch.device, prompts: tuple[str, ...]) -> Embeds:
        """The same on a device; the last few are kept there, since a run uses the same prompts at every step."""
        key = (device, prompts)
        if key not in self._placed:
            while len(self._placed) > 3:
                self._placed.pop(next(iter(self._placed)), None)
            with torch.inference_mode(False):  # the cached tensor is also used with gradients
                self._placed[key] = self(prompts).to(device)
        return self._placed[key]

    def _encode(self, prompt: str) -> Tensor:
        device = next(self.tower.parameters()).device
        warn_if_cut(self.tokenizer, self.clean(prompt), self.length, "CLIP")
        ids = self.tokenizer(self.clean(prompt), truncation=True, max_length=self.length, return_tensors="pt").input_ids
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
            return normalize(self.tower(input_ids=ids.to(device)).text_embeds[0].float(), dim=-1)
