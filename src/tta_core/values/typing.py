"""Type names of tensors with their shapes, and `frozen`, which makes checked value classes.

Shapes follow einops: b samples, c latent channels, h w latent pixels, H W image pixels, l tokens, d token width, k copies.
Rows of k copies of a batch are laid out k-major, `(k b)`: row `i * b + j` is copy i of sample j.
"""

import inspect
from collections.abc import Mapping
from functools import cache, wraps
from typing import Any, Protocol, TypeVar, dataclass_transform, no_type_check, runtime_checkable

import attrs
from beartype import BeartypeConf, beartype
from beartype.door import is_bearable
from jaxtyping import Float, Int, TypeCheckError, jaxtyped
from torch import Tensor

from tta_core.errors import InputError
from tta_core.values.arguments import shown

Latents = Float[Tensor, "b c h w"]
Images = Float[Tensor, "b 3 H W"]
Scores = Float[Tensor, " b"]
TokenEmbeddings = Float[Tensor, "b l d"]
PooledEmbeddings = Float[Tensor, "b p"]
TokenMask = Int[Tensor, "b l"]
Noises = Float[Tensor, "k b c h w"]
Rows = Int[Tensor, " b"]

T = TypeVar("T")


@runtime_checkable
class Change(Protocol):
    """A map of one tensor that keeps its trailing shape."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """The changed tensor."""
        ...


# A whole number is a fine float (PEP 484): `DATE(rho=1)`.
_conf = BeartypeConf(is_pep484_tower=True)

# Kinds whose values all pass the same checks; value classes made by `frozen` join them.
_values: set[type] = {type(None), bool, float}


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def frozen(cls: type[T]) -> type[T]:
    """`attrs.frozen` whose constructor checks types and shapes (jaxtyping's import hook leaves attrs classes out).

    A field's annotation is the check: `mean: Latents` refuses a 3-D tensor, and dimensions of one name must agree over all fields of
    the object. What is checked depends on the arguments' types, dtypes and shapes alone, so a form that passed once passes again without
    being looked at: about 25 microseconds the first time, 2 after it. Raises `InputError` that names the field.
    """
    made: Any = attrs.frozen(cls)
    trusted = made.__init__
    passed: set[object] = set()

    @no_type_check  # called for every value: an import hook that checks annotations leaves it as it is
    @wraps(trusted)
    def init(self: object, *args: object, **kwargs: object) -> None:
        form = _form((args, kwargs))
        if form not in passed:
            try:
                _checking(trusted)(self, *args, **kwargs)
            except TypeCheckError as error:
                given = inspect.signature(trusted).bind(self, *args, **kwargs).arguments
                raise InputError(_refusal(made, given, trusted.__annotations__) or f"{made.__name__}: {error}") from error
            if form is not None:
                passed.add(form)
        trusted(self, *args, **kwargs)

    made.__init__ = init
    _values.add(made)
    return made


@cache
def _checking(trusted: Any) -> Any:
    """Checks the arguments of a constructor, and does nothing. Made when it is first needed, since that takes a millisecond."""

    @jaxtyped(typechecker=beartype(conf=_conf))
    @wraps(trusted)
    def check(self: object, *args: object, **kwargs: object) -> None: ...

    return check


def _refusal(cls: type, given: Mapping[str, object], annotations: Mapping[str, Any]) -> str | None:
    """What is wrong with which field; None where it is not seen again, since of a container one part is looked at, by chance."""
    with jaxtyped("context"):
        wrong = (name for name, value in given.items() if not is_bearable(value, annotations.get(name, object), conf=_conf))
        field = next(wrong, None)
    if field is None:
        return None
    value, taken = given[field], inspect.formatannotation(annotations[field])
    if isinstance(value, Tensor):
        what = f"a {value.dtype} tensor of shape {tuple(value.shape)}"
        return f"{cls.__name__}.{field} takes {taken}, but {what} was given. Dimensions of one name must be equal in all fields."
    return f"{cls.__name__}.{field} takes {taken}, but {shown(value)} was given."


@no_type_check
def _form(value: Any) -> object:
    """All of a value that a check can see, or None where that is more than can be remembered (a function, a network)."""
    kind = type(value)
    if kind is Tensor:
        return value.dtype, value.shape
    if kind in _values:
        return kind
    if isinstance(value, str) or kind is int:
        return kind, value  # a Literal is checked by value
    if kind is tuple or kind is dict:
        forms = [_form(part) for part in (value if kind is tuple else value.items())]
        return None if None in forms else (kind, *forms)
    return None


def evolve(value: T, **changes: object) -> T:
    """The same value with some fields changed; checked like a new one."""
    return attrs.evolve(value, **changes)  # type: ignore[misc]
