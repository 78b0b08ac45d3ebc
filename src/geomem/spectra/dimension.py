r"""Readings: dimensions computed from a spectrum, which is measured only once.

There are two families. Gap rules look for a sharp drop in the singular values of the Jacobian (Sec. 4): before it lie the
d - m directions orthogonal to the manifold, after it the m tangent directions. Readings of the survival kappa need no gap,
which real data rarely have. "Resolved" counts directions with kappa > 1/2, "degrees of freedom" is the sum of all kappa,
d + t tr J, and FLIPD (Kamkari et al. 2024b) adds t |s|^2 to it. Every rule takes a batch of spectra and returns a
`DimensionEstimate`, whose status states why a dimension is missing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geomem.errors import InputError
from geomem.spectra.spectrum import Spectrum

__all__ = [
    "PRESETS",
    "READINGS",
    "RESOLVED",
    "DimensionEstimate",
    "Preset",
    "Reading",
    "degrees_of_freedom",
    "flipd",
    "largest_gap",
    "normal_bundle",
    "read",
    "readings_for",
    "resolved",
    "second_difference",
]


# Survival above which a direction counts as resolved: free at the scale sqrt t rather than pinned.
RESOLVED = 0.5


@dataclass(frozen=True)
class DimensionEstimate:
    """Dimensions of a batch (*b) of spectra.

    Attributes:
        value: Dimension; NaN if there is none.
        index: Number of singular values before the gap or kink, or of survivals counted; -1 if there is none.
        status: "ok"; "no_gap" (flat or smooth spectrum); "too_few" (not enough singular values for the rule, or fewer
            than d directions probed); "no_survival" (the probe does not measure survival); "not_finite".
    """

    value: NDArray[np.float64]
    index: NDArray[np.int64]
    status: NDArray[np.str_]


def largest_gap(spectrum: Spectrum | Tensor, *, relative: float = 0.1) -> DimensionEstimate:
    """d - k for the largest gap lambda_k - lambda_{k+1} (Eq. 7), if it is wider than `relative` lambda_1.

    Args:
        spectrum: A spectrum, or all d singular values (*b, d), descending.
        relative: Least width of a gap, relative to the largest singular value. A smooth or flat spectrum has narrower
            steps by chance.

    Returns:
        Dimension, position and status ("no_gap" if no gap is wide enough).

    >>> int(largest_gap(torch.tensor([9.0, 8.9, 8.8, 1.0, 0.9])).value)
    2
    """
    if not 0 < relative < 1:
        raise InputError(f"relative: must lie between 0 and 1, got {relative:g}.")
    return _by_gap(spectrum, relative)


def normal_bundle(spectrum: Spectrum | Tensor) -> DimensionEstimate:
    """Stanczuk et al. 2022: d - k for the largest gap of any width. Designed for the score matrix of Alg. 1 with K = 4d.

    The rule nearly always returns a dimension, so on spectra without a gap its value is arbitrary. Only a spectrum that is
    flat up to rounding has the status "no_gap". `largest_gap` is the same rule with a threshold.
    """
    return _by_gap(spectrum, 1e-12)


def second_difference(spectrum: Spectrum | Tensor, *, discard: int = 1, threshold: float = 10.0) -> DimensionEstimate:
    """Alg. 3: the first kink of the spectrum, where the second difference exceeds `threshold` times its median.

    With v the singular values after the first `discard`, D = |v_n - 2 v_{n+1} + v_{n+2}| and n the first index with
    D_n > max(threshold median(D), 1e-12 max v), the dimension is d - (n + discard) - 2. It finds the first gap, which
    need not be the largest gap. The paper uses (discard, threshold) = (100, 15) for MNIST and (1000, 10)
    for CIFAR-10 and CelebA.

    Args:
        spectrum: A spectrum, or all d singular values (*b, d), descending.
        discard: Number of largest singular values that are ignored (d-bar).
        threshold: c, in medians of D.

    Returns:
        Dimension, position and status ("no_gap" if D never exceeds the threshold).
    """
    if discard < 0 or threshold <= 0:
        raise InputError("discard, threshold: discard must not be negative, and threshold must be above 0.")
    values, complete = _values(spectrum)
    d = values.shape[-1]
    if not complete or d - discard < 3:
        return _nothing(values.shape[:-1], "too_few")
    v = values[..., discard:]
    kink = np.abs(v[..., :-2] - 2 * v[..., 1:-1] + v[..., 2:])
    least = np.maximum(threshold * np.median(kink, -1), 1e-12 * v.max(-1))
    above = kink > least[..., None]
    index = np.where(above.any(-1), above.argmax(-1) + discard + 2, -1)
    return _from_index(values, index)


def resolved(spectrum: Spectrum, *, threshold: float = RESOLVED) -> DimensionEstimate:
    """Number of directions whose survival exceeds `threshold`: those that are free at the scale sqrt t.

    >>> from geomem.manifolds import LinearManifold
    >>> from geomem.spectra import spectrum
    >>> manifold = LinearManifold.subspaces(30, [(2, 1.0), (5, 0.3)])
    >>> float(resolved(spectrum(manifold.score, torch.zeros(30), 0.5)).value)
    2.0
    """
    return _by_survival(spectrum, lambda kappa: np.sum(kappa > threshold, -1), threshold)


def degrees_of_freedom(spectrum: Spectrum) -> DimensionEstimate:
    """Sum of survival, d + t tr J = tr Cov(y|x)/t: a smooth dimension that counts a half-free direction as a half."""
    return _by_survival(spectrum, lambda kappa: np.sum(kappa, -1))


def flipd(spectrum: Spectrum, score: Tensor) -> DimensionEstimate:
    """FLIPD (Kamkari et al. 2024b): d + t tr J + t |s|^2, at a clean point x without noise.

    For the empirical score it is exactly sum_mu w_mu |x - y_mu|^2 / t.

    Args:
        spectrum: Spectrum at the points (*b), with survival.
        score: The score s(x, t) at the same points (*b, *shape).
    """
    rows = score.detach().reshape(*spectrum.t.shape, -1).to(torch.float64)
    if rows.shape[-1] != spectrum.dim:
        raise InputError(f"score: has {rows.shape[-1]} entries a point, the spectrum {spectrum.dim} dimensions.")
    pull = (spectrum.t * rows.square().sum(-1)).cpu().numpy()
    return _by_survival(spectrum, lambda kappa: np.sum(kappa, -1) + pull)


Reading = Callable[[Spectrum], DimensionEstimate]

# Readings of a spectrum with their default thresholds. One line adds a reading to every record, table and page.
READINGS: dict[str, Reading] = {
    "largest_gap": largest_gap,
    "second_difference": second_difference,
    "normal_bundle": normal_bundle,
    "resolved": resolved,
    "degrees_of_freedom": degrees_of_freedom,
}


@dataclass(frozen=True)
class Preset:
    """The paper's settings for the dimension of a network on one data set (Supp. A).

    Attributes:
        discard: Number of largest singular values that Alg. 3 ignores (d-bar).
        threshold: Threshold of Alg. 3, in medians of the second difference (c).
        step: DDPM step at which the score is probed.
    """

    discard: int
    threshold: float
    step: int


PRESETS = {"mnist": Preset(100, 15, 0), "cifar10": Preset(1000, 10, 15), "celeba": Preset(1000, 10, 0)}


def _values(spectrum: Spectrum | Tensor) -> tuple[NDArray[np.float64], bool]:
    """Singular values (*b, k), and whether all d are present."""
    values = spectrum.values if isinstance(spectrum, Spectrum) else spectrum
    complete = not isinstance(spectrum, Spectrum) or values.shape[-1] == spectrum.dim
    return values.detach().cpu().to(torch.float64).numpy(), complete


def _by_gap(spectrum: Spectrum | Tensor, relative: float) -> DimensionEstimate:
    values, complete = _values(spectrum)
    if not complete or values.shape[-1] < 2:
        return _nothing(values.shape[:-1], "too_few")
    gaps = values[..., :-1] - values[..., 1:]
    found = gaps.max(-1) > relative * values[..., 0]
    return _from_index(values, np.where(found, gaps.argmax(-1) + 1, -1))


def _from_index(values: NDArray[np.float64], index: NDArray[np.int64]) -> DimensionEstimate:
    """The estimate d - index; "no_gap" where the index is -1."""
    finite = np.isfinite(values).all(-1)
    status = np.where(finite, np.where(index >= 0, "ok", "no_gap"), "not_finite")
    fine = status == "ok"
    return DimensionEstimate(np.where(fine, values.shape[-1] - index, np.nan), np.where(fine, index, -1), status)


def _by_survival(
    spectrum: Spectrum, read: Callable[[NDArray[np.float64]], NDArray[np.float64]], threshold: float = RESOLVED
) -> DimensionEstimate:
    if spectrum.survival is None:
        return _nothing(tuple(spectrum.t.shape), "no_survival")
    kappa = spectrum.survival.detach().cpu().to(torch.float64).numpy()
    value = np.asarray(read(kappa), dtype=np.float64)
    fine = np.isfinite(kappa).all(-1) & np.isfinite(value)
    index = np.where(fine, np.sum(kappa > threshold, -1), -1)
    return DimensionEstimate(np.where(fine, value, np.nan), index, np.where(fine, "ok", "not_finite"))


def _nothing(batch: tuple[int, ...], status: str) -> DimensionEstimate:
    return DimensionEstimate(np.full(batch, np.nan), np.full(batch, -1), np.full(batch, status))


def read(
    spectrum: Spectrum, *, score: Tensor | None = None, readings: Mapping[str, Reading] | None = None
) -> dict[str, NDArray[np.float64]]:
    """The dimension (*b) by every reading, by name; with the score at the same points also FLIPD, which needs it.

    Args:
        spectrum: Spectrum at points (*b).
        score: The score there (*b, *shape); None to leave FLIPD out.
        readings: Readings; None for `READINGS`.
    """
    found = {name: reading(spectrum).value for name, reading in (readings or READINGS).items()}
    return found if score is None else {**found, "flipd": flipd(spectrum, score).value}


def readings_for(preset: Preset | None) -> dict[str, Reading]:
    """`READINGS`, with the paper's thresholds in Alg. 3 where a preset is given."""
    if preset is None:
        return dict(READINGS)
    alg3 = partial(second_difference, discard=preset.discard, threshold=preset.threshold)
    return {**READINGS, "second_difference": alg3}
