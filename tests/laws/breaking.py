"""How a law is shown to be able to fail: it is run on a subject made to break it."""

import inspect

import pytest
from hypothesis.errors import Flaky


def laws_of(suite: type) -> list[str]:
    """The names of a suite's laws, its parts' first."""
    return [name for cls in reversed(suite.__mro__) for name in vars(cls) if name.startswith("test_")]


def assert_caught(suite: type, law: str, subjects: dict[str, object], *, attributes: dict[str, object]) -> None:
    """The law fails by its own assertion on these subjects (fixtures by name), under these declared attributes.

    A subject that is not a function of its arguments may show itself to hypothesis as flaky.
    """
    subject = type(f"Broken{suite.__name__}", (suite,), attributes)()
    bound = getattr(subject, law)
    wanted = {name: subjects[name] for name in inspect.signature(bound).parameters}
    with pytest.raises((AssertionError, pytest.fail.Exception, Flaky)):
        bound(**wanted)
