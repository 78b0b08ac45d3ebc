r"""The posterior weights of the empirical score at given points, for all t at once.

At a fixed point x only the temperature changes with t: w_mu = softmax(-D_mu/2t) with the same squared distances
D_mu = |x - y_mu|^2. So distances are computed once for each point. Weights, effective samples, entropy and survival
then follow for any number of t.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomem.scores.distances import Rows, Samples
from geomem.scores.moments import NEGLIGIBLE, survival_of

__all__ = ["Posterior"]

# Largest error of D/2t for which distances are computed from products.
_ERROR = 1e-8


@dataclass(frozen=True)
class Posterior:
    """Weights of N samples at p points, for any t >= t_min. Made by `EmpiricalScore.posterior`.

    Attributes:
        samples: y_mu (N, d), by reference.
        x: Points (p, d), float64.
        squares: D_mu (p, N), float64; infinite for an excluded sample.
        t_min: Smallest t at which the distances are accurate enough.
    """

    samples: Float[Tensor, "n d"] | Rows
    x: Float[Tensor, "p d"]
    squares: Float[Tensor, "p n"]
    t_min: float

    @classmethod
    def of(
        cls,
        samples: Samples,
        x: Float[Tensor, "p d"],
        *,
        t_min: float,
        exclude: Int[Tensor, " p"] | None = None,
    ) -> "Posterior":
        """At points, from prepared samples; see `EmpiricalScore.posterior`."""
        x = x.to(torch.float64)
        posterior = cls(samples.rows, x, samples.squares(x, error=_ERROR * t_min), t_min)
        return posterior if exclude is None else posterior.without(exclude)

    def without(self, exclude: Int[Tensor, " p"]) -> "Posterior":
        """The same without one sample for each point, or with all where its index is -1."""
        squares, own = self.squares.clone(), torch.nonzero(exclude >= 0).flatten()
        squares[own, exclude[own]] = math.inf
        return replace(self, squares=squares)

    def at(self, point: int) -> "Posterior":
        """The same at one of the points."""
        return replace(self, x=self.x[point : point + 1], squares=self.squares[point : point + 1])

    def log_weights(self, t: float) -> Float[Tensor, "p n"]:
        """ln w of every sample at every point."""
        return torch.log_softmax(self.squares / (-2 * t), 1)

    def effective_samples(self, t: float) -> Float[Tensor, " p"]:
        """N~ = 1 / sum_mu w_mu^2 (Sec. 5.2), between 1 and N."""
        return 1 / torch.softmax(self.squares / (-2 * t), 1).square().sum(1)

    def entropy(self, t: float) -> Float[Tensor, " p"]:
        """H(w) = -sum_mu w_mu ln w_mu, in nats; ln N - H is the information that the point carries about the sample."""
        log_w = self.log_weights(t)
        return -(log_w.exp() * log_w.clamp_min(-1e300)).sum(1)

    def weight_of(self, t: float, index: Int[Tensor, " p"]) -> Float[Tensor, " p"]:
        """Weight of one sample for each point."""
        return self.log_weights(t).gather(1, index[:, None]).squeeze(1).exp()

    def survival(
        self, point: int, t: float, *, rows: Float[Tensor, "n k"] | None = None, negligible: float = NEGLIGIBLE
    ) -> Float[Tensor, " k"]:
        """Eigenvalues of Cov_w(y)/t at one point, descending.

        Args:
            point: Index of the point.
            t: Noise variance.
            rows: Other coordinates (N, k) of the samples, such as principal ones; Cov is then the covariance of these.
            negligible: Share of the weight that may be omitted.
        """
        log_w = torch.log_softmax(self.squares[point] / (-2 * t), 0)
        chosen = self.samples[:] if rows is None else rows
        return survival_of(chosen, log_w, t, origin=None if rows is not None else self.x[point], negligible=negligible)
