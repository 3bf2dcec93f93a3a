"""VQAScore by its authors' model: FlanT5 reads CLIP's image patches and answers whether the image shows the prompt."""

import json
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoTokenizer, CLIPVisionModel, T5Config, T5ForConditionalGeneration
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.errors import LoadError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.clip_checkpoint import WEIGHTS
from tta_plugins.rewards.preprocessing import CLIP_MEAN, SIGLIP_PATHS, Pixels, path_named
from tta_plugins.rewards.pretrained import from_tensors, pretrained
from tta_plugins.rewards.tokenizers import load_tokenizer
from tta_plugins.rewards.vqascore import CITATION
from tta_plugins.rewards.weight_files import Where, find, provenance
from tta_plugins.rewards.weights import build, read_state, require
from tta_plugins.text_limit import warn_if_cut

QUESTION = 'Does this figure show "{}"? Please answer yes or no.'
BEFORE = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to "
    "the user's questions. USER: "
)
LENGTH = 2048  # tokens of the question
_TOWER = "vision_tower.vision_tower."
_NOT_T5 = ("model_type", "architectures", "dtype", "torch_dtype")
_OTHER_PARTS = ("text_model.", "text_projection.", "visual_projection.", "logit_scale")


@frozen
class CLIPFlanT5:
    """Geometric mean of P(Yes) and P(end after Yes) as the answer to whether the image shows the prompt; in [0, 1], higher is better.

    weights: clip-flant5-xl or -xxl, a hub id or a folder with config.json and its shards. tokenizer: FlanT5's.
    vision: CLIP ViT-L/14 at 336 pixels, used if the weights do not contain it; its config.json is always read.
    scale: *probability*, as in the paper; *log*: its logarithm. question: a text with {} in place of the prompt. answer: the answer whose
        probability is the score.
    preprocess: *diff* for guidance, *official* for numbers to report; both pad the image to a square with CLIP's mean colour.
    Differentiable; one image at a time. Source: Lin et al. 2024. float16 cannot be chosen: T5 overflows in it.
    """

    weights: Where = "zhiqiulin/clip-flant5-xxl"
    tokenizer: Where | Tokenizer = attrs.field(default="google/flan-t5-xxl", repr=model_name)
    vision: Where = "openai/clip-vit-large-patch14-336"
    scale: Literal["probability", "log"] = "probability"
    question: str = QUESTION
    answer: str = "Yes"
    preprocess: str = "diff"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    _parts: "Parts" = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One number per pair."""
        questions = [self.question.replace("{}", prompt) for prompt in prompts]
        logs = torch.stack([self._parts(*pair, self.answer) for pair in zip(images, questions, strict=True)]).to(images.device)
        return logs if self.scale == "log" else logs.exp()

    @property
    def networks(self) -> dict[str, nn.Module]:
        """Image tower, projector and FlanT5."""
        return {"vision": self._parts.vision, "projector": self._parts.projector, "t5": self._parts.t5}

    @property
    def card(self) -> Card:
        """The meaning of the scores."""
        return Card(
            unit="probability" if self.scale == "probability" else "log-probability",
            range=(0.0, 1.0) if self.scale == "probability" else (-12.0, 0.0),
            version=f"CLIP-FlanT5, preprocess={self.preprocess}, {self.dtype}",
            differentiable=True,
            source="Lin et al. 2024 (arXiv:2404.01291)",
            licence="Apache-2.0; see the weights' repository",
            weights=self._parts.source,
            citation=CITATION,
        )


@attrs.frozen(eq=False)
class Parts:
    """The loaded networks and their settings. `layer`: index of the image tower's hidden states that are used, negative: from the end."""

    vision: nn.Module
    projector: nn.Module
    t5: nn.Module
    tokenizer: Tokenizer
    pixels: Pixels
    layer: int
    source: str

    def __call__(self, image: Tensor, question: str, answer: str) -> Tensor:
        """Mean log-probability of the answer's tokens and the end after them, float32."""
        t5: Any = self.t5
        tower, weight = next(self.vision.parameters()), next(t5.parameters())
        hidden = self.vision(pixel_values=self.pixels(squared(image[None])).to(tower.device, tower.dtype), output_hidden_states=True)
        patches = hidden.hidden_states[self.layer][:, 1:]
        projection = next(self.projector.parameters())
        image_tokens = self.projector(patches.to(projection.device, projection.dtype)).to(weight.device, weight.dtype)
        before, after = (self._tokens(text).to(weight.device) for text in (BEFORE, f"\n{question} ASSISTANT: "))
        words = t5.get_input_embeddings()
        given = torch.cat([words(before), image_tokens, words(after)], dim=1)[:, : LENGTH + image_tokens.shape[1] - 1]
        labels = self._tokens(answer).to(weight.device)
        mask = given.new_ones(given.shape[:2], dtype=torch.long)
        shifted = torch.cat([torch.full_like(labels[:, :1], t5.config.pad_token_id), labels[:, :-1]], dim=1)
        logits = t5(inputs_embeds=given, attention_mask=mask, decoder_input_ids=shifted, use_cache=False).logits
        logs = logits[0, :, : len(self.tokenizer)].float().log_softmax(-1)
        return logs.gather(1, labels.T).mean()

    def _tokens(self, text: str) -> Tensor:
        """Token ids with an end token, which each piece of the authors' question has."""
        warn_if_cut(self.tokenizer, text, LENGTH, "CLIP-FlanT5")
        ids: Tensor = self.tokenizer(text, return_tensors="pt", verbose=False).input_ids
        return ids


