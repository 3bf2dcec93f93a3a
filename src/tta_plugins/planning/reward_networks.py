"""The networks of the published rewards, made from configurations alone: the rewards' own code without weights.

No tokenizer is read: a text counts as one token for every four characters. A text tower that reads each prompt once, in host memory, is
left out, as in the rewards' `networks`.
"""

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, ClassVar

import attrs
import torch
import transformers
from torch import Tensor, nn

from tta_core.errors import UnknownNameError
from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores
from tta_plugins.cost.fake_mode import FakeMode
from tta_plugins.cost.fake_networks import fake_network
from tta_plugins.planning.pipeline_configuration import CONFIGURATIONS, made_in
from tta_plugins.rewards.preprocessing import CLIP_PATHS, Pixels

Networks = Mapping[str, nn.Module]
Score = Callable[[Networks, Images, Sequence[str]], Scores]


@attrs.frozen(eq=False)
class RewardNetwork:
    """Evaluates a published reward's networks as the reward does. Its scores have no meaning."""

    name: str
    networks: Networks = attrs.field(repr=False)
    score: Score = attrs.field(repr=False)

    card: ClassVar[Card] = Card(differentiable=True)

    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image, `(b,)`."""
        return self.score(self.networks, images, prompts)


def reward_network(name: str, mode: FakeMode, dtype: torch.dtype) -> RewardNetwork:
    """The networks of a published reward with fake parameters. Raises `UnknownNameError` for an unknown reward."""
    if name not in _REWARDS:
        raise UnknownNameError(f"The networks of the reward {name!r} are not known here. Known: {', '.join(_REWARDS)}.")
    parts, score = _REWARDS[name]
    with made_in(dtype):
        made = {role: (_network(part) if isinstance(part, str) else part()).eval() for role, part in parts.items()}
    return RewardNetwork(name, {role: fake_network(network, mode) for role, network in made.items()}, score)


def has_reward_network(name: str) -> bool:
    """Whether the networks of this reward are known."""
    return name in _REWARDS


def _network(configuration: str, **options: Any) -> Any:
    """A network of the class and sizes in a file of `configurations/rewards`, with further options of the class, on the device "meta", so
    that no initial weights are computed. Its module is imported first: constants of a module must have data."""
    config = json.loads((CONFIGURATIONS / "rewards" / f"{configuration}.json").read_text(encoding="utf-8"))
    kind = getattr(transformers, config.pop("_class_name"))
    with torch.device("meta"):
        return kind(kind.config_class(**config), **options)


def _part(target: str, *sizes: int) -> nn.Module:
    """The network that "module:name" of the rewards makes of these sizes, on the device "meta"."""
    make: Callable[..., nn.Module] = pkgutil.resolve_name(f"tta_plugins.rewards.{target}")
    with torch.device("meta"):
        return make(*sizes)


def _flan_t5() -> nn.Module:
    """FlanT5 with a head that is not tied to its embeddings; transformers 5 unties them only if it loads both."""
    network = _network("flan-t5-xxl")
    network.lm_head.weight = nn.Parameter(torch.empty_like(network.shared.weight))
    return network


@cache
def _tokens() -> Any:
    """A tokenizer without a vocabulary: one token for every four characters, and one for each special token between <| and |>."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from tta_plugins.rewards.hpsv3 import REWARD

    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, REWARD: 1, "<|image_pad|>": 151_655}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<\|\w+\|>|[\s\S]{1,4}?(?=<\||$)|[\s\S]{4}"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>")


def _pixels(network: Any, side: int | None = None) -> Pixels:
    return Pixels(CLIP_PATHS["diff"], side or network.config.image_size)


# The code of a reward is imported when that reward is planned, because importing all of them takes seconds.


def _tower(networks: Networks, images: Images, prompts: Sequence[str], side: int | None = None) -> Scores:
    """An image network whose output is compared with a known embedding, or read by a head of one vector."""
    (network,) = networks.values()
    output = network(pixel_values=_pixels(network, side)(images).to(next(network.parameters()).dtype))
    embeds: Tensor = output.get("pooler_output", next(iter(output.values())))
    return embeds.float().mean(1)


def _blip(networks: Networks, images: Images, prompts: Sequence[str], reward: str) -> Scores:
    from tta_plugins.rewards import cyclereward, imagereward

    length = {"imagereward": imagereward.LENGTH, "cyclereward": cyclereward.LENGTH}[reward]
    head: Callable[[Tensor], Tensor] = partial(torch.mean, dim=-1)
    return imagereward.Blip(dict(networks), head, _pixels(networks["vision"]), _tokens(), "", length)(images, prompts)


