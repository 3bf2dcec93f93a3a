"""The variables that a method can steer: each reads and writes one part of the controls; products combine them."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from tta_core.errors import IncompatibleError, InputError
from tta_core.values.controls import Branches, Controls, Embedding
from tta_core.values.typing import evolve, frozen


@runtime_checkable
class ControllableVariable(Protocol):
    """The part of the controls that a method steers: `read` gets it, `write` replaces it.

    Laws: after a write, `read` returns the written value; writing the value that was read changes nothing; the second of two writes wins.
    Embeddings that a write does not change stay the *same object*; by this, positions detect which guidance branch changed.
    """

    @property
    def needs_null(self) -> bool:
        """Whether it requires a null embedding and guidance above 1."""
        ...

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The steered tensors; dimension 0 of each is the sample (for noise, it is moved there from dimension 1)."""
        ...

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """New controls with these values of the steered tensors."""
        ...


class _Joinable:
    __slots__ = ()

    def __and__(self, other: ControllableVariable) -> "Product":
        return Product((self, other))  # type: ignore[arg-type]


@frozen
class TextEmbedding(_Joinable):
    """The tokens of the text embedding (DATE); with `pooled`, also its pooled vector."""

    pooled: bool = False
    needs_null: bool = attrs.field(default=False, init=False, repr=False)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """(tokens,) or (tokens, pooled)."""
        return _read(controls.text, self.pooled, "text")

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with this text embedding."""
        return evolve(controls, text=_written(controls.text, value), by_step=_without(controls, "text"))


@frozen
class NullEmbedding(_Joinable):
    """The tokens of the null embedding of classifier-free guidance (Null-TTA); with `pooled`, also its pooled vector."""

    pooled: bool = False
    needs_null: bool = attrs.field(default=True, init=False, repr=False)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """(tokens,) or (tokens, pooled)."""
        return _read(_null(controls), self.pooled, "null")

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with this null embedding."""
        return evolve(controls, null=_written(_null(controls), value), by_step=_without(controls, "null"))


@frozen
class Noise(_Joinable):
    """The noise (DNO): x_T and the noise of every step, or only the last `last` rows, or only the first `first` (1: x_T).

    The steered tensor is `(b, rows, c, h, w)`. Raises `InputError` if both `last` and `first` are given.
    """

    last: int | None = None
    first: int | None = None
    needs_null: bool = attrs.field(default=False, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.last is not None and self.first is not None:
            raise InputError(f"{self!r} has both `last` and `first`, but it can steer only one of them. Give one of the two.")

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The steered noises, `(b, rows, c, h, w)`."""
        return (controls.noise[self._rows(controls)].transpose(0, 1),)

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with these noises; the other rows stay."""
        noise, rows = value[0].transpose(0, 1), self._rows(controls)
        copies = noise.shape[1] // controls.noise.shape[1]
        before, after = (controls.noise[kept].repeat(1, copies, 1, 1, 1) for kept in (slice(rows.start), slice(rows.stop, None)))
        return evolve(controls, noise=torch.cat([before, noise, after]))

    def _rows(self, controls: Controls) -> slice:
        total = controls.noise.shape[0]
        start = 0 if self.last is None else max(0, total - self.last)
        return slice(start, total if self.first is None else min(self.first, total))


def _flat(parts: tuple[ControllableVariable, ...]) -> tuple[ControllableVariable, ...]:
    return tuple(inner for part in parts for inner in (part.parts if isinstance(part, Product) else (part,)))


@frozen
class Product(_Joinable):
    """Several variables steered as one: `NullEmbedding() & TextEmbedding()`. Raises `IncompatibleError` for two of one kind."""

    parts: tuple[ControllableVariable, ...] = attrs.field(converter=_flat)

    def __attrs_post_init__(self) -> None:
        kinds = [type(part) for part in self.parts]
        if len(set(kinds)) < len(kinds):
            raise IncompatibleError(
                f"Cannot use {' & '.join(map(repr, self.parts))} as one variable. This is because two parts write the same controls, and "
                "the second would undo the first. Use each control once."
            )

    @property
    def needs_null(self) -> bool:
        """Whether one part needs a null embedding."""
        return any(part.needs_null for part in self.parts)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The parts' tensors, one after another."""
        return tuple(tensor for part in self.parts for tensor in part.read(controls))

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """New controls; each part writes as many of the tensors as it reads."""
        for part in self.parts:
            size = len(part.read(controls))
            controls, value = part.write(controls, value[:size]), value[size:]
        return controls


def _null(controls: Controls) -> Embedding:
    if controls.null is None:
        raise IncompatibleError(
            "Cannot use a null-embedding variable with this backbone. This is because the variable steers the unconditional branch of "
            "classifier-free guidance, but the backbone has no null embedding. Steer TextEmbedding() or Noise(), or use true guidance."
        )
    return controls.null


def _read(embedding: Embedding, pooled: bool, branch: str) -> tuple[Tensor, ...]:
    if not pooled:
        return (embedding.tokens,)
    if embedding.pooled is None:
        raise IncompatibleError(
            f"Cannot use the pooled {branch} embedding with this backbone. This is because its networks take tokens only. Set pooled=False."
        )
    return (embedding.tokens, embedding.pooled)


def _without(controls: Controls, branch: str) -> Mapping[int, Branches]:
    """The embeddings that differ by step, without those of one branch: a written embedding is used at every step."""
    return {index: evolve(here, **{branch: None}) for index, here in controls.by_step.items()}


def _written(embedding: Embedding, value: tuple[Tensor, ...]) -> Embedding:
    return evolve(embedding.repeated(value[0].shape[0]), tokens=value[0], **({"pooled": value[1]} if len(value) > 1 else {}))
