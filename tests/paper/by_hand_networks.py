"""Records of networks and of the algorithms that measure them, made by hand."""

import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from paper.by_hand import PARTS, D, Made, around

SIZES, TIMES, POINTS = (50, 250, 500, 5000, 100_000), (1.0, 0.3, 0.01, 1e-5), 10


def networks(
    m: int,
    gap: Callable[[int, str], int],
    astray: int = 0,
    high: Callable[[int, float], float] = lambda n, t: 1.0,
    low: Callable[[int, float], float] = lambda n, t: 1.0,
    beyond: Callable[[float], float] = lambda t: 0.0,
) -> xr.Dataset:
    """Networks' record: position of the largest gap by N and place (none at `astray` points of each), shares kept along
    axes by N and t, and how many dimensions they have beyond the empirical score by t.
    """
    s, count = np.array([1.0, 0.3, 0.0]), np.array([*PARTS[m], D - m])
    where = np.repeat(["origin", "training", "held_out"], [1, POINTS, POINTS])
    kept = np.array([[[high(n, t), low(n, t), 1.0] for t in TIMES] for n in SIZES])
    share = kept * s / (s + np.array(TIMES)[:, None])
    survival = np.stack([share, share - np.array([beyond(t) for t in TIMES])[:, None] / D], 1)
    survival = around(survival, 3, where.size, 1e-4)
    gaps = np.array([[gap(n, place) for place in where] for n in SIZES])
    gaps[:, 1 : 1 + astray] = gaps[:, 1 + POINTS : 1 + POINTS + astray] = -1
    gaps = np.broadcast_to(gaps[:, None, None, None], (len(SIZES), 2, 2, len(TIMES), where.size))
    return xr.Dataset(
        {
            "axis_survival": (("size", "score", "t", "point", "group"), survival),
            "gap": (("size", "score", "probe", "t", "point"), gaps),
        },
        coords={
            "score": ["network", "empirical"],
            "size": list(SIZES),
            "probe": ["antithetic", "orthonormal"],
            "t": list(TIMES),
            "where": ("point", where),
            "variance": ("group", s),
            "count": ("group", count),
        },
        attrs={"dim": D, "rank": m, "steps": 1000},
    )


def trained(*, total: int = 23, middle: int = 25, few: int = 28, m: int = 7, **options) -> Made:
    """Networks whose largest gap at N >= 5,000, at 250 and 500, and at 50 samples is after so many values."""

    def gap(n: int, place: str) -> int:
        return few if n <= 100 else middle if n <= 500 else total

    return {"fig5" if m == 7 else "fig16": {f"m{m}": networks(m, gap, **options)}}


def learned(high: float, low: float) -> Made:
    """Shares of the exact survival along the axes of either variance, at every N and t."""
    arrays = networks(7, lambda n, place: 23, high=lambda n, t: high, low=lambda n, t: low).sel(score=["network"])
    return {"fig15": {"high": arrays}}


def algorithms(
    ratio: float = 0.5, bias: float = 0.5, stanczuk: float = 3.0, ours: float = 0.0, scores: tuple[float, ...] = (1, 1)
) -> Made:
    """Alg. 2's scatter and bias over Alg. 1's, and the errors of the two rules' dimensions (NaN: no answer)."""
    probes, repeats, t = ["Alg. 1", "Alg. 2", "Alg. 2, half", "orthonormal"], 12, [0.1, 0.01]
    scatter = np.ones((2, 4, repeats, len(t), 3)) * np.exp(around(0.0, 0, repeats, 0.05))[:, None, None]
    scatter[:, 1:3] *= ratio * np.array(scores)[:, None, None, None, None]
    biases = around(np.array([1.0, bias, bias, 1e-3])[:, None], 2, 3, 1e-3).repeat(len(t), 1)
    rules = ["normal bundle", "Alg. 3, c = 10"]
    wrong = np.zeros((2, 2, 4, repeats, len(t), 3)) + 20.0
    wrong[0, 0, 0], wrong[1, 0, 1] = stanczuk, ours
    wrong += around(0.0, 0, repeats, 0.1)[:, None, None]
    arrays = xr.Dataset(
        {
            "deviation": (("score", "probe", "repeat", "t", "point"), scatter),
            "bias": (("probe", "t", "point"), biases),
            "dimension": (("rule", "score", "probe", "repeat", "t", "point"), 7 + wrong),
        },
        coords={"score": ["exact", "empirical"], "probe": probes, "t": t, "rule": rules},
        attrs={"dim": D, "rank": 7},
    )
    return {"algorithms": {"m7": arrays}}


def images(
    resolved: Callable[[int], float] = lambda n: 5 * math.log2(n),
    kink: Callable[[int], float] = lambda n: 4 * math.log2(n),
    *,
    apart: float = 0.0,
    gap: Callable[[int], float] = lambda n: 3.0,
    names: tuple[str, ...] = ("mnist", "fashion-mnist"),
    sizes: tuple[int, ...] = (2, 64, 400, 1000, 4000),
    few: bool = False,
    spread: float = 0.2,
) -> Made:
    """Networks over N: resolved dimension (held-out images have `apart` more), Alg. 3's, and whether there is a gap (NaN: none)."""
    rules, sets, t = (
        ["resolved", "degrees_of_freedom", "largest_gap", "second_difference"],
        ["training", "held-out"],
        [1e-4, 0.1],
    )
    values = np.zeros((4, 2, 2, 12, len(sizes), 1, 2))
    for i, n in enumerate(sizes):
        values[0, ..., i, 0, :], values[3, ..., i, 0, :], values[2, ..., i, 0, :] = resolved(n), kink(n), gap(n)
    values[0, :, 1] += apart
    values += around(0.0, 0, 12, spread)[:, None, None, None]
    if few:  # at the smallest size there are two training points
        values[:, :, 0, 2:, 0] = np.nan
    distance = np.array([[1.0, 1.1]] * 10)[None, None].repeat(len(sizes), 0)
    arrays = xr.Dataset(
        {
            "dimension": (("reading", "score", "set", "point", "size", "seed", "t"), values),
            "scaled_value": (("direction",), np.zeros(784)),
            "sample_distance": (("size", "seed", "sample", "neighbour"), distance),
            "control_distance": (("size", "seed", "control", "neighbour"), distance),
        },
        coords={
            "reading": rules,
            "score": ["network", "empirical"],
            "set": sets,
            "size": list(sizes),
            "seed": [0],
            "t": t,
        },
        attrs={"network": "mlp", "parameters": 100, "steps": 10},
    )
    return {"fig6": dict.fromkeys(names, arrays)}


def late(n: int) -> float:
    """Flat up to 400, rising from there to a peak at 4,000."""
    return 5.0 + 20 * math.log2(max(n, 400) / 400) if n <= 4000 else 40.0


AHEAD = {"high": lambda n, t: 0.9, "low": lambda n, t: 0.5}
BEHIND = {"high": lambda n, t: 0.5, "low": lambda n, t: 0.9}
# The second manifold's gaps: total after 15 values, 20 with the low, 25 with the high variance alone.
WIDE = {"m": 15, "total": 15, "middle": 20, "few": 25}
