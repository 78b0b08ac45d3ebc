"""The `Score` contract: grad log p_t as a function of (x, t), in variance-exploding coordinates.

All of geomem rests on Tweedie's formulas. With y the clean point behind the noisy x,

    s(x, t) = (E[y|x] - x)/t,        I + t J(x, t) = Cov(y|x)/t.

So the eigenvalues of I + t J are the survival of directions: 0 pinned, 1 free at the scale sqrt t, above 1 where the
posterior has several modes.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError

__all__ = ["DensityScore", "Events", "Score", "events"]


@runtime_checkable
class Score(Protocol):
    """The gradient of a log density at noise variance t.

    Laws: values do not depend on batching. Results keep the dtype and device of x. If there is a log density, the score is
    its gradient.
    """

    shape: tuple[int, ...]
    """Shape of one event; x is (*b, *shape)."""

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t > 0, () or (*b), in 1/data units."""
        ...


@runtime_checkable
class DensityScore(Score, Protocol):
    """A score whose density and Jacobian are known in closed form."""

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """ln p_t(x) in nats, (*b)."""
        ...

    def jacobian(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Exact Jacobian J = ds/dx, (*b, d, d), d the number of entries of an event."""
        ...

    def survival(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Eigenvalues (*b, d) of I + t J, descending."""
        ...


class Events(NamedTuple):
    """Checked arguments of a score, one row per event."""

    x: Float[Tensor, "n d"]
    t: Float[Tensor, " n"]
    batch: torch.Size


def events(x: Tensor, t: Tensor | float, shape: tuple[int, ...]) -> Events:
    """Rows x (n, d) and times t (n,) from x (*b, *shape) and t () or (*b); t is float64.

    Raises:
        InputError: If x has another shape or is not floating point, or if times are not finite and above 0 or do not fit x.
    """
    event = len(shape)
    if x.ndim < event or tuple(x.shape[x.ndim - event :]) != shape:
        raise InputError(f"x: has shape {tuple(x.shape)}, but this score takes (..., {', '.join(map(str, shape))}).")
    if not x.is_floating_point():
        raise InputError(f"x: has dtype {x.dtype}, but a score takes floating-point numbers; convert it first.")
    batch = x.shape[: x.ndim - event]
    times = torch.as_tensor(t, dtype=torch.float64, device=x.device)
    if not bool(torch.all(torch.isfinite(times) & (times > 0))):
        raise InputError("t: must be finite and above 0; it is the variance of the added noise.")
    try:
        times = times.expand(batch)
    except RuntimeError:
        raise InputError(f"t: has shape {tuple(times.shape)}, which does not fit x's batch {tuple(batch)}.") from None
    return Events(x.reshape(batch.numel(), math.prod(shape)), times.reshape(-1), batch)
