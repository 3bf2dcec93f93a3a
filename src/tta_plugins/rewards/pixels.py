"""Scores without a network: darkness, brightness, contrast, colourfulness, sharpness. Differentiable; prompts are not read.

They are common test targets: cheap, exact, and easily hacked, so that they show the effect of a method's regulariser.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call

_HASLER = """@inproceedings{hasler2003colourfulness,
  title = {Measuring Colourfulness in Natural Images},
  author = {Hasler, David and S{\\"u}sstrunk, Sabine},
  booktitle = {Human Vision and Electronic Imaging VIII},
  year = {2003},
  doi = {10.1117/12.477378}
}"""
_PECH = """@inproceedings{pechpacheco2000diatom,
  title = {Diatom Autofocusing in Brightfield Microscopy: A Comparative Study},
  author = {Pech-Pacheco, Jos{\\'e} Luis and Crist{\\'o}bal, Gabriel and Chamorro-Mart{\\'i}nez, Jes{\\'u}s and
            Fern{\\'a}ndez-Valdivia, Joaqu{\\'i}n},
  booktitle = {International Conference on Pattern Recognition},
  year = {2000},
  doi = {10.1109/ICPR.2000.903548}
}"""


@frozen
class Darkness:
    """Minus the mean of all pixel values, in [-1, 0]: black is 0, white is -1."""

    card = Card(
        unit="mean level, negated",
        range=(-0.8, -0.2),
        version="1",
        differentiable=True,
        reads_prompt=False,
        source="DNO's black reward",
        licence="Apache-2.0",
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return -images.float().mean((1, 2, 3))


@frozen
class Brightness:
    """The mean of all pixel values, in [0, 1]: white is 1."""

    card = Card(
        unit="mean level",
        range=(0.2, 0.8),
        version="1",
        differentiable=True,
        reads_prompt=False,
        source="DNO's white reward",
        licence="Apache-2.0",
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return images.float().mean((1, 2, 3))


@frozen
class Contrast:
    """RMS contrast: the standard deviation of the luma over the pixels, in [0, 0.5]; a flat image is 0."""

    card = Card(
        unit="luma, [0, 1]",
        range=(0.1, 0.35),
        version="1",
        differentiable=True,
        reads_prompt=False,
        source="Peli 1990",
        licence="Apache-2.0",
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return _root(_variance(_luma(images.float())))


@frozen
class Colourfulness:
    """Hasler and Suesstrunk's colourfulness M3 of 8-bit levels: 0 is grey, 33 moderate, 59 quite, 109 extremely colourful.

    sigma + 0.3 mu, where sigma and mu are the lengths of (std rg, std yb) and (mean rg, mean yb), rg = R - G, yb = (R + G)/2 - B.
    """

    card = Card(
        unit="M3, 8-bit levels",
        range=(0.0, 110.0),
        version="1",
        differentiable=True,
        reads_prompt=False,
        source="Hasler and Suesstrunk 2003",
        licence="Apache-2.0",
        citation=_HASLER,
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        red, green, blue = (images.float() * 255).unbind(1)
        rg, yb = red - green, (red + green) / 2 - blue
        spread = _root(_variance(rg) + _variance(yb))
        return spread + 0.3 * _root(rg.mean((1, 2)).square() + yb.mean((1, 2)).square())


@frozen
class Sharpness:
    """The variance of the luma's Laplacian, in squared levels of [0, 1]: 0 for blurred images, highest for noise. With 8-bit levels, as
    usual with OpenCV, it is 65,025 times as large.

    Border pixels are repeated. An image of one pixel has 0.
    """

    card = Card(
        unit="squared luma, [0, 1]",
        range=(0.0005, 0.1),
        version="1",
        differentiable=True,
        reads_prompt=False,
        source="Pech-Pacheco et al. 2000",
        licence="Apache-2.0",
        citation=_PECH,
    )

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        x = pad(_luma(images.float())[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
        middle = x[:, 1:-1, 1:-1]
        return _variance(x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:] - 4 * middle)


def _luma(images: Images) -> Float[Tensor, "b H W"]:
    """The luma of Rec. 601, the brightness of each pixel."""
    red, green, blue = images.unbind(1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _variance(x: Float[Tensor, "b H W"]) -> Scores:
    """The variance over pixels, without Bessel's correction, so that one pixel has variance 0."""
    return (x - x.mean((1, 2), keepdim=True)).square().mean((1, 2))


def _root(x: Scores) -> Scores:
    """The square root, with gradient 0 instead of NaN if x is 0 (a flat or grey image, which is the minimum)."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
