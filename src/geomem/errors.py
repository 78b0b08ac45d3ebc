"""The exceptions and warnings that users see.

Each error's text says what was wrong, where, and what to do about it; the command line prints it as it is and leaves
with the error's `exit_code`, without a traceback.
"""

__all__ = ["GeomemError", "InputError", "Interrupted", "NumericalWarning", "OutputError", "TrainingError", "reason_of"]


class GeomemError(Exception):
    """Base of every error that geomem raises on purpose."""

    exit_code = 1


class InputError(GeomemError, ValueError):
    """A value given by the user cannot be used: an argument, an option, an array, a file's content."""

    exit_code = 2


class OutputError(GeomemError):
    """A result cannot be written where the user asked for it."""

    exit_code = 3


class Interrupted(GeomemError):
    """The user stopped a run."""

    exit_code = 130


class TrainingError(GeomemError, ArithmeticError):
    """Training went out of range and was stopped."""


class NumericalWarning(UserWarning):
    """A number left the range of its type, or was repaired, and the result says less than it seems to."""


def reason_of(error: BaseException, lines: int = 1) -> str:
    """The first lines of another library's error in one, its type where it says nothing, to be put into a sentence."""
    said = " ".join(line.strip() for line in str(error).strip().splitlines()[:lines])
    return said.rstrip(".") or type(error).__name__
