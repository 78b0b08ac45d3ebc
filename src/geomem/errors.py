"""The exceptions and warnings that users see.

The message of an error states what is wrong, where, and what to do. The command line prints it unchanged, without a
traceback, and exits with the error's `exit_code`.
"""

__all__ = [
    "GeomemError",
    "InputError",
    "Interrupted",
    "NumericalWarning",
    "OutputError",
    "Terminated",
    "TrainingError",
    "reason_of",
]

# Most characters of another library's error, which may quote what a user's file holds.
_LONGEST = 400


class GeomemError(Exception):
    """Base of every error that geomem raises on purpose."""

    exit_code = 1


class InputError(GeomemError, ValueError):
    """A user's input is invalid: an argument, an option, an array or the content of a file."""

    exit_code = 2


class OutputError(GeomemError):
    """A result cannot be written to the requested place."""

    exit_code = 3


class Interrupted(GeomemError):
    """A signal stopped a run: 130 for Ctrl-C, 143 where the process was asked to end."""

    exit_code = 130

    def __init__(self, message: str, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a run as Ctrl-C does."""


class TrainingError(GeomemError, ArithmeticError):
    """Training diverged and was stopped."""


class NumericalWarning(UserWarning):
    """A number left the range of its type or was repaired, so the result is less accurate than it seems."""


def reason_of(error: BaseException, lines: int = 1) -> str:
    """The first lines of another library's error, joined for use in a sentence; its type if it has no message."""
    said = " ".join(line.strip() for line in str(error).strip().splitlines()[:lines])
    said = said if len(said) <= _LONGEST else f"{said[:_LONGEST]} ..."
    return said.rstrip(".") or type(error).__name__