def squared(images: Images) -> Float[Tensor, "b 3 side side"]:
    """Pads images to a centred square with CLIP's mean colour, in whole 8-bit levels."""
    height, width = images.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    margins = (left, side - width - left, top, side - height - top)
    colour = [int(255 * level) / 255 for level in CLIP_MEAN]
    return torch.stack([pad(channel, margins, value=value) for channel, value in zip(images.unbind(1), colour, strict=True)], dim=1)


def _load(reward: CLIPFlanT5) -> Parts:
    path = path_named(reward.preprocess, SIGLIP_PATHS)
    file, config_file = find(reward.weights, WEIGHTS), find(reward.weights, ("config.json",))
    source, settings = provenance(reward.weights, file), _settings(config_file)
    state = read_state(file, dtype=None)
    tower = {key.removeprefix(_TOWER): value for key, value in state.items() if key.startswith(_TOWER)}
    head = {key.removeprefix("mm_projector."): value for key, value in state.items() if key.startswith("mm_projector.")}
    others = ("vision_tower.", "mm_projector.", "embed_tokens.")
    text = {key: value for key, value in state.items() if not key.startswith(others)}
    require(text, ("shared.weight", "lm_head.weight"), source, "CLIP-FlanT5")  # transformers would tie a missing one to the other
    config = T5Config(**{name: value for name, value in settings.items() if name not in _NOT_T5})
    t5: Any = from_tensors(T5ForConditionalGeneration, config, text, source, reward.dtype)
    vision: Any = _vision(reward, tower, source)
    dtype, layer = getattr(torch, reward.dtype), int(settings.get("mm_vision_select_layer", -2))
    projector = build(lambda: projector_of(vision.config.hidden_size, config.d_model), head, source).to(dtype)
    tokenizer = load_tokenizer(AutoTokenizer, reward.tokenizer, ("tokenizer.json", "spiece.model"), config.vocab_size)
    return Parts(vision, projector, t5, tokenizer, Pixels(path, vision.config.image_size), layer, source)


def projector_of(inside: int, outside: int) -> nn.Sequential:
    """Two linear layers with exact GELU between them, under the authors' keys."""
    return nn.Sequential(nn.Linear(inside, outside), nn.GELU(), nn.Linear(outside, outside))


def _vision(reward: CLIPFlanT5, state: dict[str, Tensor], source: str) -> nn.Module:
    if not state:
        return pretrained(CLIPVisionModel, reward.vision, reward.dtype, unused=_OTHER_PARTS)
    config = CLIPVisionModel.config_class.from_pretrained(find(reward.vision, ("config.json",)).parent)
    return from_tensors(CLIPVisionModel, config, state, source, reward.dtype)


def _settings(file: Any) -> dict[str, Any]:
    """The model's configuration. Raises `LoadError` for that of another model."""
    try:
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        expected = {"mm_projector_type": "mlp2x_gelu", "mm_vision_select_feature": "patch"}
        wrong = [f"{name}={settings[name]!r}" for name, known in expected.items() if settings.get(name, known) != known]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise LoadError(
            f"{file} cannot be read as CLIP-FlanT5's configuration: {type(error).__name__}: {error}. Download it again."
        ) from error
    if wrong or "d_model" not in settings:
        raise LoadError(f"{file} is not CLIP-FlanT5's configuration ({', '.join(wrong) or 'no d_model'}). Use clip-flant5-xl or -xxl.")
    return settings
