"""The exceptions, one class for each kind of cause. A message says what happened, why it cannot be, and what to do."""

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
    """No plugin of this kind has that name; the message offers the nearest ones."""


class IncompatibleError(TTAError):
    """Two parts cannot work together, though each works alone: *Cannot use X with Y. This is because ...*. Raised before the first step."""


class LoadError(TTAError):
    """Weights, a folder or a plugin could not be read; the message names the file and the missing piece."""


class RewardError(TTAError):
    """A reward raised, or did not return one finite score per image; the message names it and its package."""


class RunError(TTAError, RuntimeError):
    """A method, or the backbone under it, raised something else than a refusal, or a method yielded what is no snapshot; the message names
    both and the place, and `__cause__` is what was raised."""


class OutOfMemoryError(TTAError, MemoryError):
    """The device ran out of memory; the message says what was predicted and which policies to try."""


class NotFiniteError(TTAError, ArithmeticError):
    """A NaN or an infinity appeared where a number must be: a gradient, a prediction."""


class SaveError(TTAError, OSError):
    """Some or all results could not be written; the message names the files and the reason. Files that exist are complete."""
