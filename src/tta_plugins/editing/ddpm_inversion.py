"""Edit-friendly DDPM inversion: noises with which a stochastic sampler reproduces a given image.

Notation (name -> paper): levels -> x_1 .. x_T, noises -> z_t, prediction.transition -> N(mu_t, sigma_t^2).
"""

import torch

from tta_core.errors import IncompatibleError
from tta_core.solving.problem import Problem
from tta_core.values.noise import GivenNoise
from tta_core.values.trajectory import State
from tta_core.values.typing import Latents

CITATION = """@inproceedings{huberman2024ddpm,
  title = {An Edit Friendly {DDPM} Noise Space: Inversion and Manipulations},
  author = {Huberman-Spiegelglas, Inbar and Kulikov, Vladimir and Michaeli, Tomer},
  booktitle = {Conference on Computer Vision and Pattern Recognition},
  year = {2024},
  eprint = {2304.06140},
  archivePrefix = {arXiv}
}"""


def ddpm_inversion(problem: Problem) -> GivenNoise:
    """The noises of a problem that starts from an image: sampling with them and with the same prompt and guidance reproduces the image.

    x at each step is the image with independent noise, and the step's noise is computed so that the step leads to the next x:
    (x' - mean) / std. These noises are not standard normal, and contain the image's structure; with another prompt they give an edit. Row 0
    is the noise of the image at the first step, row i + 1 belongs to step i. The independent noise of x at step i is row 0 for the first
    step, else the direction (i,).

    Raises:
        IncompatibleError: the problem does not start from an image, or a step other than the last adds no noise.

    Source: DDPM inversion (arXiv 2304.06140), section 4.
    Differs: it works with any sampler's transition. The last noise is kept, so that the image is reproduced up to rounding, while the
    released code sets it to zero. With eta below 1, the std is that of this eta; in the released code it is not.
    """
    if problem.origin is None:
        raise IncompatibleError("Cannot invert a run that starts from noise. This is because there is no image. Give `image=`.")
    steps, x0, noises = problem.steps, problem.origin, [problem.controls.noise[0]]
    levels = [_noised(x0, step.a, step.s, noises[0] if i == 0 else problem.noises.like(x0, i)) for i, step in enumerate(steps)]
    state = State(levels[0])
    for step, reached in zip(steps, [*levels[1:], x0], strict=True):
        with torch.no_grad():
            prediction = problem.at(state, step).predict(problem.controls)
        transition = prediction.transition
        if transition.std == 0 and step.index + 1 < len(steps):
            raise IncompatibleError(
                f"Cannot invert with a sampler whose step {step.index} adds no noise (std 0). This is because the inversion stores the "
                "image in the noises. Use a stochastic sampler, eta=1."
            )
        noise = torch.zeros_like(x0) if transition.std == 0 else (reached - transition.mean) / transition.std
        noises.append(noise)
        state = prediction.sample(noise)
    return GivenNoise(tuple(noise[None] for noise in noises), rest=problem.noises)


def _noised(x0: Latents, a: float, s: float, noise: Latents) -> Latents:
    return a * x0 + s * noise
