"""Clears function caches that may hold fake tensors."""

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Cached = functools._lru_cache_wrapper

_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def forgotten_caches() -> Iterator[None]:
    """At the end of the context, clears every `functools` cache of the process that got a new entry in it, such as a reward's table of
    resizing weights.

    All objects are searched for caches, which takes a tenth of a second or more; a nested context leaves that to the outer one.
    """
    if _inside.get():
        yield
        return
    before = {id(function): function.cache_info().misses for function in _cached()}
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)
        for function in _cached():
            if function.cache_info().misses != before.get(id(function), 0):
                function.cache_clear()


def _cached() -> "list[Cached[object]]":
    return [thing for thing in gc.get_objects() if type(thing) is Cached]
