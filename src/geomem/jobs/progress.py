"""How long commands say how far they are: stages with known shares of the whole work."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

__all__ = ["Progress", "Stages", "duration"]

# (what is being done, share of the whole work done so far)
Progress = Callable[[str, float], None]
_Part = TypeVar("_Part")


class Stages:
    """Turns stages into one share of the whole work.

    Args:
        progress: Who is told; None is no one.
        shares: Share of the whole time that each stage takes.
    """

    def __init__(self, progress: Progress | None, shares: Mapping[str, float]) -> None:
        self._progress = progress
        self._shares = shares
        self._finished = 0.0
        self._said = ""

    def begin(self, name: str, label: str, part: float = 0.0) -> None:
        """Say what is being done, when `part` of stage `name` is over."""
        self._said = label
        self._report(self._finished + self._shares[name] * part)

    def done(self, name: str) -> None:
        """Stage `name` is over."""
        self._finished += self._shares[name]
        self._report(self._finished)

    def say(self, label: str) -> None:
        """Say what is being done outside any stage."""
        self._said = label
        self._report(self._finished)

    def counted(self, name: str, labels: Sequence[str], parts: Iterable[_Part]) -> Iterator[_Part]:
        """The parts of a stage, one label said before each is made."""
        iterator = iter(parts)
        for i, label in enumerate(labels):
            self.begin(name, label, i / len(labels))
            yield next(iterator)

    def _report(self, share: float) -> None:
        if self._progress is not None:
            self._progress(self._said, min(1.0, share))


def duration(seconds: float) -> str:
    """Seconds in words, rounded as an estimate deserves.

    >>> duration(7), duration(150), duration(9000)
    ('7 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
