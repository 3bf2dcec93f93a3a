"""What functions remember between calls must not be a tensor without data."""

import functools
import gc
from collections.abc import Iterator
from contextlib import contextmanager

Cached = functools._lru_cache_wrapper


@contextmanager
def forgotten_caches() -> Iterator[None]:
    """Empties, on leaving, every `functools` cache of the process that learnt something inside (a reward's table of resizing weights)."""
    before = {id(function): function.cache_info().misses for function in _cached()}
    try:
        yield
    finally:
        for function in _cached():
            if function.cache_info().misses != before.get(id(function), 0):
                function.cache_clear()


def _cached() -> "list[Cached[object]]":
    return [thing for thing in gc.get_objects() if type(thing) is Cached]
