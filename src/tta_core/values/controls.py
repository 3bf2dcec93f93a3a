"""All that may be steered: two embeddings and the noise."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from tta_core.values.transition import as_batch
from tta_core.values.typing import Noises, PooledEmbeddings, TokenEmbeddings, TokenMask, evolve, frozen


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
