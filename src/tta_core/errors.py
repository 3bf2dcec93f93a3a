"""The exceptions, one class for each kind of cause. A message says what happened, why that is an error, and what to do."""

from typing import Any


class TTAError(Exception):
    """The base class of all errors of this package; catch it to catch all of them.

    Attributes:
        partial: the `Alignment` with the best result so far, if a run failed after its first snapshot; else None.
    """

    partial: Any = None


class InputError(TTAError, ValueError):
    """An argument is not valid: an empty prompt list, a setting of a wrong type or shape, a folder that cannot be written."""


class UnknownNameError(TTAError, LookupError):
    """No plugin of this kind has that name; the message suggests the nearest names."""


class IncompatibleError(TTAError):
    """Two parts cannot work together, although each works with others: *Cannot use X with Y. This is because ...*. Raised before the first
    step."""


class LoadError(TTAError):
    """Weights, a folder or a plugin could not be read; the message names the file and the missing piece."""


class RewardError(TTAError):
    """A reward raised, or did not return one finite score per image; the message names it and its package."""


class RunError(TTAError, RuntimeError):
    """A method or the backbone raised an exception that is not a `TTAError`, or a method yielded something that is not a snapshot. The
    message names both and the line of code, and `__cause__` is the original exception."""


class OutOfMemoryError(TTAError, MemoryError):
    """The device ran out of memory; the message gives the predicted need and the policies to try."""


class NotFiniteError(TTAError, ArithmeticError):
    """A gradient, a prediction, an image or another result holds a NaN or an infinity."""


class SaveError(TTAError, OSError):
    """Some or all results could not be written; the message names the files and the reason. All existing files are complete."""
