"""Copies among generated samples: nearest neighbours in the training data, with a control and exact intervals.

A sample is called a copy if its nearest training sample is much nearer than the second nearest, d_1/d_2 < 1/3 (Yoon et
al. 2023; Bonnaire et al. 2025). Held-out data cannot be copies, so they give the false-positive rate of this rule.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from scipy.stats import fisher_exact, norm
from torch import Tensor

from geomem.data import DataSet
from geomem.data.rows import representatives
from geomem.errors import InputError
from geomem.intervals import Interval, Rate
from geomem.scores.distances import nearest
from geomem.seeds import derived_seed

__all__ = [
    "RATIO",
    "Rate",
    "Verdict",
    "compared",
    "copy_rate",
    "neighbour_distances",
    "rate_of_copies",
    "ratios",
    "superiority",
    "verdict",
]

# d_1/d_2 below which a sample is a copy.
RATIO = 1 / 3
# Number of rows that serve as the control if there are no held-out data, and of closest pairs saved as pictures.
_CONTROLS, _PAIRS = 5000, 10


def compared(
    real: DataSet, made: DataSet, held_out: DataSet | None, duplicates: xr.Dataset, *, seed: int
) -> xr.Dataset:
    """The record `copies`: the two nearest training rows of each sample and of each control, and pictures of the closest pairs.

    Args:
        real: Training data.
        made: Generated samples, prepared like the data, see `data.matching.like`.
        held_out: Held-out data, prepared likewise; None compares rows of the data with all other rows.
        duplicates: The record of `data.used.used_rows`.
        seed: Seed of the rows that serve as the control.
    """
    # One row of each group of near duplicates: two of them at the same distance would hide a copy.
    rows = representatives(real, duplicates)
    reference = real.rows(rows).numpy()
    samples = made.rows(slice(None)).numpy().astype(reference.dtype)
    distance, neighbour = neighbour_distances(samples, reference)
    if held_out is not None:
        control, _ = neighbour_distances(held_out.rows(slice(None)).numpy().astype(reference.dtype), reference)
    else:
        rng = np.random.default_rng(derived_seed(seed, "control"))
        own = np.sort(rng.permutation(rows.size)[:_CONTROLS])
        control, _ = neighbour_distances(reference[own], reference, own=own)
    ratio = ratios(distance)
    closest = np.argsort(ratio, kind="stable")[:_PAIRS]
    pictured = neighbour[closest, 0]
    units = {"units": "data units"}
    return xr.Dataset(
        {
            "distance": (("sample", "rank"), distance, units),
            "control": (("held_out", "rank"), control, units),
            "neighbour": (("sample", "rank"), rows[neighbour], {"long_name": "row of the data"}),
            "ratio": ("sample", ratio, {"units": "1"}),
            "sample_label": ("sample", [made.label(i) for i in range(len(made))]),
            "neighbour_label": ("sample", [real.label(int(i)) for i in rows[neighbour[:, 0]]]),
            "closest": ("pair", closest, {"long_name": "number of the sample"}),
            "picture": (("pair", "value"), samples[closest], units),
            "original": (("pair", "value"), reference[pictured], units),
        },
        attrs={"control_name": "" if held_out is None else held_out.name, "notes": list(made.notes)},
    )


def neighbour_distances(
    samples: ArrayLike, data: ArrayLike, *, own: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances (n, 2) to the two nearest rows of the data for each sample, nearest first, and their row numbers (n, 2).

    Args:
        samples: Samples (n, ...).
        data: Data (N, ...).
        own: For samples that are rows of the data, their row numbers (n,), which are excluded.

    Raises:
        InputError: For fewer than two rows (other than a sample's own), or samples of another shape.
    """
    a, b = _rows(samples), _rows(data)
    k = 2 if own is None else 3
    if b.shape[0] < k:
        raise InputError(f"data: the second-nearest neighbour needs at least {k} samples, got {b.shape[0]}.")
    if a.shape[1:] != b.shape[1:] or a.shape[0] == 0:
        raise InputError(
            f"samples: have shape {tuple(a.shape)}, the data {tuple(b.shape)}; all but the first axis must agree."
        )
    for name, values in (("samples", a), ("data", b)):
        if not bool(torch.isfinite(values).all()):
            raise InputError(f"{name}: holds values that are not finite; leave those rows out.")
    distance, index = nearest(
        a.flatten(1), b.flatten(1), 2, own=None if own is None else torch.as_tensor(np.asarray(own))
    )
    return distance.numpy(), index.numpy()


def _rows(values: ArrayLike) -> Tensor:
    """Values as a tensor of at least two axes; float32 and float64 values are not copied."""
    array = np.asarray(values)
    array = array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
    return torch.from_numpy(np.require(array[:, None] if array.ndim == 1 else array, requirements=["C", "W"]))


