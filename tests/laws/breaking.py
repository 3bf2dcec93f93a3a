"""Shows that a law can fail: it is run on a class that is made to break it."""

import inspect

import pytest
from hypothesis.errors import Flaky


def laws_of(suite: type) -> list[str]:
    """The names of a suite's laws, those of its base classes first."""
    return [name for cls in reversed(suite.__mro__) for name in vars(cls) if name.startswith("test_")]


def assert_caught(suite: type, law: str, subjects: dict[str, object], *, attributes: dict[str, object]) -> None:
    """Asserts that the law fails by its own assertion on these subjects (fixtures by name), with these declared attributes.

    If a subject is not a function of its arguments, hypothesis may report it as flaky.
    """
    subject = type(f"Broken{suite.__name__}", (suite,), attributes)()
    bound = getattr(subject, law)
    wanted = {name: subjects[name] for name in inspect.signature(bound).parameters}
    with pytest.raises((AssertionError, pytest.fail.Exception, Flaky)):
        bound(**wanted)
