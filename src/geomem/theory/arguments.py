"""Checks of the arguments that the functions of `geomem.theory` share, with uniform error messages.

Every function here returns float64 NumPy arrays and raises `InputError` for invalid values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geomem.errors import InputError

__all__ = ["Array", "choice", "load", "one", "positions", "samples", "times", "variances_of"]

Array = NDArray[np.float64]


def variances_of(variances: ArrayLike) -> Array:
    """Variances s_i = sigma_i^2 as a vector (d,); zeros are directions outside the manifold."""
    s = _numbers("variances", variances)
    if s.ndim != 1 or s.size == 0:
        raise InputError(f"variances: expected a vector with one entry per dimension, got shape {s.shape}.")
    bad = np.flatnonzero(~(np.isfinite(s) & (s >= 0)))
    if bad.size:
        raise InputError(
            f"variances: entry {bad[0]} is {s[bad[0]]:g}; variances must be finite and not negative "
            "(pass sigma squared; use 0 for directions outside the manifold)."
        )
    return s


def times(t: ArrayLike) -> Array:
    """Diffusion times t > 0, the variance of the added noise, any shape."""
    values = _numbers("t", t)
    if not np.all(np.isfinite(values) & (values > 0)):
        bad = values[~(np.isfinite(values) & (values > 0))].flat[0]
        raise InputError(f"t: a time is {bad:g}; t is the variance of the added noise, finite and above 0.")
    return values


def samples(n_samples: ArrayLike, least: int = 1) -> Array:
    """Numbers of samples N >= `least`, any shape."""
    n = _numbers("n_samples", n_samples)
    if not np.all(np.isfinite(n) & (n >= least)):
        bad = n[~(np.isfinite(n) & (n >= least))].flat[0]
        raise InputError(
            f"n_samples: got {bad:g}, but at least {least} sample{'s are' if least > 1 else ' is'} needed."
        )
    return n


def one(name: str, value: ArrayLike) -> float:
    """`value`, if it is a single number."""
    number = _numbers(name, value)
    if number.ndim:
        raise InputError(f"{name}: takes one number, got an array of shape {number.shape}.")
    return float(number)


def load(n_samples: ArrayLike | None, alpha: ArrayLike | None, dim: int) -> Array:
    """The load alpha = ln N / d, from N or alpha."""
    if (n_samples is None) == (alpha is None):
        raise InputError("n_samples, alpha: give one of the two (alpha = ln N / d).")
    if alpha is None:
        assert n_samples is not None
        return np.asarray(np.log(samples(n_samples)) / dim)
    a = _numbers("alpha", alpha)
    if not np.all(np.isfinite(a)):
        raise InputError("alpha: must be finite (alpha = ln N / d).")
    return a


def positions(x: ArrayLike, dim: int, name: str = "x") -> Array:
    """Positions (..., d) in the eigenbasis of the data."""
    values = _numbers(name, x)
    if values.ndim == 0 or values.shape[-1] != dim:
        raise InputError(
            f"{name}: has shape {values.shape}, but its last axis must have the {dim} entries of variances."
        )
    if not np.all(np.isfinite(values)):
        raise InputError(f"{name}: holds a value that is not finite.")
    return values


def choice(name: str, value: str, options: Sequence[str]) -> str:
    """`value`, if it is one of `options`."""
    if value not in options:
        raise InputError(f"{name}: {value!r} is not known; choose one of {', '.join(map(repr, options))}.")
    return value


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, got {values!r}.") from error
