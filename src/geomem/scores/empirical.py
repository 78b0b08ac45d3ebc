r"""The score that a model of unlimited capacity would learn from N samples (Eqs. 10, 11), right at small t.

    p_t(x) = (1/N) sum_mu N(x; y_mu, t I),    s(x, t) = sum_mu w_mu (y_mu - x)/t,    w = softmax(-D/2t),

with squared distances D_mu = |x - y_mu|^2. At small t the softmax needs D to about t * 1e-12, which the product form
|x|^2 + |y|^2 - 2 x.y cannot give: it is wrong by up to eps (|x| + |y|)^2. So D is computed in float64 in two steps:

1. The product form, around the data's mean, for all pairs. Where its error cannot matter at the query's t, that is all.
2. Otherwise it only screens: with `slack` a bound on its error, a sample can hold more than e^-c of the largest weight
   only if D <= D_min + 2 t c + 2 slack. These candidates' distances are computed again from direct differences.
   c = ln N + 43, so all samples that are left out weigh together less than 3e-19, below float64's rounding.

Queries and samples are taken in tiles; a tile adds to running sums (largest logit, sum of weights, of squared weights,
of weighted differences), so memory stays within the budget whatever their numbers, and sums of data shards would merge.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import events
from geomem.scores.posterior import NEGLIGIBLE, moments, scatter, survival_of

__all__ = ["EmpiricalScore"]

_EPS = torch.finfo(torch.float64).eps
# Largest error of a logit D/2t for which the product form is used as it is.
_LOGIT_ERROR = 5e-12
# Weights below e^-350 are held there: their squares would be subnormal numbers, which are a hundred times slower.
_FLOOR = -350.0


@dataclass
class _Sums:
    """Running sums over samples, one row per query, all relative to exp(top)."""

    top: Tensor
    weight: Tensor
    square: Tensor
    shift: Tensor

    @classmethod
    def empty(cls, rows: int, dim: int, like: Tensor) -> "_Sums":
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=like.device)

        return cls(zeros(rows) - math.inf, zeros(rows), zeros(rows), zeros(rows, dim))

    def rescale(self, top: Tensor) -> None:
        """Make all sums relative to a new largest logit."""
        factor = torch.where(self.top == top, 1.0, torch.exp(self.top - top))  # -inf - -inf before the first sample
        self.weight *= factor
        self.square *= factor**2
        self.shift *= factor[:, None]
        self.top = top


class EmpiricalScore:
    """Score of the empirical distribution of `data` at noise variance t (Eq. 11).

    Weights and distances are float64 whatever the dtypes; results have the dtype of x. Float64 queries agree with
    direct differences to 1e-10 relative, also at t = 1e-5 on near-duplicate images far from the origin.

    Args:
        data: Samples (N, *shape), floating point, N >= 1. Kept by reference, not copied.
        memory: Working memory in bytes that a call may use beside the data and the result; 256 MiB by default.

    Raises:
        InputError: For data that are empty, not floating point, or not finite, or a budget too small for one row.
    """

    def __init__(self, data: Float[Tensor, "n *shape"], *, memory: int = 2**28) -> None:
        if data.ndim < 2 or data.numel() == 0:
            raise InputError(f"data: expected samples (N, *shape) with N >= 1, got shape {tuple(data.shape)}.")
        if not data.is_floating_point():
            raise InputError(f"data: is of {data.dtype}; convert it to floating point and to the model's scale first.")
        self.shape = tuple(data.shape[1:])
        self.data = data
        self.memory = memory
        self._rows = data.detach().reshape(data.shape[0], -1)
        if memory < 2**20 or memory < 128 * self._rows.shape[1]:
            raise InputError(f"memory: {memory} bytes do not hold the work on one sample; give 1 MiB or more.")
        self._centre = torch.stack([b.to(torch.float64).sum(0) for b in self._tiles()]).sum(0) / data.shape[0]
        if not bool(torch.isfinite(self._centre).all()):
            raise InputError("data: holds values that are not finite.")
        self._norms = torch.cat([self._centred(b).square().sum(1) for b in self._tiles()])

    def __call__(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Score (*b, *shape) at x (*b, *shape) and t, () or (*b)."""
        rows, times, _ = events(x, t, self.shape)
        out = torch.empty_like(rows)
        for part, sums in self._sums(rows, times):
            out[part] = (sums.shift / (sums.weight * times[part])[:, None]).to(x.dtype)
        return out.reshape(x.shape)

    def log_density(self, x: Tensor, t: Tensor | float) -> Tensor:
        """ln p_t(x) in nats (Eq. 10), (*b)."""
        rows, times, batch = events(x, t, self.shape)
        n, d = self._rows.shape
        out = torch.empty_like(times)
        for part, sums in self._sums(rows, times):
            out[part] = sums.top + sums.weight.log() - math.log(n) - 0.5 * d * torch.log(2 * math.pi * times[part])
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
        for i in range(rows.shape[0]):
            out[i] = self._log_weights(rows[i], times[i]).exp().to(x.dtype)
        return out.reshape(*batch, out.shape[1])

    def jacobian(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Exact Jacobian J = -I/t + Cov_w(y)/t^2, (*b, d, d)."""
        rows, times, batch = events(x, t, self.shape)
        d = rows.shape[1]
        out = torch.empty(rows.shape[0], d, d, dtype=x.dtype, device=x.device)
        eye = torch.eye(d, dtype=torch.float64, device=x.device)
        for i in range(rows.shape[0]):
            origin = rows[i].to(torch.float64)
            samples, weights, shift = moments(self._rows, self._log_weights(origin, times[i]), origin=origin)
            spread = scatter(self._rows, samples, weights / times[i], origin, shift)
            out[i] = ((spread - eye) / times[i]).to(x.dtype)
        return out.reshape(*batch, d, d)

    def survival(self, x: Tensor, t: Tensor | float) -> Tensor:
        """Eigenvalues of I + t J = Cov_w(y)/t, descending (*b, d); no d x d matrix where few samples are active."""
        rows, times, batch = events(x, t, self.shape)
        out = torch.zeros(rows.shape, dtype=x.dtype, device=x.device)
        for i in range(rows.shape[0]):
            origin = rows[i].to(torch.float64)
            values = survival_of(self._rows, self._log_weights(origin, times[i]), times[i], origin=origin)
            out[i] = values.to(x.dtype)
        return out.reshape(*batch, out.shape[1])

    def _log_weights(self, x: Tensor, t: Tensor) -> Float[Tensor, " n"]:
        """ln w of every sample for one query, from direct differences."""
        point = x.to(torch.float64)
        squares = [(block.to(torch.float64) - point).square_().sum(1) for block in self._tiles()]
        return torch.log_softmax(torch.cat(squares) / (-2 * t), 0)

    @property
    def _cut(self) -> float:
        return math.log(self._rows.shape[0]) - math.log(NEGLIGIBLE)

    def _tiles(self) -> tuple[Tensor, ...]:
        """Blocks of samples whose float64 copy takes at most a sixteenth of the budget."""
        n, d = self._rows.shape
        return torch.split(self._rows, min(n, max(1, self.memory // (16 * 8 * d))))

    def _centred(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float64) - self._centre

    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, _Sums]]:
        """Indices of queries and their sums over all samples, some queries at a time."""
        d = x.shape[1]
        reach = ((x.to(torch.float64) - self._centre).norm(dim=1) + self._norms.max().sqrt()) ** 2
        screened = 4 * _EPS * reach > _LOGIT_ERROR * t  # a typical error of D/2t; the bound would be d times larger
        # Beside the tile: about six numbers a pair and four a query's entry.
        step = max(1, self.memory // 2 // (8 * (6 * self._tiles()[0].shape[0] + 4 * d)))
        for group, add in ((~screened, self._add_dense), (screened, self._add_screened)):
            for part in torch.nonzero(group).flatten().split(step):
                if part.numel() == 0:  # split of an empty tensor is one empty part
                    continue
                points, times = x[part].to(torch.float64), t[part]
                sums = _Sums.empty(part.numel(), d, points)
                start = 0
                for block in self._tiles():
                    y, norms = self._centred(block), self._norms[start : start + block.shape[0]]
                    start += block.shape[0]
                    centred = points - self._centre
                    squares = torch.addmm(norms, centred, y.T, alpha=-2).add_(centred.square().sum(1)[:, None])
                    slack = (d + 8) * _EPS * reach[part]
                    add(sums, points, times, block, y, squares, slack)
                yield part, sums

    def _add_dense(
        self, sums: _Sums, x: Tensor, t: Tensor, block: Tensor, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add a tile by its product-form distances."""
        logits = squares.clamp_min_(0).div_(-2 * t[:, None])
        sums.rescale(torch.maximum(sums.top, logits.amax(1)))
        share = logits.sub_(sums.top[:, None]).clamp_min_(_FLOOR).exp_()
        weight = share.sum(1)
        sums.weight += weight
        sums.square += share.square().sum(1)
        sums.shift += share @ y - weight[:, None] * (x - self._centre)

    def _add_screened(
        self, sums: _Sums, x: Tensor, t: Tensor, block: Tensor, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add those samples of a tile that can matter, by direct differences."""
        nearest = torch.minimum(-2 * t * sums.top, squares.amin(1) + slack)
        query, sample = torch.nonzero(squares <= (nearest + slack + 2 * t * self._cut)[:, None], as_tuple=True)
        step = max(1, self.memory // 4 // (24 * x.shape[1]))
        for q, k in zip(query.split(step), sample.split(step), strict=True):
            offset = block[k].to(torch.float64) - x[q]
            logits = offset.square().sum(1) / (-2 * t[q])
            sums.rescale(sums.top.scatter_reduce(0, q, logits, "amax"))
            share = torch.exp(logits - sums.top[q])
            sums.weight.index_add_(0, q, share)
            sums.square.index_add_(0, q, share.square())
            sums.shift.index_add_(0, q, offset.mul_(share[:, None]))
