"""A backbone's own sampler, with the habits of its pipeline."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from tta_core.values.typing import frozen


@runtime_checkable
class Timing(Protocol):
    """What a pipeline hands its scheduler's `set_timesteps`, besides the number of steps."""

    def __call__(self, steps: int, shape: tuple[int, int, int], /) -> Mapping[str, object]:
        """Keyword arguments, for latents of this `(c, h, w)`: FLUX's own sigmas, the shift of time at a resolution."""
        ...


@frozen
class NativeSampler:
    """A diffusers scheduler object and its pipeline's timing: what a backbone gives as `sampler` where the object alone does not tell."""

    scheduler: object
    timing: Timing
