r"""The trace of a Jacobian from a few random directions, for spaces with too many directions to probe them all.

Let q_1 ... q_k be the first columns of a random orthogonal matrix. Each q^T J q has the mean tr J/d, so d times their average
is an unbiased estimate of tr J. All d together give the trace without error. Hence any two have the correlation -1/(d-1), and

    Var = sigma^2/k (d-k)/(d-1),    estimated by s^2/k (1 - k/d),

with s^2 the sample variance, as for sampling without replacement. For independent directions (Hutchinson 1990) the factor is
1/k.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import Score
from geomem.spectra.probes import checked, mirrored
from geomem.spectra.rotations import random_frame

__all__ = ["Trace", "trace"]


@dataclass(frozen=True)
class Trace:
    """Trace of a Jacobian at points (*b), with its standard error, in J units (1/variance).

    Attributes:
        value: tr J (*b).
        error: Standard error (*b) from the random directions; 0 if all d are used.
        t: Diffusion time (*b).
        probes: Number k of directions.
        dim: d.
    """

    value: Float[Tensor, "*b"]
    error: Float[Tensor, "*b"]
    t: Float[Tensor, "*b"]
    probes: int
    dim: int

    @property
    def degrees_of_freedom(self) -> Float[Tensor, "*b"]:
        """d + t tr J (*b), the sum of survival; its standard error is t `error`."""
        return self.dim + self.t * self.value


def trace(
    score: Score,
    x: Tensor,
    t: Tensor | float,
    *,
    probes: int,
    radius: Tensor | float | None = None,
    batch_size: int = 4096,
    generator: torch.Generator | None = None,
) -> Trace:
    """tr J at each point by central differences along random orthonormal directions, with its standard error.

    Args:
        score: Any score.
        x: Points (*b, *shape).
        t: Diffusion time, () or (*b).
        probes: Number of directions, 2 to d; each takes two evaluations.
        radius: Length of the steps; None is sqrt(t d), as for the orthonormal probe.
        batch_size: Number of scores evaluated at once.
        generator: CPU generator of the directions, the same for all points; None is one seeded with 0.

    Raises:
        InputError: For fewer than 2 or more than d directions, and as in `spectrum`.

    >>> from geomem.scores import GaussianScore
    >>> found = trace(GaussianScore(torch.tensor([1.0, 0.0, 0.0])), torch.zeros(3), 1.0, probes=3)
    >>> print(f"{float(found.value):.3f} +- {float(found.error):.3f}")
    -2.500 +- 0.000
    """
    rows, times, batch, length = checked(score, x, t, radius)
    d = rows.shape[1]
    if not 2 <= probes <= d:
        raise InputError(f"probes: needs 2 to {d} directions, got {probes}.")
    r = (times * d).sqrt() if length is None else length
    q = random_frame(d, probes, generator=generator or torch.Generator().manual_seed(0)).to(x.device)
    products = mirrored(score, rows, times, r, q, batch_size)
    value = d * products.mean(1)
    spread = (products - products.mean(1, keepdim=True)).square().sum(1) / (probes - 1) * (1 - probes / d) / probes
    error = d * spread.clamp_min(0).sqrt() if probes < d else torch.zeros_like(value)
    return Trace(value.reshape(batch), error.reshape(batch), times.reshape(batch), probes, d)
