"""The name, distribution and version of an object, for error messages, manifests and `tta doctor`."""

import importlib.metadata
from functools import cache


@cache
def _distributions() -> dict[str, list[str]]:
    return {top: list(names) for top, names in importlib.metadata.packages_distributions().items()}


def distribution(thing: object) -> tuple[str, str] | None:
    """(distribution, version) of the package in which a class, function or object was defined; None for code in no package."""
    module = getattr(thing, "__module__", None) or type(thing).__module__
    names = _distributions().get(str(module).split(".")[0])
    return (names[0], importlib.metadata.version(names[0])) if names else None


def name_of(thing: object) -> str:
    """A function's or class's own name, or the class name of an object."""
    return getattr(thing, "__name__", None) or type(thing).__name__


def describe(thing: object) -> str:
    """`Sharpness (from tta-sharpness 0.1)`, or `my_function (defined in __main__)`."""
    made_by = distribution(thing)
    module = getattr(thing, "__module__", None) or type(thing).__module__
    return f"{name_of(thing)} (from {made_by[0]} {made_by[1]})" if made_by else f"{name_of(thing)} (defined in {module})"
