"""The sampler that a backbone's own pipeline uses, and its settings."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from tta_core.values.typing import frozen


@runtime_checkable
class Timing(Protocol):
    """The arguments that a pipeline passes to its scheduler's `set_timesteps`, besides the number of steps."""

    def __call__(self, steps: int, shape: tuple[int, int, int], /) -> Mapping[str, object]:
        """Keyword arguments for latents of shape `(c, h, w)`, such as FLUX's sigmas and its shift of time at a resolution."""
        ...


def untimed(steps: int, shape: tuple[int, int, int], /) -> Mapping[str, object]:
    """The timing of a pipeline that passes only the number of steps."""
    return {}


@frozen
class NativeSampler:
    """A diffusers scheduler object and its pipeline's timing: the value of a backbone's `sampler` if the object alone is not enough.

    Attributes:
        timesteps, sigmas: the user's times or noise levels, used instead of the scheduler's; the same as for the pipeline's call.
        is_set: whether the pipeline has already called `set_timesteps`; the object's table is then read as it is.
    """

    scheduler: object
    timing: Timing = untimed
    timesteps: tuple[float, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    is_set: bool = False

    @classmethod
    def of(cls, sampler: object) -> "NativeSampler":
        """A backbone's `sampler` as a `NativeSampler`; a bare scheduler object is wrapped."""
        return sampler if isinstance(sampler, NativeSampler) else cls(sampler)
