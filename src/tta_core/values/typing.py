"""Type names of tensors with their shapes, and `frozen`, which makes checked value classes.

Shapes follow einops: b samples, c latent channels, h w latent pixels, H W image pixels, l tokens, d token width, k copies.
Rows of k copies of a batch are laid out k-major, `(k b)`: row `i * b + j` is copy i of sample j.
"""

import inspect
import random
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


# An int is accepted as a float (PEP 484): `DATE(rho=1)`.
_conf = BeartypeConf(is_pep484_tower=True)

# Types whose values all pass the same checks; `frozen` adds the value classes that it makes.
_values: set[type] = {type(None), bool, float}


@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def frozen(cls: type[T]) -> type[T]:
    """`attrs.frozen` whose constructor checks types and shapes (jaxtyping's import hook leaves attrs classes out).

    The check is the field's annotation: `mean: Latents` refuses a 3-D tensor, and dimensions of the same name must be equal in all fields
    of the object. The result of a check depends only on the arguments' types, dtypes and shapes. So a combination that passed once is not
    checked again: about 25 microseconds the first time, 2 afterwards. The constructor raises `InputError`, which names the field.
    """
    made: Any = attrs.frozen(cls)
    trusted = made.__init__
    passed: set[object] = set()

    @no_type_check  # called for every value, so an import hook must not add checks to it
    @wraps(trusted)
    def init(self: object, *args: object, **kwargs: object) -> None:
        values = _form((*args, *kwargs.values()))
        form = values and (*kwargs, values)
        if form not in passed:
            random_state = random.getstate()  # beartype checks a random item of a container
            try:
                _checking(trusted)(self, *args, **kwargs)
            except TypeCheckError as error:
                given = inspect.signature(trusted).bind(self, *args, **kwargs).arguments
                raise InputError(_refusal(made, given, trusted.__annotations__) or f"{made.__name__}: {error}") from error
            finally:
                random.setstate(random_state)
            if form is not None:
                passed.add(form)
        trusted(self, *args, **kwargs)

    made.__init__ = init
    _values.add(made)
    return made


@cache
def _checking(trusted: Any) -> Any:
    """A function that only checks the arguments of a constructor. It is made when first needed, since that takes a millisecond."""

    @jaxtyped(typechecker=beartype(conf=_conf))
    @wraps(trusted)
    def check(self: object, *args: object, **kwargs: object) -> None: ...

    return check


def _refusal(cls: type, given: Mapping[str, object], annotations: Mapping[str, Any]) -> str | None:
    """The message for the field with a wrong value; None if no field fails again, because beartype checks a random item of a container."""
    with jaxtyped("context"):
        wrong = (name for name, value in given.items() if not is_bearable(value, annotations.get(name, object), conf=_conf))
        field = next(wrong, None)
    if field is None:
        return None
    value, expected = given[field], inspect.formatannotation(annotations[field])
    if isinstance(value, Tensor):
        what = f"a {value.dtype} tensor of shape {tuple(value.shape)}"
        return f"{cls.__name__}.{field} takes {expected}, but {what} was given. Dimensions of the same name must be equal in all fields."
    return f"{cls.__name__}.{field} takes {expected}, but {shown(value)} was given."


@no_type_check
def _form(value: Any) -> object:
    """The type, dtype and shape of a value, on which its checks depend; None if a check can depend on more (a function, a network)."""
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


@no_type_check
def evolve(value: T, **changes: object) -> T:
    """A copy of a value with some fields changed; it is checked like a new one."""
    kind = type(value)
    kept = {alias: getattr(value, name) for name, alias in _arguments(kind) if alias not in changes}
    return kind(**kept, **changes)


@cache
def _arguments(cls: type[Any]) -> tuple[tuple[str, str], ...]:
    """The fields that the constructor takes, with the names of its arguments."""
    return tuple((field.name, field.alias or field.name) for field in attrs.fields(cls) if field.init)