def _mps_vision() -> nn.Module:
    from tta_plugins.rewards.mps import ImageTokens

    return ImageTokens(_network("clip-vit-h-14"))


def _mps(networks: Networks, images: Images, prompts: Sequence[str]) -> Scores:
    from tta_plugins.rewards import mps

    text = mps.Text(torch.zeros(77, 1024), torch.ones(77, dtype=torch.bool), torch.zeros(1024))
    tower: Any = networks["vision"]
    parts = mps.Parts(tower, nn.Identity(), networks["cross"], _tokens(), _pixels(tower.tower), 1.0, "", 0.0, "")
    parts._known.update(dict.fromkeys(map(str, prompts), text))
    return parts(images, prompts)


def _qwen(networks: Networks, images: Images, prompts: Sequence[str], question: str | None = None, **pixels: Any) -> Scores:
    from tta_plugins.rewards.qwen import Qwen
    from tta_plugins.rewards.qwen_pixels import QwenPixels
    from tta_plugins.rewards.vqascore import QUESTION

    qwen = Qwen(networks["vlm"], _tokens(), QwenPixels(**pixels), "")
    asked = map((question or QUESTION).format, prompts)
    return torch.stack([qwen.log_probabilities(*pair)[0] for pair in zip(images, asked, strict=True)])


def _hpsv3(networks: Networks, images: Images, prompts: Sequence[str]) -> Scores:
    from tta_plugins.rewards import hpsv3
    from tta_plugins.rewards.qwen_pixels import QwenPixels

    instruction = f"{'instruction ' * 200}{{text_prompt}}{hpsv3.REWARD}"  # 2.4 kB, as long as the authors' instruction
    size = hpsv3.TOKENS * 28**2
    parts = hpsv3.Parts(networks["vlm"], networks["head"], _tokens(), QwenPixels(least=size, most=size), instruction, "")
    return torch.stack([parts(*pair) for pair in zip(images, prompts, strict=True)])


def _flant5(networks: Networks, images: Images, prompts: Sequence[str]) -> Scores:
    from tta_plugins.rewards import clip_flant5

    pixels = _pixels(networks["vision"])
    parts = clip_flant5.Parts(networks["vision"], networks["projector"], networks["t5"], _tokens(), pixels, -2, "")
    asked = map(clip_flant5.QUESTION.format, prompts)
    return torch.stack([parts(*pair, "Yes") for pair in zip(images, asked, strict=True)])


_Parts = Mapping[str, str | Callable[[], nn.Module]]
_QWEN3_PIXELS: Mapping[str, Any] = {"patch": 16, "least": 65_536, "most": 16_777_216, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
_BLIP: _Parts = {"vision": "blip-vit-l-16", "text": lambda: _network("blip-text", add_pooling_layer=False)}
_REWARDS: Mapping[str, tuple[_Parts, Score]] = {
    **dict.fromkeys(("clip", "aesthetic"), ({"vision": "clip-vit-l-14"}, _tower)),
    **dict.fromkeys(("pickscore", "hpsv2", "hpsv2.1"), ({"vision": "clip-vit-h-14"}, _tower)),
    **dict.fromkeys(("siglip2", "aesthetic-v2.5"), ({"vision": "siglip-so400m-384"}, _tower)),
    "safety": ({"classifier": "vit-base"}, _tower),
    "dino": ({"vision": "dinov2-base"}, partial(_tower, side=224)),
    "imagereward": (_BLIP, partial(_blip, reward="imagereward")),
    "cyclereward": (_BLIP, partial(_blip, reward="cyclereward")),
    "mps": ({"vision": _mps_vision, "cross": partial(_part, "mps_cross:CrossModel", 1024, 4, 16, 64)}, _mps),
    "vqascore": ({"vlm": "qwen2.5-vl-7b"}, partial(_qwen, most=12_845_056)),
    "soft-tifa": ({"vlm": "qwen3-vl-8b"}, partial(_qwen, question="{}? Answer in one word.", **_QWEN3_PIXELS)),
    "hpsv3": ({"vlm": "qwen2-vl-7b", "head": partial(_part, "hpsv3:head_of", 3584)}, _hpsv3),
    "clip-flant5": (
        {
            "vision": "clip-vit-l-14-336",
            "projector": partial(_part, "clip_flant5:projector_of", 1024, 4096),
            "t5": _flan_t5,
        },
        _flant5,
    ),
}
