"""The latent manifold of any score: where the score vanishes and its Jacobian is negative semi-definite (Eq. 3)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import DensityScore, Score, events
from geomem.spectra.exact import differentiated_jacobian

__all__ = ["FixedPoints", "fixed_points"]


@dataclass(frozen=True)
class FixedPoints:
    """Zeros of the score, found from n starts (Eq. 3).

    Attributes:
        points: Final positions (n, *shape).
        pull: sqrt(t) |s| at these positions (n,), dimensionless; 0 at a fixed point.
        survival: Eigenvalues (n, d) of the symmetric part of I + t J there, descending.
        converged: Whether `pull` is within the tolerance (n,).
        stable: Whether J is negative semi-definite (n,), that is, no survival is above 1. Then the point lies on the
            latent manifold.
    """

    points: Float[Tensor, "n *shape"]
    pull: Float[Tensor, " n"]
    survival: Float[Tensor, "n d"]
    converged: Bool[Tensor, " n"]
    stable: Bool[Tensor, " n"]


@torch.no_grad()
def fixed_points(
    score: Score,
    t: float,
    starts: Float[Tensor, "n *shape"],
    *,
    tolerance: float = 1e-7,
    steps: int = 300,
) -> FixedPoints:
    """Ascend from every start to a point of the latent manifold M_t = {x : s(x, t) = 0, J negative semi-definite} (Eq. 3).

    This is Newton's method with the absolute values of the curvatures. Along a direction of survival kappa the step is
    t s / |1 - kappa|, so that it ascends towards a ridge and away from a saddle. A step is never longer than sqrt t, the
    scale on which J is valid. Directions without curvature (kappa = 1), along which a manifold of fixed points extends, are
    not moved along. So starts that are spread over the manifold remain spread.

    Args:
        score: Any score; its Jacobian is taken in closed form or by automatic differentiation, d x d for each start.
        t: Noise variance.
        starts: Initial positions (n, *shape); float64, unless the score is a network of lower precision. Then `tolerance`
            must exceed its rounding error.
        tolerance: Tolerance of `pull` for convergence; the test for negative semi-definiteness allows ten times as much.
        steps: Largest number of steps per start.

    Returns:
        `FixedPoints`, in the order of the starts; check `converged` and `stable`.

    Raises:
        InputError: For starts or a time that do not fit the score, or a tolerance or number of steps not above 0.

    >>> from geomem.scores import EmpiricalScore
    >>> two = EmpiricalScore(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    >>> found = fixed_points(two, 0.1, torch.tensor([[-0.6], [0.0], [0.6]], dtype=torch.float64))
    >>> found.points.flatten().round(decimals=3).tolist(), found.stable.tolist()
    ([-1.0, 0.0, 1.0], [True, False, True])
    """
    if not tolerance > 0 or steps < 1:
        raise InputError("tolerance, steps: must be above 0.")
    x, times, batch = events(starts, t, tuple(score.shape))
    if len(batch) != 1:
        raise InputError(f"starts: has shape {tuple(starts.shape)}; give rows (n, *shape), one for each start.")
    x, reach = x.clone(), t**0.5
    eye = torch.eye(x.shape[1], dtype=torch.float64, device=x.device)

    def at(rows: Tensor, when: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shifts t s (n, d), survivals ascending (n, d) and their directions as columns (n, d, d)."""
        where = rows.reshape(-1, *score.shape)
        shift = when[:, None] * score(where, when).reshape(rows.shape).to(torch.float64)
        if isinstance(score, DensityScore):
            j = score.jacobian(where, when).to(torch.float64)
        else:
            j = differentiated_jacobian(score, where, when).to(torch.float64)
        return shift, *torch.linalg.eigh(eye + t * (j + j.mT) / 2)

    moving = torch.arange(x.shape[0], device=x.device)
    for _ in range(steps):
        shift, kappa, axes = at(x[moving], times[moving])
        far = shift.norm(dim=1) > tolerance * reach
        moving, shift, kappa, axes = moving[far], shift[far], kappa[far], axes[far]
        if moving.numel() == 0:
            break
        along = (axes.mT @ shift[..., None])[..., 0]
        curvature = (1 - kappa).abs()
        along = torch.where(curvature > tolerance, along / curvature.clamp_min(tolerance), along)
        step = (axes @ along[..., None])[..., 0]
        step *= (reach / step.norm(dim=1).clamp_min(reach))[:, None]
        x[moving] += step.to(x.dtype)
    shift, kappa, _ = at(x, times)
    pull = shift.norm(dim=1) / reach
    stable = kappa[:, -1] <= 1 + 10 * tolerance
    return FixedPoints(x.reshape(starts.shape), pull, kappa.flip(-1), pull <= tolerance, stable)
