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
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import events
from geomem.scores.kernel import LOG2E, distances
from geomem.scores.posterior import NEGLIGIBLE, moments, scatter, survival_of
from geomem.scores.span import Span, span_of
from geomem.scores.sums import Sums

if TYPE_CHECKING:
    from geomem.scores.around import Around

__all__ = ["EmpiricalScore"]

_EPS = torch.finfo(torch.float64).eps
# Largest error of a logit D/2t for which the product form, or the span of the samples, is used as it is.
_LOGIT_ERROR = {torch.float64: 5e-12, torch.float32: 1e-7}
# Base-2 logits below this are held there: their squares would be subnormal numbers, which are a hundred times slower.
_FLOOR = -505.0
# Fewest queries in low precision around one point that are worth a pass over the samples of its own.
_CLOUD = 64


class EmpiricalScore:
    """Score of the empirical distribution of `data` at noise variance t (Eq. 11).

    Accuracy follows the dtype of x: float64 queries agree with direct differences to 1e-10 relative, also at t = 1e-5 on
    near-duplicate images far from the origin; for float32 queries scores are right to 1e-6 and effective samples to 1e-5.
    Results have the dtype of x. Data that lie in a subspace of few dimensions, to float64's rounding, are found to do so, and cost
    as if they had no others. For many queries around one point see `around`;
    there float64 is right to 1e-10 or 1e-15 |x - x0| |y - x0|/t, y the samples with weight, whichever is more.

    Args:
        data: Samples (N, *shape), floating point, N >= 1. Kept by reference, not copied; they may be mapped from a file.
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
        # A running sum: a list of small results keeps the memory of the large copies between them from being given back.
        self._centre = torch.zeros(self._rows.shape[1], dtype=torch.float64, device=data.device)
        for block in self._tiles():
            self._centre += block.sum(0, dtype=torch.float64)
        self._centre /= data.shape[0]
        if not bool(torch.isfinite(self._centre).all()):
            raise InputError("data: holds values that are not finite.")
        self._norms = distances(self._rows, self._centre)
        self._span = span_of(self._rows, self._centre, self._tiles())
        if self._span is not None:
            self._spanned = EmpiricalScore(self._span.coordinates, memory=memory)

    def around(self, x0: Float[Tensor, "*shape"], *, chance: float = 0.0) -> "Around":
        """This score for many perturbations of one point, at any times: itself a score, with the same values.

        It computes the distances of all samples from x0 once. Queries x0 + p then take the samples by their distance, as far
        as they can have weight; in float64, and above all in float32, this is up to hundreds of times faster at small t.
        Memory of three numbers a sample is kept with it.

        Args:
            x0: The point (*shape); copied.
            chance: 0 proves for every x that what is left out does not matter. Where the p were drawn without looking at the
                data, as Gaussian noise or random directions are, fewer samples suffice: with `chance` as the probability that
                more is left out than the precision allows (four times 1e-7 of the weight in float32, 1e-15 in float64), for each
                time of a call. Probes give 1e-6 for their random directions.

        Raises:
            InputError: For a point of another shape or not finite, or a chance that is not in [0, 1).

        >>> score = EmpiricalScore(torch.tensor([[-1.0], [1.0]]))
        >>> score.around(torch.tensor([0.0]))(torch.tensor([[0.5]]), 0.25)
        tensor([[1.8561]])
        """
        from geomem.scores.around import Around

        rows, _, batch = events(x0.detach(), 1.0, self.shape)
        if batch or not bool(torch.isfinite(rows).all()):
            raise InputError(f"x0: must be one finite point {self.shape}, got shape {tuple(x0.shape)}.")
        if not 0 <= chance < 1:
            raise InputError(f"chance: must be 0 or a probability below 1, got {chance}.")
        return Around(self, rows[0], chance)

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
            out[part] = (
                sums.top / LOG2E + sums.weight.log() - math.log(n) - 0.5 * d * torch.log(2 * math.pi * times[part])
            )
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
        """Eigenvalues of I + t J = Cov_w(y)/t, descending (*b, d); no d x d matrix where few samples are active."""
        rows, times, batch = events(x, t, self.shape)
        out = torch.zeros(rows.shape, dtype=x.dtype, device=x.device)
        for i, origin, log_w in self._log_weights(rows, times):
            out[i] = survival_of(self._rows, log_w, times[i], origin=origin).to(x.dtype)
        return out.reshape(*batch, out.shape[1])

    def _log_weights(self, x: Tensor, t: Tensor) -> Iterator[tuple[int, Tensor, Float[Tensor, " n"]]]:
        """For each query its number, the point in float64, and ln w of every sample, from direct differences.

        Distances are computed once for queries at the same point that follow each other.
        """
        squares: Tensor | None = None
        for i in range(x.shape[0]):
            if squares is None or not torch.equal(x[i], x[i - 1]):
                squares = self._distances(x[i])
            yield i, x[i].to(torch.float64), torch.log_softmax(squares / (-2 * t[i]), 0)

    def _distances(self, x: Tensor) -> Float[Tensor, " n"]:
        """|y_mu - x|^2 of every sample."""
        return distances(self._rows, x.to(torch.float64))

    @property
    def _cut(self) -> float:
        return math.log(self._rows.shape[0]) - math.log(NEGLIGIBLE)

    def _tiles(self) -> tuple[Tensor, ...]:
        """Blocks of samples whose float64 copy takes at most a sixteenth of the budget."""
        n, d = self._rows.shape
        return torch.split(self._rows, min(n, max(1, self.memory // (16 * 8 * d))))

    def _centred(self, rows: Tensor) -> Tensor:
        return rows.to(torch.float64) - self._centre

    def _span_for(self, x: Tensor, t: Tensor | float, dtype: torch.dtype) -> Span | None:
        """The samples' span, if its rounding cannot matter at these queries."""
        if self._span is None or x.shape[0] == 0:
            return None
        reach = (x.to(torch.float64) - self._centre).norm(dim=1) + self._norms.max().sqrt()
        error = 2 * self._span.error * reach / t  # not finite where x is not
        return self._span if bool((error <= _LOGIT_ERROR.get(dtype, 1e-7)).all()) else None

    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        """Indices of queries and their sums over all samples, shifts relative to the query, some queries at a time."""
        if x.dtype != torch.float64 and x.shape[0] >= _CLOUD * max(1, torch.unique(t).numel()):
            # Queries around one point: every sample's distance to it is known better than to each of them.
            middle = x.detach().to(torch.float64).mean(0)
            if bool(((x.to(torch.float64) - middle).square().sum(1) <= 4 * x.shape[1] * t).all()):
                yield from self.around(middle.reshape(self.shape))._sums(x, t)
                return
        span = self._span_for(x, t, x.dtype)
        if span is None:
            yield from self._full_sums(x, t)
            return
        inside, outside = span.divided(x)
        for part, sums in self._spanned._full_sums(inside, t):
            yield part, span.lifted(sums, outside[part], t[part])

    def _full_sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        d = x.shape[1]
        reach = ((x.to(torch.float64) - self._centre).norm(dim=1) + self._norms.max().sqrt()) ** 2
        screened = (
            4 * _EPS * reach > _LOGIT_ERROR[torch.float64] * t
        )  # a typical error of D/2t; the bound would be d times larger
        # Beside the tile: about six numbers a pair and four a query's entry.
        step = max(1, self.memory // 2 // (8 * (6 * self._tiles()[0].shape[0] + 4 * d)))
        for group, add in ((~screened, self._add_dense), (screened, self._add_screened)):
            for part in torch.nonzero(group).flatten().split(step):
                if part.numel() == 0:  # split of an empty tensor is one empty part
                    continue
                points, times = x[part].to(torch.float64), t[part]
                sums = Sums.empty(part.numel(), d, points)
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
        self, sums: Sums, x: Tensor, t: Tensor, block: Tensor, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add a tile by its product-form distances."""
        logits = squares.clamp_min_(0).mul_((-LOG2E / 2) / t[:, None])
        sums.rescale(torch.maximum(sums.top, logits.amax(1)))
        share = logits.sub_(sums.top[:, None]).clamp_min_(_FLOOR).exp2_()
        weight = share.sum(1)
        sums.weight += weight
        sums.square += share.square().sum(1)
        sums.shift += share @ y - weight[:, None] * (x - self._centre)

    def _add_screened(
        self, sums: Sums, x: Tensor, t: Tensor, block: Tensor, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add those samples of a tile that can matter, by direct differences."""
        nearest = torch.minimum((-2 / LOG2E) * t * sums.top, squares.amin(1) + slack)
        query, sample = torch.nonzero(squares <= (nearest + slack + 2 * t * self._cut)[:, None], as_tuple=True)
        step = max(1, self.memory // 4 // (24 * x.shape[1]))
        for q, k in zip(query.split(step), sample.split(step), strict=True):
            offset = block[k].to(torch.float64) - x[q]
            logits = offset.square().sum(1) * ((-LOG2E / 2) / t[q])
            sums.rescale(sums.top.scatter_reduce(0, q, logits, "amax"))
            share = torch.exp2(logits - sums.top[q])
            sums.weight.index_add_(0, q, share)
            sums.square.index_add_(0, q, share.square())
            sums.shift.index_add_(0, q, offset.mul_(share[:, None]))
