"""Six image statistics, computed without a network. Reward hacking changes them; a real gain hardly does."""

import torch
from torch import Tensor
from torch.nn import functional

PANEL = "panel"
NAMES = ("brightness", "saturation", "contrast", "edge density", "colour entropy", "high frequencies")
COLUMNS = {name: f"panel {name}" for name in NAMES}  # in the table, where a reward may be called "brightness" too
_EDGE = 0.1
_BINS = 8


def panel(image: Tensor) -> dict[str, float]:
    """The six numbers of one image `(1, 3, H, W)` in [0, 1].

    brightness: mean luma (Rec. 601).
    saturation: mean of max - min over the channels.
    contrast: standard deviation of luma.
    edge density: the fraction of pixels whose Sobel gradient of luma exceeds 0.1.
    colour entropy: entropy of the colours in 8 x 8 x 8 bins, in nats.
    high frequencies: the fraction of the energy of luma (without its mean) above half the Nyquist frequency.
    """
    luma = (image * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32).view(1, 3, 1, 1)).sum(1, keepdim=True)
    values = (luma.mean(), (image.amax(1) - image.amin(1)).mean(), luma.std(), _edges(luma), _entropy(image), _high(luma))
    return {name: float(value) for name, value in zip(NAMES, values, strict=True)}


def _edges(luma: Tensor) -> Tensor:
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=torch.float32) / 8
    kernels = torch.stack([sobel, sobel.T])[:, None]
    gradient = functional.conv2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), kernels)
    return (gradient.square().sum(1).sqrt() > _EDGE).float().mean()


def _entropy(image: Tensor) -> Tensor:
    levels = (image * _BINS).long().clamp(0, _BINS - 1)
    colours = (levels[:, 0] * _BINS + levels[:, 1]) * _BINS + levels[:, 2]
    shares = torch.bincount(colours.flatten(), minlength=_BINS**3).float() / colours.numel()
    return torch.special.entr(shares).sum()


def _high(luma: Tensor) -> Tensor:
    energy = torch.fft.fft2(luma - luma.mean()).abs().square()[0, 0]
    across, down = (torch.fft.fftfreq(size).abs() for size in (luma.shape[3], luma.shape[2]))
    high = (down[:, None] ** 2 + across[None] ** 2).sqrt() > 0.25
    return energy[high].sum() / energy.sum().clamp(min=1e-12)
