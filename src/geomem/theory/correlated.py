r"""The smoothed empirical Jacobian, including the correlations of its entries: a delta method for the self-normalised mean.

At x = 0 and data N(0, diag(s)), the smoothed Jacobian (Eq. 5) is T = t J with T_ij = (m_i(e_j sqrt t) - m_i(0))/sqrt t
- delta_ij, m(a) = sum_mu w_mu(a) y_mu the empirical posterior mean at the centre a. To first order in the noise of N
samples,

    Cov(m_i(a), m_k(c)) = (R_ac/N) [delta_ik v_i + (q_i - p_i(a)) (q_k - p_k(c))],

where the product of two likelihoods is a likelihood at the midpoint z = (a+c)/2 with half the variance, so
v_i = s_i (t/2)/(s_i + t/2), q = z s/(s + t/2), p(a) = a s/(s+t) is the exact posterior mean, and

    ln(R_ac/R_0) = -|a-c|^2/4t - sum z^2/(2s+t) + sum (a^2+c^2)/2(s+t),   R_0 = prod (1+s/t)/sqrt(1+2s/t).

The mean includes the bias of the ratio, E[m(a)] = p(a) - (R_aa/N) (q(a) - p(a)). Rows and columns outside the support are
exactly -1 on the diagonal and 0 elsewhere, for every N and t. The form "raw" agrees with simulation above about 2 t_c. The
form "shrunk" is a heuristic that also agrees with the median over data sets below t_c. It scales by the participation ratio
Y = 1/N~ ("finite"): the covariance is multiplied by Y (1-Y) N/R_0, and the mean is -1 + r (1-Y).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from geomem.errors import InputError
from geomem.theory.arguments import Array, choice, one, samples, times, variances_of
from geomem.theory.effective import effective_samples, log_moment_ratio

__all__ = ["CorrelatedJacobian", "correlated_jacobian"]

# The full covariance has m^4 entries; 90 directions take half a gigabyte.
_LARGEST_RANK = 90


@dataclass(frozen=True)
class CorrelatedJacobian:
    """Gaussian law of the tangent block of T = t J (m x m, without units), m the number of positive variances.

    Attributes:
        dim: Ambient dimension d.
        t: Diffusion time.
        support: Indices (m,) of the positive variances.
        mean: Diagonal of the mean (m,); the other entries have mean 0.
        covariance: Covariance (m, m, m, m) of T_ij with T_kl.
        second_moments: Variance of each entry T_ij, (m, m).
        noise: R_0/N, the squared relative noise of the partition function at the origin.
    """

    dim: int
    t: float
    support: np.ndarray
    mean: Array
    covariance: Array
    noise: float

    @property
    def second_moments(self) -> Array:
        """Variance of each entry T_ij, (m, m)."""
        m = self.mean.size
        return np.asarray(np.diagonal(self.covariance.reshape(m * m, m * m)).reshape(m, m))

    def sample(self, n_draws: int, *, rng: np.random.Generator) -> Array:
        """Draws of the tangent block of J (n_draws, m, m), in J units."""
        m = self.mean.size
        power, axes = np.linalg.eigh(self.covariance.reshape(m * m, m * m))
        # Rounding gives this Gram matrix of influence functions eigenvalues of about -1e-17.
        root = axes * np.sqrt(np.maximum(power, 0))
        blocks = (rng.standard_normal((n_draws, m * m)) @ root.T).reshape(n_draws, m, m)
        return np.asarray((blocks + np.diag(self.mean)) / self.t)

    def singular_values(self, n_draws: int, *, rng: np.random.Generator) -> Array:
        """Singular values of draws of the whole J, descending (n_draws, d), in J units."""
        tangent = np.linalg.svd(self.sample(n_draws, rng=rng), compute_uv=False)
        normal = np.full((n_draws, self.dim - self.mean.size), 1 / self.t)
        return np.asarray(np.sort(np.concatenate([normal, tangent], -1), -1)[:, ::-1])


def correlated_jacobian(variances: ArrayLike, n_samples: float, t: float, *, form: str = "raw") -> CorrelatedJacobian:
    """Mean and covariance of the entries of the smoothed empirical Jacobian at the origin.

    Args:
        variances: s_i (d,), zeros allowed.
        n_samples: Number of samples N >= 2.
        t: One diffusion time.
        form: "raw" (delta method, t above about 2 t_c) or "shrunk" (all t, needs m > 2).

    Returns:
        The law of the tangent block.

    Raises:
        InputError: For values out of range, an unknown form, a rank of 0 or above 90 (the covariance has m^4 entries),
            or "shrunk" with a rank of 2 or less.

    >>> law = correlated_jacobian([1.0] * 2 + [0.3] * 5 + [0.0] * 23, 1000, 0.1)
    >>> print(f"{law.noise:.6f} {law.second_moments[2, 0]:.6f}")
    0.045511 0.008455
    """
    choice("form", form, ("raw", "shrunk"))
    s_all, n, tt = (
        variances_of(variances),
        float(samples(one("n_samples", n_samples), least=2)),
        float(times(one("t", t))),
    )
    support = np.flatnonzero(s_all > 0)
    s, m = s_all[support], support.size
    if not 0 < m <= _LARGEST_RANK:
        raise InputError(
            f"variances: {m} are positive, but the covariance of all pairs of entries needs 1 to {_LARGEST_RANK} "
            "(its size grows as the fourth power)."
        )
    log_r0 = float(log_moment_ratio(s, tt))
    with np.errstate(over="ignore"):
        noise = float(np.exp(log_r0)) / n
    centres = np.vstack([np.sqrt(tt) * np.eye(m), np.zeros((1, m))])  # the last one is the origin
    p = centres * s / (s + tt)
    middle = (centres[:, None] + centres[None, :]) / 2
    q = middle * s / (s + tt / 2)
    squares = np.sum(centres**2 / (s + tt), -1) / 2
    ratio = np.exp(
        -np.sum((centres[:, None] - centres[None, :]) ** 2, -1) / (4 * tt)
        - np.sum(middle**2 / (2 * s + tt), -1)
        + squares[:, None]
        + squares[None, :]
    )
    # C[a, c, i, k] = Cov(m_i(a), m_k(c)) N/R_0; T is a difference of centres, each j with the origin.
    c = ratio[..., None, None] * (q - p[:, None])[..., :, None] * (q - p[None, :])[..., None, :]
    c[..., np.arange(m), np.arange(m)] += ratio[..., None] * (s * (tt / 2) / (s + tt / 2))
    c = c[:m, :m] - c[:m, m:] - c[m:, :m] + c[m:, m:]
    r = s / (s + tt)
    diagonal_ratio = np.diagonal(ratio)[:m]
    if form == "raw":
        if not np.isfinite(noise):
            raise InputError(f"t: {tt:g} is so far below the condensation time that R_0 overflows; use form='shrunk'.")
        scale = noise
        mean = -1 + r - noise * diagonal_ratio * (s / (s + tt / 2) - r)
    else:
        y = 1 / float(effective_samples(s, n, tt, method="finite"))
        scale = y * (1 - y)
        mean = -1 + r * (1 - y)
    covariance = scale / tt * c.transpose(2, 0, 3, 1)
    return CorrelatedJacobian(s_all.size, tt, support, mean, covariance, noise)
