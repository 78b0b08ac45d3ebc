r"""A mixture of equal Gaussians, one around each sample. All its properties follow from two ingredients.

    p_t(x) = (1/N) sum_mu N(x; y_mu, t I),    w_mu = softmax(-|x - y_mu|^2/2t).

*Sums*, streamed over all samples, give the score, the density and the number of effective samples. *Distances* of all
samples from one point give the weights, and from these the Jacobian t J = Cov_w(y)/t - I and its spectrum.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.scores.base import events
from geomem.scores.moments import moments, scatter, survival_of
from geomem.scores.sums import LOG2E, Sums

__all__ = ["Mixture"]


class Mixture(ABC):
    """A `DensityScore` of the samples `data` (N, *shape), computed from sums and distances.

    Args:
        data: Samples (N, *shape), by reference.
        memory: Working memory in bytes.
    """

    def __init__(self, data: Float[Tensor, "n *shape"], memory: int) -> None:
        self.shape = tuple(data.shape[1:])
        self.data, self.memory = data, memory
        self._rows = data.detach().reshape(data.shape[0], -1)

    @abstractmethod
    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        """Yields indices of some queries and their sums over all samples; shifts are relative to the query."""

    @abstractmethod
    def _distances(self, x: Tensor) -> Float[Tensor, " n"]:
        """|y_mu - x|^2 of every sample."""

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t, () or (*b)."""
        rows, times, _ = events(x, t, self.shape)
        out = torch.empty_like(rows)
        for part, sums in self._sums(rows, times):
            out[part] = sums.shift.div_((sums.weight * times[part])[:, None].to(sums.shift.dtype)).to(x.dtype)
        return out.reshape(x.shape)

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """ln p_t(x) in nats (Eq. 10), (*b)."""
        rows, times, batch = events(x, t, self.shape)
        n, d = self._rows.shape
        out = torch.empty_like(times)
        for part, sums in self._sums(rows, times):
            normal = math.log(n) + 0.5 * d * torch.log(2 * math.pi * times[part])
            out[part] = sums.top / LOG2E + sums.weight.log() - normal
        return out.reshape(batch).to(x.dtype)

    def effective_samples(self, x: Tensor, t: Tensor | float) -> Tensor:
        """N~ = 1 / sum_mu w_mu^2 (Sec. 5.2), between 1 and N, (*b)."""
        rows, times, batch = events(x, t, self.shape)
        out = torch.empty_like(times)
        for part, sums in self._sums(rows, times):
            out[part] = sums.weight**2 / sums.square
        return out.reshape(batch).to(x.dtype)

    def weights(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Posterior weights w_mu (*b, N) of the samples; they sum to 1."""
        rows, times, batch = events(x, t, self.shape)
        out = torch.empty(rows.shape[0], self._rows.shape[0], dtype=x.dtype, device=x.device)
        for i, _, log_w in self._log_weights(rows, times):
            out[i] = log_w.exp().to(x.dtype)
        return out.reshape(*batch, out.shape[1])

    def jacobian(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Exact Jacobian J = -I/t + Cov_w(y)/t^2, (*b, d, d)."""
        rows, times, batch = events(x, t, self.shape)
        d = rows.shape[1]
        out = torch.empty(rows.shape[0], d, d, dtype=x.dtype, device=x.device)
        eye = torch.eye(d, dtype=torch.float64, device=x.device)
        for i, origin, log_w in self._log_weights(rows, times):
            samples, weights, shift = moments(self._rows, log_w, origin=origin)
            spread = scatter(self._rows, samples, weights / times[i], origin, shift)
            out[i] = ((spread - eye) / times[i]).to(x.dtype)
        return out.reshape(*batch, d, d)

    def survival(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Eigenvalues of I + t J = Cov_w(y)/t, descending (*b, d); if few samples have weight, no d x d matrix is formed."""
        rows, times, batch = events(x, t, self.shape)
        out = torch.zeros(rows.shape, dtype=x.dtype, device=x.device)
        for i, origin, log_w in self._log_weights(rows, times):
            out[i] = survival_of(self._rows, log_w, times[i], origin=origin).to(x.dtype)
        return out.reshape(*batch, out.shape[1])

    def products_at(self, x: Tensor, t: Tensor | float) -> list[Callable[[Tensor], Tensor]]:
        """v -> (I + t J) v = Cov_w(y) v/t in float64 at each of the points (n), for v (d).

        Where fewer than d samples have weight, these are kept in place of a d x d matrix.
        """
        rows, times, _ = events(x, t, self.shape)
        out: list[Callable[[Tensor], Tensor]] = []
        for i, origin, log_w in self._log_weights(rows, times):
            samples, weights, shift = moments(self._rows, log_w, origin=origin)
            if samples.numel() > rows.shape[1]:
                dense = scatter(self._rows, samples, weights / times[i], origin, shift)
                out.append(partial(torch.mv, dense))
            else:
                offsets = self._rows[samples].to(torch.float64) - origin - shift
                out.append(partial(_weighed, offsets * (weights / times[i]).sqrt()[:, None]))
        return out

    def _log_weights(self, x: Tensor, t: Tensor) -> Iterator[tuple[int, Tensor, Float[Tensor, " n"]]]:
        """Yields for each query its index, the point in float64, and ln w of every sample, from direct differences.

        Consecutive queries at the same point share their distances.
        """
        squares: Tensor | None = None
        for i in range(x.shape[0]):
            if squares is None or not torch.equal(x[i], x[i - 1]):
                squares = self._distances(x[i])
            yield i, x[i].to(torch.float64), torch.log_softmax(squares / (-2 * t[i]), 0)


def _weighed(offsets: Tensor, v: Tensor) -> Tensor:
    """Product of F^T F with v, for the rows F (k, d)."""
    return offsets.T @ (offsets @ v)
