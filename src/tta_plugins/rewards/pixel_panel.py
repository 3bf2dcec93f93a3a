"""More scores without a network: saturation, edges, colour entropy and high frequencies, to show how a gain changed the images."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

from tta_core.protocols.reward import Card
from tta_core.values.typing import Images, Scores, frozen
from tta_plugins.rewards.checked_call import checked_call


def _card(unit: str, spread: tuple[float, float], source: str) -> Card:
    return Card(unit=unit, range=spread, version="1", differentiable=True, reads_prompt=False, source=source, licence="Apache-2.0")


@frozen
class Saturation:
    """The mean of max(R, G, B) - min(R, G, B) over the pixels, in [0, 1]; grey is 0. HSV's chroma, without its division by the maximum."""

    card = _card("chroma, [0, 1]", (0.05, 0.5), "Smith 1978, HSV")

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        return (images.float().amax(1) - images.float().amin(1)).mean((1, 2))


@frozen
class EdgeDensity:
    """The share of pixels on an edge, in [0, 1]: the mean of g^2 / (g^2 + threshold^2), g the length of the luma's Sobel gradient.

    threshold: the gradient at which a pixel counts half, in luma per pixel. A step from black to white has 0.5.
    """

    threshold: float = 0.1
    card = _card("share of pixels", (0.02, 0.4), "Sobel 1968")

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float32, device=images.device) / 8
        luma = pad(_luma(images), (1, 1, 1, 1), mode="replicate")
        squared = conv2d(luma, torch.stack([across, across.T])[:, None]).square().sum(1)
        return (squared / (squared + self.threshold**2)).mean((1, 2))


@frozen
class ColourEntropy:
    """Entropy in bits of the colours, over `bins`^3 cells with linear weights between their centres: one colour is 0, at most 3 log2(bins).

    bins: cells along each of R, G and B.
    """

    bins: int = 8
    card = _card("bits", (2.0, 7.0), "Shannon 1948")

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        places = images.float().flatten(2) * (self.bins - 1)
        centres = torch.arange(self.bins, device=images.device)
        red, green, blue = (1 - (places[..., None] - centres).abs()).clamp(min=0).unbind(1)
        shares = torch.einsum("bpr,bpg,bpc->brgc", red, green, blue).flatten(1) / places.shape[-1]
        return -torch.special.xlogy(shares, shares.clamp(min=1e-12)).sum(1) / torch.log(torch.tensor(2.0))


@frozen
class HighFrequencyEnergy:
    """The share of the luma's spectral energy, without its mean, above `cutoff` cycles per pixel, in [0, 1]; smooth images are near 0.

    cutoff: up to 0.7, the corner of the spectrum. A flat image is 0.
    """

    cutoff: float = 0.25
    card = _card("share of energy", (0.0, 0.3), "Parseval")

    @checked_call
    def __call__(self, images: Images, prompts: Sequence[str]) -> Scores:
        """One score per image."""
        luma = _luma(images)[:, 0]
        centred = luma - luma.mean((1, 2), keepdim=True)
        energy = torch.fft.fft2(centred).abs().square()
        rows, columns = (torch.fft.fftfreq(side, device=images.device) for side in luma.shape[1:])
        above = (rows[:, None].square() + columns.square()).sqrt() > self.cutoff
        return (energy * above).sum((1, 2)) / (energy.sum((1, 2)) + 1e-6 * luma[0].numel())


def _luma(images: Images) -> Float[Tensor, "b 1 H W"]:
    """The luma of Rec. 601."""
    red, green, blue = images.float().unbind(1)
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]
