r"""Leading survivals of a score's Jacobian without a d x d matrix: the eigenvalues of sym(A), A = I + t J, above a threshold.

For each point one orthonormal basis Q grows by one vector at a time, q_{k+1} the part of A^T q_k that is orthogonal to Q. With
W = A^T Q the compression of the symmetric part needs nothing else:

    H = Q^T sym(A) Q = (Q^T W + W^T Q)/2.

Its eigenvalues (Ritz values) lie below those of sym(A) one by one (Cauchy), whatever the basis. So they never overcount, and a
basis of backward products alone is as good as any other; it finds all but the last few eigenvalues in about 3 products each.

Stopping. The count above the threshold is the same at three checks, and none of the next four Ritz values would reach the
threshold if it grew four times as much again as since the last check. Then *polish*: the residuals sym(A) y - theta y of four Ritz
vectors y, the last above the threshold and the next below, join the basis, and eight vectors from another random start, without which
a multiple eigenvalue would be found once; until a round changes nothing. A basis that grows beyond d/3 is completed to d vectors, which
makes the count exact; below 96 dimensions it is completed at once.

Certificate. With Y the Ritz vectors above the threshold, the largest eigenvalue of sym(A) on the complement of Y bounds all
eigenvalues after the last one counted (Courant and Fischer). Lanczos with k steps from one random vector in n dimensions bounds it:
the largest Ritz value xi and the smallest eta are within e R of the ends of the spectrum, R its width, except with probability

    1.648 sqrt(n) exp(-(2k - 1) sqrt(e))    for each end (Kuczynski and Wozniakowski 1992),

so that lambda_max <= xi + e (xi - eta)/(1 - 2e).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import Score
from geomem.scores.conditioned import at_points
from geomem.spectra.dimension import RESOLVED
from geomem.spectra.probes import checked
from geomem.spectra.products import products
from geomem.spectra.search import Point, Search

__all__ = ["Leading", "leading"]


@dataclass(frozen=True)
class Leading:
    """Eigenvalues of sym(I + t J) above a threshold at points (n), float64.

    Attributes:
        values: They (n, m), descending, m the largest count; NaN beyond a point's own. Lower bounds, which polishing makes close.
        vectors: Their eigenvectors (n, m, d), orthonormal; 0 beyond a point's own.
        residuals: |sym(A) y - theta y| (n, m) of each; NaN where they were not asked for, or where products with A^T cannot be had.
        count: How many there are (n); never more than the true number.
        bound: Certificate (n): except with probability 0.01, no other eigenvalue lies above. NaN where it was not asked for. Where
            the basis is complete, the next eigenvalue itself; infinite where products with A^T cannot be had.
        evaluations: Forward and backward passes spent on each point (n).
        exact: Whether the basis is complete (n), so that count and values are those of the whole matrix.
    """

    values: Float[Tensor, "n m"]
    vectors: Float[Tensor, "n m d"]
    residuals: Float[Tensor, "n m"]
    count: Int[Tensor, " n"]
    bound: Float[Tensor, " n"]
    evaluations: Int[Tensor, " n"]
    exact: Bool[Tensor, " n"]


def leading(
    score: Score,
    x: Tensor,
    t: Tensor | float,
    *,
    above: float = RESOLVED,
    residuals: bool = False,
    certificate: int = 0,
    together: int = 16,
    seed: int = 0,
) -> Leading:
    """Leading survivals at points as they are given: who wants noisy points adds the noise.

    Args:
        score: Any score, see `products`; with conditions, one for each point.
        x: Points (n, *shape), float32 or float64.
        t: Noise variance, () or (n), data units squared.
        above: Threshold of the eigenvalues; 1/2 is that of the resolved dimension.
        residuals: Also measure the residual of every vector that is returned; three evaluations each for a network.
        certificate: Number of Lanczos steps for the certificate, three evaluations each for a network; 0 for none.
        together: Number of points in lockstep; more are slower on a CPU.
        seed: Seed of the start vectors, which are the same for all points.

    Raises:
        InputError: As `spectrum`, and for a threshold that is not above 0.

    >>> from geomem.scores import GaussianScore
    >>> found = leading(GaussianScore(torch.tensor([4.0, 1.0] + 30 * [0.0])), torch.zeros(1, 32), 0.5)
    >>> found.values, found.count
    (tensor([[0.8889, 0.6667]], dtype=torch.float64), tensor([2]))
    """
    if not above > 0:
        raise InputError(f"above: must be above 0, got {above}.")
    if certificate < 0 or together < 1:
        raise InputError("certificate, together: must be at least 0 and 1.")
    rows, times, batch, _ = checked(score, x, t, None)
    if len(batch) != 1 or batch[0] == 0:
        raise InputError(f"x: has shape {tuple(x.shape)}; give points (n, {', '.join(map(str, score.shape))}).")
    points = x.detach().reshape(rows.shape[0], *score.shape)
    found: list[Point] = []
    for some, at in zip(points.split(together), times.split(together), strict=True):
        places = range(len(found), len(found) + len(some))
        search = Search(products(at_points(score, places), some, at), places, rows.shape[1], above, seed, rows.device)
        found += search.run(residuals, certificate)
    return _joined(found, rows.shape[1])


def _joined(points: Sequence[Point], d: int) -> Leading:
    n, m = len(points), max((len(point.found[0]) for point in points), default=0)
    device = points[0].found[0].device
    values = torch.full((n, m), math.nan, dtype=torch.float64, device=device)
    vectors = torch.zeros(n, m, d, dtype=torch.float64, device=device)
    residuals = torch.full((n, m), math.nan, dtype=torch.float64, device=device)
    for i, point in enumerate(points):
        k = len(point.found[0])
        values[i, :k], vectors[i, :k] = point.found
        residuals[i, : len(point.residuals)] = torch.tensor(point.residuals, dtype=torch.float64)
    return Leading(
        values,
        vectors,
        residuals,
        torch.tensor([len(point.found[0]) for point in points], device=device),
        torch.tensor([point.bound for point in points], dtype=torch.float64, device=device),
        torch.tensor([point.evaluations for point in points], device=device),
        torch.tensor([point.exact for point in points], device=device),
    )
