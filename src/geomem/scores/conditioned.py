"""Scores with a condition for each point, such as a caption."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from geomem.scores.base import Score

__all__ = ["Conditioned", "at_points"]


@runtime_checkable
class Conditioned(Protocol):
    """A score with a condition for each of its points.

    It is evaluated at all of them, (n, *shape), or at several of each, (n, k, *shape) or (n k, *shape) in the order of points.
    """

    def select(self, places: Sequence[int]) -> Score:
        """The score of some of the points, by their places."""
        ...


def at_points(score: Score, places: Sequence[int]) -> Score:
    """The score of some points, by their places; the score itself where points have no condition of their own."""
    return score.select(places) if isinstance(score, Conditioned) else score
