"""How far optimised noise departs from white noise: three numbers that are 1, 0 and 0 for standard normal noise."""

from torch import Tensor


def noise_panel(given: Tensor, steered: Tensor) -> dict[str, list[float]]:
    """Mean square, excess kurtosis and correlation of neighbours, per sample of noises `(rows, b, c, h, w)`; empty if none changed."""
    if steered.shape != given.shape or bool((steered == given).all()):
        return {}
    moved = (steered != given).flatten(2).any(2).any(1)
    noise = steered[moved].detach().float().transpose(0, 1)
    flat = noise.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    variance = centred.square().mean(1)
    kurtosis = centred.pow(4).mean(1) / variance.square() - 3
    neighbours = (noise[..., 1:] * noise[..., :-1]).flatten(1).mean(1) / flat.square().mean(1)
    numbers = {"mean square": flat.square().mean(1), "excess kurtosis": kurtosis, "neighbour correlation": neighbours}
    return {name: [float(f"{value:.6g}") for value in values.tolist()] for name, values in numbers.items()}
