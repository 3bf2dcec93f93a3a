"""Checks all annotations in the tests at a low cost: only annotations with shapes need jaxtyping's context of dimensions.

jaxtyping's import hook binds the arguments of each call to a signature and checks them twice, which costs more than most functions of the
kernel. Here the type checker wraps the function once, and a context is opened only if an annotation has a shape.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any, get_args

import jaxtyping
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import AbstractArray, TypeCheckError
from jaxtyping._import_hook import Typechecker

_whole = jaxtyping.jaxtyped


def install() -> None:
    """Installs the checks. It must be called before the checked packages are imported, because the modules that the hook loads look up
    `jaxtyping.jaxtyped`."""
    jaxtyping.jaxtyped = _checked


def _checked(*given: Any, **options: Any) -> Any:
    """Replaces `jaxtyping.jaxtyped` for calls by the import hook; any other call gets the original."""
    typechecker = options.get("typechecker")
    if typechecker not in Typechecker.lookup.values():
        return _whole(*given, **options)
    return _function(*given, typechecker) if given else partial(_function, typechecker=typechecker)


def _function(fn: Any, typechecker: Any) -> Any:
    parts = [part for annotation in getattr(fn, "__annotations__", {}).values() for part in _parts(annotation)]
    shapes = [part for part in parts if inspect.isclass(part) and issubclass(part, AbstractArray)]
    of_arguments = any("{" in shape.dim_str for shape in shapes) or any(isinstance(part, str) for part in parts)
    if of_arguments or _is_lazy(fn) or not inspect.isfunction(fn):
        return _whole(fn, typechecker=typechecker)
    checked = typechecker(fn)
    if checked is fn:
        return fn
    return _switched(fn, _in_context(checked) if shapes else checked)


def _switched(fn: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fn)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return (fn if jaxtyping.config.jaxtyping_disable else checked)(*args, **kwargs)
        except BeartypeCallHintViolation as error:
            raise TypeCheckError(str(error)) from error  # a TypeError, as jaxtyping raises

    return call


def _in_context(checked: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with _whole("context"):
            return checked(*args, **kwargs)

    return call


def _parts(annotation: Any) -> Iterator[Any]:
    """An annotation and all annotations inside it, including the arguments of a Callable."""
    yield annotation
    for part in annotation if isinstance(annotation, list | tuple) else get_args(annotation):
        yield from _parts(part)


def _is_lazy(fn: Any) -> bool:
    """Whether the body runs after the call has returned, as in a generator."""
    return any(check(fn) for check in (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction))
