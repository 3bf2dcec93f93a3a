"""PickScore: human preference for an image given its prompt, learned from half a million choices between two images."""

from collections.abc import Sequence
from typing import Literal

import attrs
from torch import nn
from transformers import CLIPModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call
from tta_plugins.rewards.clip import model_name
from tta_plugins.rewards.clip_checkpoint import open_checkpoint
from tta_plugins.rewards.clip_cosine import Cosine, cosine
from tta_plugins.rewards.preprocessing import PICKSCORE_PATHS, path_named
from tta_plugins.rewards.weight_files import Where

CITATION = """@inproceedings{kirstain2023pickapic,
  title = {{Pick-a-Pic}: An Open Dataset of User Preferences for Text-to-Image Generation},
  author = {Kirstain, Yuval and Polyak, Adam and Singer, Uriel and Matiana, Shahbuland and Penna, Joe and Levy, Omer},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2023},
  eprint = {2305.01569},
  archivePrefix = {arXiv}
}"""


@frozen
class PickScore:
    """Human preference for an image given its prompt, higher is better; compare images of one prompt only.

    scale: *logit*: exp(logit_scale) cos, the authors' number, 17 to 24; *cos*: the cosine, 0.17 to 0.24, which DAS and Null-TTA report
        (0.218). Images of one prompt differ by 0.002 to 0.02 in cosine.
    tokenizer: PickScore's repository has none; all CLIP models use the same tokenizer.
    preprocess: as for `CLIPScore`; *official* is Hugging Face's processor, which rounds the crop down.
    Differentiable. Source: Kirstain et al. 2023.
    """

    weights: Where | CLIPModel = attrs.field(default="yuvalkirstain/PickScore_v1", repr=model_name)
    tokenizer: Where | Tokenizer = attrs.field(default="laion/CLIP-ViT-H-14-laion2B-s32B-b79K", repr=model_name)
    scale: Literal["logit", "cos"] = "logit"
    preprocess: str = "diff"
    _cosine: Cosine = attrs.field(init=False, repr=False, eq=False, default=attrs.Factory(lambda self: _load(self), takes_self=True))

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per pair, in the unit of `scale`."""
        cosines = self._cosine(images, prompts)
        return cosines * self._cosine.temperature if self.scale == "logit" else cosines

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The image tower; the text tower is used only once for each prompt."""
        return self._cosine.networks

    @property
    def card(self) -> Card:
        """The meaning of the scores, and the weight files."""
        return Card(
            unit="exp(logit_scale) x cosine" if self.scale == "logit" else "cosine",
            range=(17.0, 24.0) if self.scale == "logit" else (0.17, 0.24),
            version=f"v1, preprocess={self.preprocess}",
            differentiable=True,
            source="Kirstain et al. 2023 (arXiv:2305.01569)",
            licence="code MIT; the weights' repository states none",
            weights=self._cosine.source,
            citation=CITATION,
        )


def _load(reward: PickScore) -> Cosine:
    return cosine(open_checkpoint(reward.weights), path_named(reward.preprocess, PICKSCORE_PATHS), reward.tokenizer)
