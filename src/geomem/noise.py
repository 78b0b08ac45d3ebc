r"""Noise levels: one time t, the variance of the added noise, and conversions from other parametrisations.

geomem's time is variance-exploding: x_t = x_0 + sqrt(t) eps (Eq. 1). Every other parametrisation is
x' = a x_0 + b eps with a, b > 0, so x'/a is a variance-exploding point at t = b^2/a^2:

    variance-preserving   a = sqrt(abar), b = sqrt(1 - abar)    t = (1 - abar)/abar = e^B - 1, B = int beta
    DDPM, index `step`    abar_step = prod_{k<=step} (1 - beta_k)
    EDM                   a = 1, b = sigma                      t = sigma^2
    flow matching         a = 1 - tau, b = tau                  t = (tau/(1-tau))^2

A DDPM index is called `step`, never t. No other module converts noise levels.
"""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from geomem.errors import InputError

__all__ = [
    "CONDITIONS",
    "NOISE_KINDS",
    "coefficients",
    "ddpm_step",
    "ddpm_times",
    "t_from_alpha_bar",
    "t_from_flow",
    "t_from_integrated_beta",
    "t_from_sigma",
]

NOISE_KINDS = ("ve", "vp", "flow")

# Noise conditioning of networks, as functions of t; "log-sigma" is EDM's ln(sigma)/4.
CONDITIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "t": lambda t: t,
    "sigma": lambda t: t.sqrt(),
    "log-sigma": lambda t: t.log() / 8,
    "flow": lambda t: t.sqrt() / (1 + t.sqrt()),
}

Number = TypeVar("Number", float, NDArray[np.float64], Tensor)


def t_from_alpha_bar(alpha_bar: Number) -> Number:
    """t = (1 - abar)/abar of a variance-preserving process; abar in (0, 1)."""
    return (1 - alpha_bar) / alpha_bar


def t_from_integrated_beta(integral: ArrayLike) -> NDArray[np.float64]:
    """t = e^B - 1 for B = int_0^s beta, without the cancellation at small B."""
    return np.asarray(np.expm1(np.asarray(integral, dtype=np.float64)))


def t_from_sigma(sigma: Number) -> Number:
    """t = sigma^2, for EDM's noise level."""
    return sigma**2


def t_from_flow(tau: Number) -> Number:
    """t = (tau/(1-tau))^2 for flow matching, x_tau = (1-tau) x_0 + tau eps, tau in (0, 1)."""
    return (tau / (1 - tau)) ** 2


def coefficients(t: Number, kind: str) -> tuple[Number, Number]:
    """Coefficients (a, b) of x' = a x_0 + b eps at time t, in one of `NOISE_KINDS`.

    Args:
        t: Variance-exploding time; a float, array or tensor.
        kind: "ve" (a = 1), "vp" (a^2 + b^2 = 1) or "flow" (a + b = 1).

    Raises:
        InputError: For an unknown kind.

    >>> coefficients(1.0, "flow")
    (0.5, 0.5)
    """
    sigma = t**0.5
    if kind == "ve":
        return sigma * 0 + 1, sigma
    if kind == "vp":
        return (1 + t) ** -0.5, sigma * (1 + t) ** -0.5
    if kind == "flow":
        return 1 / (1 + sigma), sigma / (1 + sigma)
    raise InputError(f"noise: {kind!r} is not known; choose one of {', '.join(map(repr, NOISE_KINDS))}.")


def ddpm_times(steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 2e-2) -> NDArray[np.float64]:
    """Time t of each DDPM step of the linear schedule (Ho et al. 2020), ascending (steps,).

    >>> t = ddpm_times()
    >>> print(f"{t[0]:.6e} {t[-1]:.0f}")
    1.000100e-04 24777
    """
    if steps < 1 or not 0 < beta_min <= beta_max < 1:
        raise InputError("steps, beta_min, beta_max: need steps >= 1 and 0 < beta_min <= beta_max < 1.")
    # B = -ln abar, summed without forming abar: the first t is beta/(1-beta) to rounding.
    return t_from_integrated_beta(np.cumsum(-np.log1p(-np.linspace(beta_min, beta_max, steps))))


def ddpm_step(t: ArrayLike, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fractional DDPM step of time t, interpolated in ln t between the times of the steps.

    Raises:
        InputError: For a t outside the schedule.
    """
    values = np.asarray(t, dtype=np.float64)
    if not np.all((values >= times[0]) & (values <= times[-1])):
        raise InputError(
            f"t: lies outside the schedule, which goes from {times[0]:.6g} (step 0) to {times[-1]:.6g} "
            f"(step {times.size - 1})."
        )
    return np.asarray(np.interp(np.log(values), np.log(times), np.arange(times.size)))
