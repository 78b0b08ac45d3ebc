r"""A score beside a reference at the same noisy points: with a condition and without, fine-tuned and base, now and earlier.

    Ds(x, t) = s(x, t) - r(x, t)

is zero where both know the same. For a condition c, s = grad ln p_t(x|c) and r = grad ln p_t(x), it is grad ln p_t(c|x), the
direction of classifier-free guidance (Ho and Salimans 2022): a text that is tied to one image makes it large.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import Score, events
from geomem.scores.conditioned import at_points

__all__ = ["Both", "Pair", "pair"]

Both = Callable[[Tensor, Tensor | float], tuple[Tensor, Tensor]]
"""(x, t) -> both scores (*b, *shape)."""


@dataclass(frozen=True)
class Pair:
    """A score s and its reference r, see `pair`. It is `Conditioned`: conditions for each point follow the points.

    Attributes:
        score: s.
        reference: r, of the same shape.
        together: Both in one evaluation of the network that they share; None where there are two.
    """

    score: Score
    reference: Score
    together: Both | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return tuple(self.score.shape)

    def __call__(self, x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """s and r, each (*b, *shape), at x (*b, *shape) and t > 0, () or (*b), in 1/data units."""
        if self.together is not None:
            return self.together(x, t)
        return self.score(x, t), self.reference(x, t)

    def difference(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Ds = s - r (*b, *shape), in 1/data units."""
        s, r = self(x, t)
        return s - r

    def select(self, places: Sequence[int]) -> "Pair":
        """The pair at some of the points, by their places."""
        return pair(at_points(self.score, places), at_points(self.reference, places))


def pair(score: Score, reference: Score) -> Pair:
    """A score beside a reference.

    Where both are unguided scores of one network that differ in their conditions alone, both are evaluated in one batch.

    Args:
        score: Any score, such as the one with a condition, or of a fine-tuned model.
        reference: A score of the same shape: without the condition, of the base model, of an earlier checkpoint.

    Raises:
        InputError: For different shapes.

    >>> from geomem.scores import GaussianScore
    >>> both = pair(GaussianScore(torch.tensor([0.0, 1.0])), GaussianScore(torch.ones(2)))
    >>> both.difference(torch.ones(2), 1.0)
    tensor([-0.5000,  0.0000])
    """
    if tuple(score.shape) != tuple(reference.shape):
        raise InputError(
            f"reference: has events of shape {tuple(reference.shape)}, but the score takes {tuple(score.shape)}; compare scores of one shape."
        )
    return Pair(score, reference, _together(score, reference))


@runtime_checkable
class _Worded(Protocol):
    """A network's score with a word for each of its points, or one for all; the network takes a batch of different words."""

    shape: tuple[int, ...]
    module: Any
    words: tuple[Any, ...]
    guidance: float
    adapted: bool | None

    def conditioned(self, words: Sequence[Any], guidance: float | None = None) -> Score: ...


def _together(score: Score, reference: Score) -> Both | None:
    """Both scores in one evaluation, where they are of one network in one state."""
    if not (isinstance(score, _Worded) and isinstance(reference, _Worded)):
        return None
    if score.module is not reference.module or score.adapted != reference.adapted:
        return None
    # Guidance evaluates the network at both conditions itself.
    if score.guidance != 1 or reference.guidance != 1:
        return None
    count = max(len(score.words), len(reference.words))
    words = [_each(one.words, count) for one in (score, reference)]
    shape = tuple(score.shape)
    joint = score.conditioned(words[0] + words[1])

    def together(x: Tensor, t: Tensor | float) -> tuple[Tensor, Tensor]:
        rows, times, _ = events(x, t, shape)
        # Words are in the order of points, so all points of the score come before those of the reference.
        out = joint(torch.cat([rows, rows]).reshape(-1, *shape), torch.cat([times, times]))
        s, r = out.chunk(2)
        return s.reshape(x.shape), r.reshape(x.shape)

    return together


def _each(words: tuple[Any, ...], count: int) -> list[Any]:
    """A word for each of `count` points."""
    if len(words) not in (1, count):
        raise InputError(
            f"reference: has {len(words)} conditions and the score {count}; give each as many, or one for all."
        )
    return list(words) * (count // len(words))
