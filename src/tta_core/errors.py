"""The exceptions, one class for each kind of cause. A message says what happened, why it cannot be, and what to do."""

from typing import Any


class TTAError(Exception):
    """Anything this framework refuses; catch this to catch them all.

    Attributes:
        partial: the `Alignment` that a run had reached when it failed, from its first snapshot on; None elsewhere.
    """

    partial: Any = None


class InputError(TTAError, ValueError):
    """An argument is not of the kind asked for: an empty prompt list, a setting of another type or shape, an unwritable folder."""


class UnknownNameError(TTAError, LookupError):
    """No plugin of this kind has that name; the message offers the nearest ones."""


class IncompatibleError(TTAError):
    """Two things that each work cannot work together: *Cannot use X with Y. This is because ...*. Raised before the first step."""


class LoadError(TTAError):
    """Weights, a folder or a plugin could not be read; the message names the file and the missing piece."""


class RewardError(TTAError):
    """A reward raised, or returned what is not one finite score per image; the message names it and its package."""


class RunError(TTAError, RuntimeError):
    """A method, or the backbone under it, raised something else than a refusal, or a method yielded what is no snapshot; the message names
    both and the place, and `__cause__` is what was raised."""


class OutOfMemoryError(TTAError, MemoryError):
    """The device ran out of memory; the message says what was predicted and which policies to try."""


class NotFiniteError(TTAError, ArithmeticError):
    """A NaN or an infinity appeared where a number must be: a gradient, a prediction."""


class SaveError(TTAError, OSError):
    """Results could not be written, or not all of them; the message names the files and why. Those that are there are complete."""
