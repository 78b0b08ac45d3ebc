"""A score that adds up the time spent in it."""

import time
from typing import Any

from torch import Tensor

__all__ = ["Timed"]


class Timed:
    """A score, and the seconds that its evaluations took."""

    def __init__(self, score: Any) -> None:
        self.score, self.shape, self.seconds = score, score.shape, 0.0

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        start = time.perf_counter()
        out: Tensor = self.score(x, t)
        self.seconds += time.perf_counter() - start
        return out
