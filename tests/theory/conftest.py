"""The sheet's two sets, and simulated posteriors of the empirical score on linear Gaussian data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

SETS = {
    "A": np.array([1.0] * 2 + [0.3] * 5 + [0.0] * 23),
    "B": np.array([1.0] * 5 + [0.3] * 10 + [0.0] * 15),
}


@pytest.fixture(scope="session")
def set_a() -> np.ndarray:
    return SETS["A"]


@pytest.fixture(scope="session")
def set_b() -> np.ndarray:
    return SETS["B"]


@pytest.fixture(scope="session")
def sets() -> dict[str, np.ndarray]:
    return SETS


@dataclass(frozen=True)
class Simulated:
    """Moments of the posterior weights, one row a data set; m is the rank."""

    position: np.ndarray  # (sets, m)
    own: np.ndarray  # (sets,) weight of the first sample
    power: np.ndarray  # (sets,) sum of squared weights, Y
    mean: np.ndarray  # (sets, m)
    covariance: np.ndarray  # (sets, m, m), or (sets, 0, 0) where it was not asked for


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Weights over the last axis."""
    w = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(w / w.sum(-1, keepdims=True))


def _data(s: np.ndarray, n: int, count: int, seed: int) -> Iterator[np.ndarray]:
    """Data sets (k, n, m) in blocks of bounded size, `count` in all."""
    rng = np.random.default_rng(seed)
    block = max(1, 100_000 // n)
    for start in range(0, count, block):
        yield rng.standard_normal((min(block, count - start), n, s.size)) * np.sqrt(s)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., list[Simulated]]:
    """Posteriors at one position over many data sets, for several times on the same data.

    `x` (d,) or None for the origin; `planted` puts the position among the samples (and "own" draws it from the data).
    """

    def run(variances, n, times, count, seed, x=None, planted=False, covariance=True) -> list[Simulated]:
        s = variances[variances > 0]
        at = np.zeros(s.size) if x is None else np.asarray(x)[variances > 0]
        rows: list[list[tuple[np.ndarray, ...]]] = [[] for _ in times]
        for y in _data(s, n, count, seed):
            if planted == "own":
                at = y[:, 0]
            elif planted:
                y[:, 0] = at
            position = np.broadcast_to(at, (y.shape[0], s.size))
            # -|x-y|^2/2 but for a term without y, which the weights do not have.
            energy = (y @ position[:, :, None])[..., 0] - 0.5 * np.sum(y**2, -1)
            for row, t in zip(rows, times, strict=True):
                w = _softmax(energy / t)
                mean = (w[:, None] @ y)[:, 0]
                spread = np.empty((len(y), 0, 0))
                if covariance:
                    second = np.matmul((y * w[..., None]).transpose(0, 2, 1), y)
                    spread = second - mean[:, :, None] * mean[:, None]
                row.append((position, w[:, 0], np.sum(w**2, -1), mean, spread))
        return [Simulated(*(np.concatenate(part) for part in zip(*row, strict=True))) for row in rows]

    return run


@pytest.fixture(scope="session")
def smoothed() -> Callable[..., np.ndarray]:
    """Tangent blocks (sets, m, m) of t J, J the smoothed empirical Jacobian (Eq. 5) at the origin."""

    def run(variances, n, t, count, seed) -> np.ndarray:
        s = variances[variances > 0]
        # The origin, then sqrt t along each axis.
        positions = np.sqrt(t) * np.vstack([np.zeros(s.size), np.eye(s.size)])
        blocks = []
        for y in _data(s, n, count, seed):
            logits = (positions @ y.transpose(0, 2, 1) - 0.5 * np.sum(y**2, -1)[:, None]) / t
            means = _softmax(logits) @ y
            blocks.append((means[:, 1:] - means[:, :1]).transpose(0, 2, 1) / np.sqrt(t) - np.eye(s.size))
        return np.concatenate(blocks)

    return run
