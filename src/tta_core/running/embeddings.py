"""The embeddings of a run: encoded from prompts, or given by the user for all steps or for each step, and checked before the first step."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch

from tta_core.errors import IncompatibleError, InputError
from tta_core.protocols.backbone import Backbone, SteersAttention
from tta_core.protocols.wrappers import WrappedBackbone
from tta_core.values.arguments import shown
from tta_core.values.controls import Branches, Controls, Embedding
from tta_core.values.provenance import describe, name_of
from tta_core.values.typing import Noises, evolve

Given = Embedding | Sequence[Embedding] | None


@attrs.frozen
class _OrGiven:
    """Encodes; returns the given embedding instead if the backbone has no text encoders and refuses to encode."""

    encode: Callable[[Any, int, int], Any]
    given: Embedding

    def __call__(self, prompts: Any, height: int, width: int) -> Any:
        try:
            return self.encode(prompts, height, width)
        except IncompatibleError:
            return self.given


def encoded_or_given(backbone: Backbone, text: Given, null: Given) -> Backbone:
    """The backbone, wrapped so that branches whose embedding is given need no text encoders."""
    one, other = _first(text), _first(null)
    if one is None and other is None:
        return backbone
    return WrappedBackbone(
        backbone,
        encoding=None if one is None else _OrGiven(backbone.encode, one.map(torch.Tensor.detach)),
        encoding_null=None if other is None else _OrGiven(backbone.encode_null, other.map(torch.Tensor.detach)),
    )


def _first(given: Given) -> Embedding | None:
    """The embedding given, or that of the first step; None for values that `encoded` refuses."""
    one = given[0] if isinstance(given, Sequence) and given else given
    return one if isinstance(one, Embedding) else None


def encoded(
    backbone: Backbone,
    prompts: Sequence[str],
    negatives: Sequence[str | None],
    size: tuple[int, int],
    noise: Noises,
    text: Given,
    null: Given,
) -> Controls:
    """The controls of a run. Given embeddings are used instead of encoding the prompts.

    Raises:
        InputError: a given value is not an embedding, or has another number of rows, steps or features than the run.
    """
    steps, samples = len(noise) - 1, len(prompts)
    texts, nulls = (_each(name, given, steps, samples) for name, given in (("text", text), ("null", null)))
    with torch.no_grad():
        one = _ordinary(_completed("text", texts, lambda: backbone.encode(prompts, *size), backbone, samples))
        other = _ordinary(_completed("null", nulls, lambda: backbone.encode_null(negatives, *size), backbone, samples))
    assert one is not None
    by_step = {}
    if len(one) > 1 or len(other) > 1:
        by_step = {i: Branches(one[i] if len(one) > 1 else None, other[i] if len(other) > 1 else None) for i in range(steps)}
    assert one[0] is not None
    return Controls(one[0], other[0], noise, by_step)


def _ordinary(embeddings: tuple[Embedding | None, ...]) -> tuple[Embedding | None, ...]:
    """Copies of tensors made under `torch.inference_mode()`, which no gradient could reach; others stay the same objects."""
    inference = [one is not None and any(leaf.is_inference() for leaf in one.leaves) for one in embeddings]
    return tuple(one.map(torch.Tensor.clone) if one and made else one for one, made in zip(embeddings, inference, strict=True))


def _each(name: str, given: Given, steps: int, samples: int) -> tuple[Embedding, ...]:
    """The embeddings given: none, one, or one for each step."""
    each = () if given is None else (given,) if isinstance(given, Embedding) else tuple(given) if isinstance(given, Sequence) else None
    if each is None or not all(isinstance(one, Embedding) for one in each):
        raise InputError(f"{name} is {shown(given)}, but it takes a tta_core.Embedding, or a list of one for each step.")
    if given is not None and not isinstance(given, Embedding) and len(each) != steps:
        raise InputError(f"{name} has embeddings for {len(each)} steps, but this run takes {steps}. Give one for each, or one for all.")
    for one in each:
        if not all(leaf.isfinite().all() for leaf in one.leaves):
            raise InputError(f"{name} holds a NaN or an infinity. Encode the text again.")
        if one.tokens.shape[0] != samples:
            raise InputError(f"{name} has {one.tokens.shape[0]} rows, but there are {samples} prompts. Give one row for each.")
    return each


def _completed(
    name: str, given: tuple[Embedding, ...], encode: Callable[[], Embedding | None], backbone: Backbone, samples: int
) -> tuple[Embedding | None, ...]:
    """The embeddings given, completed with the backbone's own extra tensors; those that have `extra` are complete. None given: its own."""
    steers = isinstance(backbone, SteersAttention) and backbone.steers_attention
    if any(one.attention is not None for one in given) and not steers:
        raise InputError(
            f"{name} changes cross-attention (Embedding.attention), but {name_of(backbone)} cannot do that. Leave the attention out."
        )
    if given and all(one.extra for one in given):
        return given
    own = encode()
    if own is not None and not (isinstance(own, Embedding) and own.tokens.shape[0] == samples):
        what = f"{own.tokens.shape[0]} rows for {samples} prompts" if isinstance(own, Embedding) else shown(own)
        raise InputError(f"{describe(backbone)} encoded {name} as {what}. Return a tta_core.Embedding with one row for each prompt.")
    return tuple(completed(name, one, own, backbone) for one in given) or (own,)


def completed(name: str, given: Embedding, own: Embedding | None, backbone: Backbone) -> Embedding:
    """A given embedding with the backbone's own `extra` tensors (such as SDXL's sizes), and with a mask of ones if it has no mask.

    Raises:
        InputError: the features have another size, or the pooled vector is missing, or this backbone takes none.
    """
    if own is None:
        raise InputError(f"{name} is given, but {name_of(backbone)} has no unconditional branch that takes it. Leave it out.")
    expected = {"tokens": own.tokens.shape[-1], "pooled": None if own.pooled is None else own.pooled.shape[-1]}
    actual = {"tokens": given.tokens.shape[-1], "pooled": None if given.pooled is None else given.pooled.shape[-1]}
    for part, size in expected.items():
        if actual[part] != size:
            raise InputError(
                f"{name}.{part} has {actual[part] or 'no'} features, but {name_of(backbone)} takes {size or 'none'}. Encode the text with "
                "this pipeline, as its encode_prompt does."
            )
    ones = torch.ones(given.tokens.shape[:2], dtype=torch.long, device=given.tokens.device)
    mask = given.mask if given.mask is not None or own.mask is None else ones
    return evolve(given, mask=mask, extra={**own.extra, **given.extra})
