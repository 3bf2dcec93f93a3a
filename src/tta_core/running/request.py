"""The arguments of a run as one value, whose fields are the arguments of `align` and `prepare`."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import wraps
from typing import ParamSpec, Protocol, TypeVar, runtime_checkable

from tta_core.protocols.method import Snapshot
from tta_core.values.budget import Budget
from tta_core.values.controls import Embedding
from tta_core.values.noise import NoiseSource
from tta_core.values.schedules import Schedule
from tta_core.values.typing import Latents

P = ParamSpec("P")
Made = TypeVar("Made")
Result = TypeVar("Result")


GivenEmbedding = Embedding | Sequence[Embedding]  # one for all steps, or one for each


@runtime_checkable
class Observer(Protocol):
    """Watches a run. It gets each snapshot and must not change it. If a batch fails, it is run again in halves; the observer then gets
    their snapshots from the first one on, with fewer samples."""

    def __call__(self, snapshot: Snapshot, /) -> object:
        """Called with each snapshot; the returned value is ignored."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """The arguments of a run, as the user gave them; the docstring of `align` explains each. A dataclass, because all but the first are
    keyword arguments."""

    prompts: str | Sequence[str]
    _: KW_ONLY
    backbone: object = "shapes"
    method: object = "date"
    reward: object = "clip"
    memory: object = ()
    scheduler: object = "native"
    steps: int | None = None
    timesteps: Sequence[float | int] | None = None
    sigmas: Sequence[float | int] | None = None
    guidance: float | int | Schedule | None = None
    eta: float | Schedule | None = None
    seed: int | Sequence[int] = 0
    negative: str | Sequence[str] | None = None
    height: int | None = None
    width: int | None = None
    latents: Latents | None = None
    noises: NoiseSource | None = None
    text: GivenEmbedding | None = None
    null: GivenEmbedding | None = None
    image: object = None
    strength: float = 0.8
    baseline: bool = True
    budget: Budget | None = None
    observers: Sequence[Observer] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the tensors and images that the user gave; a record contains only their names."""
        tensors = {"latents": self.latents, "noises": self.noises, "text": self.text, "null": self.null}
        names = tuple(name for name, value in tensors.items() if value is not None)
        return names if self.image is None else (*names, f"image, strength {self.strength:g}")


def takes(make: Callable[P, Made]) -> Callable[[Callable[[Made], Result]], Callable[P, Result]]:
    """Makes a function of one value callable with the fields of that value; the new signature is that of the value's class."""
    signature = inspect.signature(make)

    def decorate(function: Callable[[Made], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(make(*args, **kwargs))

        vars(call)["__signature__"] = signature.replace(return_annotation=inspect.signature(function).return_annotation)
        return call

    return decorate
