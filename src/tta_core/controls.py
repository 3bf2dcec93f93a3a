"""All that may be steered, and the variables: lenses on it. A product of variables is a variable."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from tta_core._typing import Noises, PooledEmbeddings, TokenEmbeddings, TokenMask, evolve, frozen
from tta_core.errors import IncompatibleError
from tta_core.transition import as_batch


@frozen
class Embedding:
    """The conditioning of one guidance branch; every tensor has one row per sample.

    `mask` is 1 at live tokens, None where all are. `extra` holds what the network is also told and nobody steers (SDXL's time ids).
    """

    tokens: TokenEmbeddings
    pooled: PooledEmbeddings | None = None
    mask: TokenMask | None = None
    extra: Mapping[str, Tensor] = attrs.field(factory=dict)

    def repeated(self, rows: int) -> "Embedding":
        """Copies up to `rows` rows, k-major; the same object when it has them already."""
        if self.tokens.shape[0] == rows:
            return self
        return self._each(lambda tensor: as_batch(tensor, rows))

    def __getitem__(self, rows: slice | Tensor) -> "Embedding":
        return self._each(lambda tensor: tensor[rows])

    def where(self, rows: Bool[Tensor, " b"], other: "Embedding") -> "Embedding":
        """This embedding in the samples where `rows` holds, the other's tokens and pooled vector elsewhere."""
        if other is self:
            return self
        pooled = None if self.pooled is None or other.pooled is None else torch.where(rows[:, None], self.pooled, other.pooled)
        return evolve(self, tokens=torch.where(rows[:, None, None], self.tokens, other.tokens), pooled=pooled)

    def _each(self, change: "Change") -> "Embedding":
        pooled, mask = (None if tensor is None else change(tensor) for tensor in (self.pooled, self.mask))
        return Embedding(change(self.tokens), pooled, mask, {name: change(tensor) for name, tensor in self.extra.items()})

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """The tensors that a gradient can reach."""
        return (self.tokens,) if self.pooled is None else (self.tokens, self.pooled)


@runtime_checkable
class Change(Protocol):
    """A map of one tensor that keeps its trailing shape."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """The changed tensor."""
        ...


@frozen
class Controls:
    """What a method may steer. `noise` has a row for x_T and one for each step: row 0 starts, row i + 1 is drawn at step i.

    Noises are standard normal: row 0 is multiplied by the scheduler's initial std, the others by their transition's.
    `null` is None for a backbone without classifier-free guidance.
    """

    text: Embedding
    null: Embedding | None
    noise: Noises

    def where(self, rows: Bool[Tensor, " b"], other: "Controls") -> "Controls":
        """These controls in the samples where `rows` holds, the other's elsewhere."""
        text = self.text.where(rows, other.text)
        null = self.null if self.null is None or other.null is None else self.null.where(rows, other.null)
        return Controls(text, null, torch.where(rows.view(1, -1, 1, 1, 1), self.noise, other.noise))


@runtime_checkable
class ControllableVariable(Protocol):
    """A lens on the controls: read what is steered, write it back.

    Laws: reading what was written gives it; writing what was read changes nothing; the second of two writes wins. What a write does
    not touch stays the *same object*, which is how the problem knows which guidance branch changed.
    """

    @property
    def needs_null(self) -> bool:
        """Whether it has no meaning without a null embedding and guidance other than 1."""
        ...

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The steered tensors; each has one row per sample in dimension 0 (noise: in dimension 1 it is moved to 0)."""
        ...

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """New controls in which the steered tensors are these."""
        ...


@frozen
class TextEmbedding:
    """The text embedding's tokens (DATE), and its pooled vector too where asked."""

    pooled: bool = False
    needs_null: bool = attrs.field(default=False, init=False, repr=False)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """(tokens,) or (tokens, pooled)."""
        return _read(controls.text, self.pooled, "text")

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with this text embedding."""
        return evolve(controls, text=_written(controls.text, value))

    def __and__(self, other: ControllableVariable) -> "Product":
        return Product((self, other))


@frozen
class NullEmbedding:
    """The null embedding of classifier-free guidance (Null-TTA), and its pooled vector too where asked."""

    pooled: bool = False
    needs_null: bool = attrs.field(default=True, init=False, repr=False)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """(tokens,) or (tokens, pooled)."""
        return _read(_null(controls), self.pooled, "null")

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with this null embedding."""
        return evolve(controls, null=_written(_null(controls), value))

    def __and__(self, other: ControllableVariable) -> "Product":
        return Product((self, other))


@frozen
class Noise:
    """The injected noise (DNO): x_T and every step's, or only those of the last `last` steps. Rows: samples first, `(b, steps, ...)`."""

    last: int | None = None
    needs_null: bool = attrs.field(default=False, init=False, repr=False)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The steered noises, `(b, steps, c, h, w)`."""
        return (controls.noise[self._first(controls) :].transpose(0, 1),)

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Controls with these noises; earlier rows stay."""
        noise = value[0].transpose(0, 1)
        copies = noise.shape[1] // controls.noise.shape[1]
        kept = controls.noise[: self._first(controls)].repeat(1, copies, 1, 1, 1)
        return evolve(controls, noise=torch.cat([kept, noise]))

    def _first(self, controls: Controls) -> int:
        return 0 if self.last is None else max(0, controls.noise.shape[0] - self.last)

    def __and__(self, other: ControllableVariable) -> "Product":
        return Product((self, other))


@frozen
class Product:
    """Several variables steered as one; written `NullEmbedding() & TextEmbedding()`."""

    parts: tuple[ControllableVariable, ...]

    @property
    def needs_null(self) -> bool:
        """Whether one part needs a null embedding."""
        return any(part.needs_null for part in self.parts)

    def read(self, controls: Controls) -> tuple[Tensor, ...]:
        """The parts' tensors, one after another."""
        return tuple(tensor for part in self.parts for tensor in part.read(controls))

    def write(self, controls: Controls, value: tuple[Tensor, ...]) -> Controls:
        """Each part takes as many tensors as it reads."""
        for part in self.parts:
            size = len(part.read(controls))
            controls, value = part.write(controls, value[:size]), value[size:]
        return controls

    def __and__(self, other: ControllableVariable) -> "Product":
        return Product((*self.parts, other))


def _null(controls: Controls) -> Embedding:
    if controls.null is None:
        raise IncompatibleError(
            "Cannot use a null-embedding variable with this backbone. This is because the variable steers the unconditional branch of "
            "classifier-free guidance, but the backbone has no null embedding. Steer TextEmbedding() or Noise(), or ask for true guidance."
        )
    return controls.null


def _read(embedding: Embedding, pooled: bool, branch: str) -> tuple[Tensor, ...]:
    if not pooled:
        return (embedding.tokens,)
    if embedding.pooled is None:
        raise IncompatibleError(
            f"Cannot use the pooled {branch} embedding with this backbone. This is because its networks are told tokens only. "
            "Leave `pooled` off."
        )
    return (embedding.tokens, embedding.pooled)


def _written(embedding: Embedding, value: tuple[Tensor, ...]) -> Embedding:
    return evolve(embedding, tokens=value[0], **({"pooled": value[1]} if len(value) > 1 else {}))
