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
    covariance: np.ndarray  # (sets, m, m)


def _weights(y: np.ndarray, x: np.ndarray, t: float) -> np.ndarray:
    """softmax(-|x-y|^2/2t) over samples, for samples (k, N, m) and positions (m,) or (k, m)."""
    logits = (np.einsum("knm,km->kn", y, np.broadcast_to(x, (y.shape[0], y.shape[2]))) - 0.5 * np.sum(y**2, -1)) / t
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

    def run(variances, n, times, count, seed, x=None, planted=False) -> list[Simulated]:
        s = variances[variances > 0]
        at = np.zeros(s.size) if x is None else np.asarray(x)[variances > 0]
        rows: list[list[tuple[np.ndarray, ...]]] = [[] for _ in times]
        for y in _data(s, n, count, seed):
            if planted == "own":
                at = y[:, 0]
            elif planted:
                y[:, 0] = at
            for row, t in zip(rows, times, strict=True):
                w = _weights(y, at, t)
                mean = np.einsum("kn,kni->ki", w, y)
                second = np.matmul((y * w[..., None]).transpose(0, 2, 1), y)
                row.append(
                    (
                        np.broadcast_to(at, mean.shape),
                        w[:, 0],
                        np.sum(w**2, -1),
                        mean,
                        second - mean[:, :, None] * mean[:, None],
                    )
                )
        return [Simulated(*(np.concatenate(part) for part in zip(*row, strict=True))) for row in rows]

    return run


@pytest.fixture(scope="session")
def smoothed() -> Callable[..., np.ndarray]:
    """Tangent blocks (sets, m, m) of t J, J the smoothed empirical Jacobian (Eq. 5) at the origin."""

    def run(variances, n, t, count, seed) -> np.ndarray:
        s = variances[variances > 0]
        blocks = []
        for y in _data(s, n, count, seed):
            origin = np.einsum("kn,kni->ki", _weights(y, np.zeros(s.size), t), y)
            columns = [
                (np.einsum("kn,kni->ki", _weights(y, e * np.sqrt(t), t), y) - origin) / np.sqrt(t)
                for e in np.eye(s.size)
            ]
            blocks.append(np.stack(columns, -1) - np.eye(s.size))
        return np.concatenate(blocks)

    return run
