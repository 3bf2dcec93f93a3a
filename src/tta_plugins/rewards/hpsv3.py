"""HPSv3: human preference by Qwen2-VL, which reads an instruction, the image and the prompt, and a small head on one special token."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, Qwen2VLConfig, Qwen2VLModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.pretrained import Dtype, from_tensors
from tta_plugins.rewards.qwen import chat, refuse_special
from tta_plugins.rewards.qwen_pixels import QwenPixels
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state

CITATION = """@inproceedings{ma2025hpsv3,
  title = {{HPSv3}: Towards Wide-Spectrum Human Preference Score},
  author = {Ma, Yuhang and Wu, Xiaoshi and Sun, Keqiang and Li, Hongsheng},
  booktitle = {International Conference on Computer Vision},
  year = {2025},
  eprint = {2508.03789},
  archivePrefix = {arXiv}
}"""
REWARD = "<|Reward|>"
TOKENS = 256  # of the image, 28 x 28 pixels each


@frozen
class HPSv3:
    """Human preference for an image given its prompt, unbounded, higher is better; compare images of one prompt only.

    weights: HPSv3.safetensors, a folder that contains it, or a hub id. base: the Qwen2-VL-7B whose configuration and tokenizer it uses.
    instruction: a text file, UTF-8: the authors' instruction with {text_prompt} in place of the prompt, and with <|Reward|>; it is part of
        their code (hpsv3/dataset), not of the weights, and is not included here.
    preprocess: *diff* for guidance, *official* for numbers to report; both resize to about 200,704 pixels.
    Differentiable; one image at a time. The score is mu, the first output of the head. Source: Ma et al. 2025.
    Differs: with any version of transformers, positions are those of 4.45 without M-RoPE ids, with which the weights were trained.
    """

    instruction: Where
    weights: Where = "MizzenAI/HPSv3"
    base: Where = "Qwen/Qwen2-VL-7B-Instruct"
    tokenizer: Where | Tokenizer | None = attrs.field(default=None, repr=model_name)
    preprocess: Literal["diff", "official"] = "diff"
    dtype: Dtype = "bfloat16"
    _parts: "Parts" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per pair."""
        return torch.stack([self._parts(*pair) for pair in zip(images, prompts, strict=True)]).to(images.device)

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The vision-language model and its head, which stays in float32."""
        return {"vlm": self._parts.vlm}

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="mu",
            range=(-5.0, 15.0),
            version=f"3, preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            source="Ma et al. 2025 (arXiv:2508.03789)",
            licence="code MIT; see the weights' repository",
            weights=self._parts.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Parts:
    """The loaded networks and their settings."""

    vlm: nn.Module
    head: nn.Module
    tokenizer: Tokenizer
    pixels: QwenPixels
    instruction: str
    source: str

    def __call__(self, image: Tensor, prompt: str) -> Tensor:
        """mu. Positions increase by one for every token, also for image tokens."""
        vlm: Any = self.vlm
        weight = next(vlm.parameters())
        patches, grid = self.pixels(image)
        refuse_special(self.tokenizer, prompt)
        text = self.instruction.replace("{text_prompt}", prompt)
        ids = chat(self.tokenizer, "You are a helpful assistant.", text, int(grid.prod()) // self.pixels.merge**2)
        tokens = torch.tensor([ids], device=weight.device)
        positions = torch.arange(len(ids), device=weight.device).expand(3, 1, -1)
        hidden = vlm(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            position_ids=positions,
            pixel_values=patches.to(weight.device, weight.dtype),
            image_grid_thw=grid.to(weight.device),
            use_cache=False,
        ).last_hidden_state[0]
        place = (tokens[0] == self.tokenizer.convert_tokens_to_ids(REWARD)).nonzero()[-1, 0]
        mu: Tensor = self.head.to(hidden.device)(hidden[place].float())[0]
        return mu


def head_of(width: int) -> nn.Sequential:
    """width-1024-16-2 with ReLU, under the authors' keys; dropout has no effect in eval mode."""
    return nn.Sequential(nn.Linear(width, 1024), nn.ReLU(), nn.Dropout(0.05), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 2))


def hpsv3_state(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of `Qwen2VLModel` under its own keys, and those of the head. The language head is not used."""
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        inner = key.removeprefix("model.")
        if inner.startswith(("visual.", "language_model.")):
            renamed[inner] = value
        elif not key.startswith(("lm_head.", "rm_head.")):
            renamed[f"language_model.{inner}"] = value
    return renamed, {key.removeprefix("rm_head."): value.float() for key, value in state.items() if key.startswith("rm_head.")}


def _load(reward: HPSv3) -> Parts:
    instruction = Path(reward.instruction).read_text(encoding="utf-8") if Path(reward.instruction).is_file() else ""
    if "{text_prompt}" not in instruction or REWARD not in instruction:
        raise LoadError(f"{reward.instruction} is not HPSv3's instruction. Give a text file with {{text_prompt}} and {REWARD}.")
    file = find(reward.weights, ["HPSv3.safetensors", "model.safetensors"])
    source = provenance(reward.weights, file)
    state, head_state = hpsv3_state(read_state(file, dtype=None))
    config = Qwen2VLConfig.from_pretrained(find(reward.base, ["config.json"]))
    embeddings = state.get("language_model.embed_tokens.weight")
    if embeddings is None:
        raise LoadError(f"{source} has no token embeddings, so it is not HPSv3. Use the file that docs/scores.md names.")
    config.text_config.vocab_size = embeddings.shape[0]
    where = reward.base if reward.tokenizer is None else reward.tokenizer
    tokenizer = load_tokenizer(AutoTokenizer, where, ("tokenizer.json", "vocab.json"), embeddings.shape[0])
    tokenizer.add_special_tokens({"additional_special_tokens": [REWARD]})
    vlm = from_tensors(Qwen2VLModel, config, state, source, reward.dtype)
    head = build(lambda: head_of(config.text_config.hidden_size), head_state, source)
    vision = config.vision_config
    patch, merge = vision.patch_size, vision.spatial_merge_size
    size = TOKENS * (patch * merge) ** 2
    pixels = QwenPixels(reward.preprocess, patch, merge, vision.temporal_patch_size, size, size)
    return Parts(vlm, head, tokenizer, pixels, instruction, source)
