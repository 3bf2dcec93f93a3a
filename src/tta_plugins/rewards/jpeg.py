"""File size of the image as a JPEG, as a reward for small or for large files. Not differentiable."""

import io
from collections.abc import Sequence

import torch
from PIL import Image

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.blackbox import pil_images
from tta_plugins.rewards.checked_call import checked_call

CITATION = """@inproceedings{black2024ddpo,
  title = {Training Diffusion Models with Reinforcement Learning},
  author = {Black, Kevin and Janner, Michael and Du, Yilun and Kostrikov, Ilya and Levine, Sergey},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2305.13301},
  archivePrefix = {arXiv}
}"""


@frozen
class Compressibility:
    """Minus the JPEG size in kB (1000 bytes): smooth and empty images score highest. -150 to -20 at 512 x 512.

    quality: Pillow's, 1 to 95; chroma at half resolution, Pillow's default. Prompts are not read. Source: Black et al. 2024.
    """

    quality: int = 95

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return -_sizes(images, self.quality)

    @property
    def card(self) -> Card:
        """The meaning of the score."""
        return _card("kB, negated", (-150.0, -20.0), self.quality)


@frozen
class Incompressibility:
    """The JPEG size in kB (1000 bytes): images with detail and noise score highest. 20 to 150 at 512 x 512. See `Compressibility`."""

    quality: int = 95

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return _sizes(images, self.quality)

    @property
    def card(self) -> Card:
        """The meaning of the score."""
        return _card("kB", (20.0, 150.0), self.quality)


def _sizes(images: Images, quality: int) -> Scores:
    return torch.tensor([_kilobytes(image, quality) for image in pil_images(images)], dtype=torch.float32, device=images.device)


def _kilobytes(image: Image.Image, quality: int) -> float:
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=quality)
    return file.tell() / 1000


def _card(unit: str, spread: tuple[float, float], quality: int) -> Card:
    return Card(
        unit=unit,
        range=spread,
        version=f"Pillow, quality {quality}",
        differentiable=False,
        reads_prompt=False,
        source="Black et al. 2024 (arXiv:2305.13301)",
        licence="Apache-2.0",
        citation=CITATION,
    )