@dataclass(frozen=True)
class Verdict:
    """The verdict on samples, from copy rates and distances of samples and of a control.

    Attributes:
        copies: "identical" (samples equal training data value for value), "yes" (the intervals of the rates do not overlap),
            "likely" (Fisher's exact test, one-sided, below 0.05, or samples as a whole have smaller d_1/d_2), "far"
            (samples are so far from all data that they cannot be judged), "too few" (no sign, but one side has so few
            samples that one in ten more could be copies), or "no sign".
        p: p-value of Fisher's exact test; the null hypothesis is that samples are copies no more often than the control.
        nearer: Over pairs of a sample and a control, the fraction in which the sample has the smaller d_1/d_2; 1/2 without
            memorization. It detects noisy copies, which the rate misses.
        identical: Number of samples at distance 0 from a row of the data.
    """

    copies: str
    p: float
    nearer: Interval
    identical: int


# Smallest excess of copies that must be detected; if an interval reaches farther above its rate, "no sign" would claim too much.
_MISSED = 0.1
# If the interval of `nearer` lies above this value, samples as a whole are called nearer.
_NEARER = 0.6
# If the median nearest distance of samples is this many times the control's, they have another scale or are other images.
_FAR = 3.0


def verdict(samples: NDArray[np.float64], control: NDArray[np.float64]) -> Verdict:
    """The verdict from distances (n, 2) to the two nearest rows of the data, of samples and of a control that cannot be copies.

    >>> rng = np.random.default_rng(0)
    >>> real = np.sort(rng.uniform(1, 2, (100, 2)), axis=1)
    >>> copies = np.concatenate([real[:60], [[0.1, 1.5]] * 40])
    >>> verdict(copies, real).copies, verdict(real[:50], real[50:]).copies
    ('yes', 'no sign')
    """
    rates = [rate_of_copies(side) for side in (samples, control)]
    generated, expected = rates
    table = np.array([[rate.count, rate.total - rate.count] for rate in rates])
    p = float(fisher_exact(table, alternative="greater").pvalue)
    nearer = superiority(ratios(control), ratios(samples))
    identical = int(np.sum(samples[:, 0] == 0))
    far = np.median(samples[:, 0]) > _FAR * np.median(control[:, 0])
    if identical:
        word = "identical"
    elif generated.low > expected.high:
        word = "yes"
    elif p < 0.05 or nearer.low > _NEARER:
        word = "likely"
    elif far:
        word = "far"
    else:
        word = "too few" if any(rate.high - rate.value > _MISSED for rate in rates) else "no sign"
    return Verdict(word, p, nearer, identical)


def superiority(larger: NDArray[np.float64], smaller: NDArray[np.float64]) -> Interval:
    """Fraction of pairs in which an entry of `larger` exceeds one of `smaller` (ties count half), with DeLong's 95% interval.

    >>> print(f"{superiority(np.arange(20.0) + 5, np.arange(20.0)):.2f}")
    0.72 [0.56, 0.88]
    """

    def placements(these: NDArray[np.float64], among: NDArray[np.float64]) -> NDArray[np.float64]:
        ordered = np.sort(among)
        below, upto = (np.searchsorted(ordered, these, side) for side in ("left", "right"))
        return np.asarray((below + upto) / (2 * among.size))

    above, under = placements(larger, smaller), 1 - placements(smaller, larger)
    value = float(above.mean())
    spread = math.sqrt(above.var(ddof=1) / above.size + under.var(ddof=1) / under.size)
    reach = float(norm.ppf(0.975)) * spread
    return Interval(value, max(0.0, value - reach), min(1.0, value + reach), min(larger.size, smaller.size))


def ratios(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """d_1/d_2; 1 if both are 0."""
    safe = np.where(distance[:, 1] > 0, distance[:, 1], 1.0)
    return np.where(distance[:, 1] > 0, distance[:, 0] / safe, 1.0)


def copy_rate(samples: ArrayLike, data: ArrayLike, *, ratio: float = RATIO, confidence: float = 0.95) -> Rate:
    """Fraction of samples with d_1/d_2 below `ratio`.

    Duplicates in the data make both distances equal and hide copies; remove them first.

    Args:
        samples: Generated or held-out samples (n, ...).
        data: Training data (N, ...), N >= 2.
        ratio: Largest d_1/d_2 of a copy.
        confidence: Level of the interval.

    Raises:
        InputError: As in `neighbour_distances`.

    >>> data = np.array([[0.0], [1.0], [5.0]])
    >>> print(copy_rate([[0.1], [0.5], [4.9], [3.0]], data))
    50.0% [6.8, 93.2]
    """
    distance, _ = neighbour_distances(samples, data)
    return rate_of_copies(distance, ratio=ratio, confidence=confidence)


def rate_of_copies(distance: NDArray[np.float64], *, ratio: float = RATIO, confidence: float = 0.95) -> Rate:
    """The copy rate from distances (n, 2) to the two nearest rows of the data, see `copy_rate` and `neighbour_distances`."""
    count = int(np.sum(distance[:, 0] < ratio * distance[:, 1]))
    return Rate.of(count, distance.shape[0], confidence=confidence)
