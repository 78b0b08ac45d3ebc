"""The spectrum of a score's Jacobian at one or many points, and the kind of Jacobian it belongs to."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["KINDS", "Spectrum"]

KINDS = ("exact", "forward", "central", "score-matrix", "regression")


@dataclass(frozen=True)
class Spectrum:
    """Singular values and survival of a Jacobian, batched over points (*b), float64.

    Near the condensation time the exact Jacobian, its average over a step (Eq. 5) and a regression over Gaussian
    perturbations are three different matrices; `kind` and `radius` state which one this is.

    Attributes:
        values: Singular values (*b, k), descending, in J units (1/variance).
        t: Noise variance (*b).
        kind: "exact" (the derivative at x), "forward" or "central" (finite differences of length `radius`),
            "score-matrix" (singular values of scores around x, Algs. 1 and 2) or "regression" (linear fit to mirrored
            scores).
        radius: Length (*b) of the perturbations (root mean square for Gaussian ones); None for "exact".
        survival: Eigenvalues (*b, d) of the symmetric part of I + t J, descending and not clipped: 0 pinned, 1 free at
            the scale sqrt t, above 1 where the posterior has several modes. None where fewer than d directions were
            probed.
        dim: d, the number of entries of an event.
        left: Left singular vectors v (*b, k, d), if requested.
        right: Right singular vectors w (*b, k, d), if requested; None for a score matrix, whose right vectors are not
            in data space.
    """

    values: Float[Tensor, "*b k"]
    t: Float[Tensor, "*b"]
    kind: str
    radius: Float[Tensor, "*b"] | None
    survival: Float[Tensor, "*b d"] | None
    dim: int
    left: Float[Tensor, "*b k d"] | None = None
    right: Float[Tensor, "*b k d"] | None = None

    @property
    def gaps(self) -> Float[Tensor, "*b k1"]:
        """Gaps lambda_k - lambda_{k+1} (Eq. 7, values descending), J units; the first lies after one value."""
        return self.values[..., :-1] - self.values[..., 1:]

    @property
    def alignment(self) -> Float[Tensor, "*b k"] | None:
        """v_j . w_j (Eq. 6): -1 where the score pulls straight back along w_j, +1 where it pushes away."""
        if self.left is None or self.right is None:
            return None
        return torch.sum(self.left * self.right, -1)
