"""The controls of a run: text embedding, null embedding and noise; everything that a method can steer."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tta_core.values.transition import as_batch
from tta_core.values.typing import Change, Noises, PooledEmbeddings, TokenEmbeddings, TokenMask, evolve, frozen


@frozen
class AttentionEnergy:
    """How strongly a cross-attention layer changes the context of the next layer, for each sample.

    Attributes:
        attention: weight of the attention term.
        norm: weight of the term that shrinks large keys.
        tokens: a factor for each token on the attention term; None: 1.

    Source: Energy-Based Cross Attention (arXiv 2306.09869) eq. 10 and 11.
    """

    attention: Float[Tensor, " b"]
    norm: Float[Tensor, " b"]
    tokens: Float[Tensor, "b l"] | None = None

    def each(self, change: Change) -> "AttentionEnergy":
        """The same change applied to every tensor."""
        return AttentionEnergy(change(self.attention), change(self.norm), None if self.tokens is None else change(self.tokens))


@frozen
class Embedding:
    """The conditioning of one guidance branch; every tensor has one row per sample.

    `mask` is 1 at tokens that are used and 0 at padding; None: all are used. `extra` holds other inputs of the network that are not steered
    (SDXL's time ids). `attention` changes how cross-attention layers use the tokens; only backbones that are `SteersAttention` accept it.
    """

    tokens: TokenEmbeddings
    pooled: PooledEmbeddings | None = None
    mask: TokenMask | None = None
    extra: Mapping[str, Tensor] = attrs.field(factory=dict)
    attention: AttentionEnergy | None = None

    def repeated(self, rows: int) -> "Embedding":
        """The embedding repeated to `rows` rows, k-major; the same object if it has that many already."""
        if self.tokens.shape[0] == rows:
            return self
        return self.map(lambda tensor: as_batch(tensor, rows))

    def map(self, change: Change) -> "Embedding":
        """The embedding with `change` applied to each of its tensors."""
        pooled, mask = (None if tensor is None else change(tensor) for tensor in (self.pooled, self.mask))
        extra = {name: change(tensor) for name, tensor in self.extra.items()}
        return Embedding(change(self.tokens), pooled, mask, extra, self.attention and self.attention.each(change))

    def __getitem__(self, rows: slice | Tensor) -> "Embedding":
        return self.map(lambda tensor: tensor[rows])

    def where(self, rows: Bool[Tensor, " b"], other: "Embedding") -> "Embedding":
        """This embedding in the samples where `rows` is True, the other's tokens and pooled vector elsewhere."""
        if other is self:
            return self
        pooled = None if self.pooled is None or other.pooled is None else torch.where(rows[:, None], self.pooled, other.pooled)
        return evolve(self, tokens=torch.where(rows[:, None, None], self.tokens, other.tokens), pooled=pooled)

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """The tensors that can be steered: tokens and, if there is one, the pooled vector."""
        return (self.tokens,) if self.pooled is None else (self.tokens, self.pooled)


def stacked(embeddings: Sequence[Embedding]) -> Embedding | None:
    """Several embeddings as the rows of one, in order; None if one call of a network cannot take them together.

    Tokens of different lengths are padded with zeros if every embedding has a mask; the mask is 0 at the padding.
    """
    first, *others = embeddings
    longest = max(embedding.tokens.shape[1] for embedding in embeddings)
    if first.mask is not None and all(embedding.mask is not None for embedding in others):
        embeddings = [_padded(embedding, longest) for embedding in embeddings]
    forms = {tuple((name, tensor.shape[1:], tensor.dtype) for name, tensor in _tensors(embedding)) for embedding in embeddings}
    if len(forms) > 1:
        return None
    if len({_rows(embedding) for embedding in embeddings}) > 1:
        return None
    parts: dict[str, Tensor] = {
        name: torch.cat([dict(_tensors(embedding))[name] for embedding in embeddings]) for name, _ in _tensors(embeddings[0])
    }
    extra = {name.removeprefix("extra."): part for name, part in parts.items() if name.startswith("extra.")}
    energy = {name.removeprefix("attention."): part for name, part in parts.items() if name.startswith("attention.")}
    attention: Any = AttentionEnergy(**energy) if energy else None
    return Embedding(parts["tokens"], parts.get("pooled"), parts.get("mask"), extra, attention)


def _rows(embedding: Embedding) -> int:
    return embedding.tokens.shape[0]


def _tensors(embedding: Embedding) -> list[tuple[str, Tensor]]:
    """Every tensor by name, in a fixed order."""
    energy = embedding.attention
    named: dict[str, Tensor | None] = {"tokens": embedding.tokens, "pooled": embedding.pooled, "mask": embedding.mask}
    named |= {f"extra.{name}": tensor for name, tensor in sorted(embedding.extra.items())}
    named |= {} if energy is None else {f"attention.{name}": getattr(energy, name) for name in ("attention", "norm", "tokens")}
    return [(name, tensor) for name, tensor in named.items() if tensor is not None]


def _padded(embedding: Embedding, length: int) -> Embedding:
    missing = length - embedding.tokens.shape[1]
    if missing == 0 or embedding.mask is None:
        return embedding
    tokens, mask = (
        torch.nn.functional.pad(tensor, pad) for tensor, pad in ((embedding.tokens, (0, 0, 0, missing)), (embedding.mask, (0, missing)))
    )
    return evolve(embedding, tokens=tokens, mask=mask)


@frozen
class Branches:
    """The embeddings of one step; None: the same as at other steps, from the controls."""

    text: Embedding | None = None
    null: Embedding | None = None


@frozen
class Controls:
    """Everything that a method can steer. `noise` has a row for x_T and one for each step: row 0 is x_T, row i + 1 is used at step i.

    Noises are standard normal: row 0 is multiplied by the scheduler's initial std, each other row by the std of its transition.
    `null` is None for a backbone without classifier-free guidance. `by_step` holds embeddings that differ from step to step, by the
    step's index. Null-text inversion computes such embeddings, and a method that updates its embedding records them, so that sampling from
    the controls of the last snapshot repeats the run.
    """

    text: Embedding
    null: Embedding | None
    noise: Noises
    by_step: Mapping[int, Branches] = attrs.field(factory=dict)

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        """Every tensor that can be steered: those of the text embedding and the null embedding, and the noise."""
        return (*self.text.leaves, *(self.null.leaves if self.null else ()), self.noise)

    def at(self, index: int) -> "Controls":
        """The controls of one step; the same object if no embedding differs by step."""
        if not self.by_step:
            return self
        here = self.by_step.get(index, _OWN)
        return Controls(here.text or self.text, here.null or self.null, self.noise)

    def recorded(self, index: int, used: "Controls") -> "Controls":
        """These controls, with the embeddings that were used at a step added to `by_step`."""
        return evolve(self, by_step={**self.by_step, index: Branches(used.text, used.null)})

    def branched(self, row: int, noises: Noises) -> "Controls":
        """The controls of the children, rows `(k b)`, with these noises `(k, b, ...)` in one row; the copies share the embeddings."""
        noise = self.noise.repeat(1, noises.shape[0] * noises.shape[1] // self.noise.shape[1], 1, 1, 1)
        noise[row] = noises.flatten(0, 1)
        return evolve(self, noise=noise)

    def __getitem__(self, rows: Tensor) -> "Controls":
        """The controls of chosen particles, rows `(k b)`. An embedding that the copies of a sample share stays the same object."""
        by_step = {index: Branches(self._chosen(here.text, rows), self._chosen(here.null, rows)) for index, here in self.by_step.items()}
        return Controls(self._chosen(self.text, rows) or self.text, self._chosen(self.null, rows), self.noise[:, rows], by_step)

    def _chosen(self, embedding: Embedding | None, rows: Tensor) -> Embedding | None:
        return embedding if embedding is None or len(embedding.tokens) < self.noise.shape[1] else embedding[rows]

    def where(self, rows: Bool[Tensor, " b"], other: "Controls") -> "Controls":
        """These controls in the samples where `rows` is True, the other's elsewhere."""
        text = self.text.where(rows, other.text)
        null = self.null if self.null is None or other.null is None else self.null.where(rows, other.null)
        noise = torch.where(rows.view(1, -1, 1, 1, 1), self.noise, other.noise)
        by_step = {}
        for index in sorted({*self.by_step, *other.by_step}):
            one, two = self.at(index), other.at(index)
            without = one.null is None or two.null is None
            by_step[index] = Branches(one.text.where(rows, two.text), one.null if without else one.null.where(rows, two.null))  # type: ignore[union-attr, arg-type]
        return Controls(text, null, noise, by_step)


_OWN = Branches()
