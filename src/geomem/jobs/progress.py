"""Progress reporting: stages with known shares of the whole work."""

from collections.abc import Callable, Mapping

__all__ = ["Progress", "Stages", "duration"]

# (what is being done, share of the whole work done so far)
Progress = Callable[[str, float], None]


class Stages:
    """Turns the progress of stages into one share of the whole work.

    Args:
        progress: Called with what is being done and the share done; None for nobody.
    """

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._shares: Mapping[str, float] = {}
        self._finished = 0.0
        self._label = ""

    @property
    def doing(self) -> str:
        """What is being done, for a message."""
        return self._label.partition(" · ")[0] or "preparing the work"

    def expect(self, shares: Mapping[str, float]) -> None:
        """Name the stages, with the share of the time that each takes, in any unit."""
        whole = sum(shares.values()) or 1.0
        self._shares = {name: share / whole for name, share in shares.items()}

    def begin(self, name: str, label: str, part: float = 0.0) -> None:
        """Report what is being done, when `part` of stage `name` is done."""
        self._label = label
        self._report(self._finished + self._shares[name] * part)

    def done(self, name: str) -> None:
        """Report that stage `name` is done."""
        self._finished += self._shares[name]
        self._report(self._finished)

    def say(self, label: str) -> None:
        """Report what is being done outside any stage."""
        self._label = label
        self._report(self._finished)

    def _report(self, share: float) -> None:
        if self._progress is not None and self._label:
            self._progress(self._label, min(1.0, share))


def duration(seconds: float) -> str:
    """Seconds in words, rounded as an estimate deserves.

    >>> duration(7), duration(150), duration(9000)
    ('7 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
