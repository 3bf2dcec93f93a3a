"""The name, distribution and version of an object, for error messages, manifests and `tta doctor`."""

import inspect
import re
from functools import cache
from importlib.metadata import Distribution, distributions


@cache
def _distributions() -> dict[str, tuple[str, str]]:
    """For each top-level module, the name and version of the first distribution on the path that has it.

    `importlib.metadata.packages_distributions` gives the same, but makes an object for every installed file, which takes half a second.
    """
    found: dict[str, tuple[str, str]] = {}
    for one in distributions():
        facts = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
        name, version = (re.search(rf"^{field}: *(.*\S)", facts, re.MULTILINE) for field in ("Name", "Version"))
        if name and version:
            for top in _modules(one):
                found.setdefault(top, (name[1], version[1]))
    return found


def _modules(one: Distribution) -> set[str]:
    """The top-level modules of a distribution: those that it declares, else the top-level folders and files that it installed."""
    declared = one.read_text("top_level.txt")
    if declared and declared.strip():
        return set(declared.split())
    recorded = one.read_text("RECORD")
    paths = map(str, one.files or ()) if recorded is None else recorded.splitlines()
    return {path.partition("/")[0].partition(".")[0] for path in paths}


def distribution(thing: object) -> tuple[str, str] | None:
    """(distribution, version) of the package in which a class, function or object was defined; None for code outside of packages."""
    module = _module_of(thing)
    return _distributions().get(module.split(".")[0])


def _module_of(thing: object) -> str:
    """The module in which a class, a function or an object's class was defined; for a wrapper, that of the object inside."""
    inner = inspect.unwrap(thing)  # type: ignore[arg-type]
    return str(getattr(inner, "__module__", None) or type(inner).__module__)


def name_of(thing: object) -> str:
    """The name of a function or class, or the class name of another object."""
    return getattr(thing, "__name__", None) or type(thing).__name__


def describe(thing: object) -> str:
    """The name and origin for a message: `Sharpness (from tta-sharpness 0.1)`, or `my_function (defined in __main__)`."""
    made_by = distribution(thing)
    module = _module_of(thing)
    return f"{name_of(thing)} (from {made_by[0]} {made_by[1]})" if made_by else f"{name_of(thing)} (defined in {module})"
