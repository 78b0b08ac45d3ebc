r"""The score that a model of unlimited capacity would learn from N samples (Eqs. 10, 11), accurate at small t.

    p_t(x) = (1/N) sum_mu N(x; y_mu, t I),    s(x, t) = sum_mu w_mu (y_mu - x)/t,    w = softmax(-D/2t),

with squared distances D_mu = |x - y_mu|^2. At small t the softmax needs D to about t * 1e-12, which the product form
|x|^2 + |y|^2 - 2 x.y cannot give: it is wrong by up to eps (|x| + |y|)^2. So D is computed in float64 in two steps:

1. The product form, around the data's mean, for all pairs. If its error is negligible at the query's t, it is used as it is.
2. Otherwise it only screens. With `slack` a bound on its error, a sample can hold more than e^-c of the largest weight
   only if D <= D_min + 2 t c + 2 slack. The distances of these candidates are recomputed from direct differences.
   With c = ln N + 43, all omitted samples together have a weight below 3e-19, less than float64's rounding.

Queries and samples are processed in tiles. Each tile adds to running sums (the largest logit, and sums of weights, of squared
weights and of weighted differences). So memory stays within the budget for any N, and sums of data shards could be merged.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.around import Around
from geomem.scores.base import events
from geomem.scores.distances import Samples, direct
from geomem.scores.mixture import Mixture
from geomem.scores.moments import NEGLIGIBLE
from geomem.scores.posterior import Posterior
from geomem.scores.sums import LOG2E, Sums

__all__ = ["EmpiricalScore"]

# Largest typical error of a logit D/2t at which the product form is used as it is for sums.
_LOGIT_ERROR = 5e-12
# Base-2 logits are clamped from below at this value: the squares of smaller weights would be subnormal, a hundred times slower.
_FLOOR = -505.0
# Fewest low-precision queries around one point for which a separate pass over the samples pays.
_CLOUD = 64


class EmpiricalScore(Mixture):
    """Score of the empirical distribution of `data` at noise variance t (Eq. 11).

    Accuracy follows the dtype of x. float64 queries agree with direct differences to a relative error of 1e-10, even at t = 1e-5
    on near-duplicate images far from the origin. For float32 queries the error is 1e-6 for scores and 1e-5 for effective samples.
    Results have the dtype of x. For many queries around one point use `around`; its float64 error is the larger of 1e-10 and
    1e-15 |x - x0| |y - x0|/t, for the samples y with weight. For many t at the same points use `posterior`.

    Args:
        data: Samples (N, *shape), floating point, N >= 1. Kept by reference, not copied; they may be memory-mapped.
        memory: Working memory in bytes that a call may use in addition to the data and the result; 256 MiB by default.

    Raises:
        InputError: For data that are empty, not floating point, or not finite, or a budget too small for one row.
    """

    def __init__(self, data: Float[Tensor, "n *shape"], *, memory: int = 2**28) -> None:
        if data.ndim < 2 or data.numel() == 0:
            raise InputError(f"data: expected samples (N, *shape) with N >= 1, got shape {tuple(data.shape)}.")
        if not data.is_floating_point():
            raise InputError(
                f"data: has dtype {data.dtype}; convert it to floating point and to the model's scale first."
            )
        super().__init__(data, memory)
        if memory < 2**20 or memory < 128 * self._rows.shape[1]:
            raise InputError(f"memory: {memory} bytes are too few to process one sample; give 1 MiB or more.")
        self._samples = Samples.of(self._rows, block=memory // 16)
        if not bool(torch.isfinite(self._samples.centre).all()):
            raise InputError("data: holds values that are not finite.")

    def around(self, x0: Float[Tensor, "*shape"], *, chance: float = 0.0) -> Around:
        """A view of this score that is fast for many perturbations of one point, at any t. It is itself a score, with the same values.

        It computes the distances of all samples from x0 once. Queries x0 + p then use only the nearest samples, those that can have
        weight. At small t this is up to hundreds of times faster, in float32 even more than in float64. The view stores three
        numbers per sample.

        Args:
            x0: The point (*shape); copied.
            chance: With 0, the omitted weight is provably negligible for every x. If the p are independent of the data, such as
                Gaussian noise or random directions, fewer samples suffice. Then `chance` is the probability of omitting more than
                the precision allows (four times 1e-7 of the weight in float32, 1e-15 in float64), for each time of a call.
                Probes use 1e-6 for their random directions.

        Raises:
            InputError: If the point has another shape or is not finite, or if chance is not in [0, 1).

        >>> score = EmpiricalScore(torch.tensor([[-1.0], [1.0]]))
        >>> score.around(torch.tensor([0.0]))(torch.tensor([[0.5]]), 0.25)
        tensor([[1.8561]])
        """
        rows, _, batch = events(x0.detach(), 1.0, self.shape)
        if batch or not bool(torch.isfinite(rows).all()):
            raise InputError(f"x0: must be one finite point {self.shape}, got shape {tuple(x0.shape)}.")
        if not 0 <= chance < 1:
            raise InputError(f"chance: must be 0 or a probability below 1, got {chance}.")
        return Around(self, rows[0], chance)

    def posterior(
        self, x: Float[Tensor, "*p_shape"], *, t_min: float, exclude: Int[Tensor, " p"] | None = None
    ) -> Posterior:
        """Weights of all samples at points x (p, *shape), for any t >= t_min, from one set of distances.

        Distances are computed from products where their error in D/2t stays below 1e-8 at t_min. Otherwise, and always for close
        pairs, they are computed from direct differences. The result stores p x N numbers.

        Args:
            x: Points (p, *shape).
            t_min: Smallest t to evaluate at.
            exclude: For each point, the index of a sample to exclude (its own, if the point is a sample), or -1.

        Raises:
            InputError: For points of another shape, or a t_min that is not finite and above 0.

        >>> score = EmpiricalScore(torch.tensor([[-1.0], [1.0], [9.0]]))
        >>> score.posterior(torch.tensor([[0.0], [5.0]]), t_min=0.1).effective_samples(0.1)
        tensor([2., 2.], dtype=torch.float64)
        """
        if not 0 < t_min < math.inf:
            raise InputError(f"t_min: must be finite and above 0, got {t_min}.")
        return Posterior.of(self._samples, events(x, 1.0, self.shape).x, t_min=t_min, exclude=exclude)

    def _distances(self, x: Tensor) -> Float[Tensor, " n"]:
        return direct(self._rows, x.to(torch.float64))

    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        if x.dtype != torch.float64 and x.shape[0] >= _CLOUD * max(1, torch.unique(t).numel()):
            # Queries around one point: the samples' distances to that point are more accurate than their distances to each query.
            middle = x.detach().to(torch.float64).mean(0)
            if bool(((x.to(torch.float64) - middle).square().sum(1) <= 4 * x.shape[1] * t).all()):
                yield from self.around(middle.reshape(self.shape))._sums(x, t)
                return
        d, samples = x.shape[1], self._samples
        z = x.to(torch.float64) - samples.centre
        screened, slack = samples.typical(z) > _LOGIT_ERROR * t, samples.slack(z)
        del z  # as large as all queries, so each part computes its own
        # Memory beside the tile: about six numbers per pair, and four per entry of a query.
        step = max(1, self.memory // 2 // (8 * (6 * samples.tile + 4 * d)))
        for group, add in ((~screened, self._add_dense), (screened, self._add_screened)):
            for part in torch.nonzero(group).flatten().split(step):
                if part.numel() == 0:  # split of an empty tensor is one empty part
                    continue
                points, times = x[part].to(torch.float64), t[part]
                sums = Sums.empty(part.numel(), d, points)
                centred = points - samples.centre
                for tile, y in samples.tiles():
                    squares = samples.products(centred, tile, y)
                    add(sums, points, times, tile, y, squares, slack[part])
                yield part, sums

    def _add_dense(
        self, sums: Sums, x: Tensor, t: Tensor, tile: slice, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add a tile by its product-form distances."""
        logits = squares.clamp_min_(0).mul_((-LOG2E / 2) / t[:, None])
        sums.rescale(torch.maximum(sums.top, logits.amax(1)))
        share = logits.sub_(sums.top[:, None]).clamp_min_(_FLOOR).exp2_()
        weight = share.sum(1)
        sums.weight += weight
        sums.square += share.square().sum(1)
        sums.shift += share @ y - weight[:, None] * (x - self._samples.centre)

    def _add_screened(
        self, sums: Sums, x: Tensor, t: Tensor, tile: slice, y: Tensor, squares: Tensor, slack: Tensor
    ) -> None:
        """Add the samples of a tile that can have weight, by direct differences."""
        cut = math.log(self._rows.shape[0]) - math.log(NEGLIGIBLE)
        block = self._rows[tile]
        nearest = torch.minimum((-2 / LOG2E) * t * sums.top, squares.amin(1) + slack)
        query, sample = torch.nonzero(squares <= (nearest + slack + 2 * t * cut)[:, None], as_tuple=True)
        step = max(1, self.memory // 4 // (24 * x.shape[1]))
        for q, k in zip(query.split(step), sample.split(step), strict=True):
            offset = block[k].to(torch.float64) - x[q]
            logits = offset.square().sum(1) * ((-LOG2E / 2) / t[q])
            sums.rescale(sums.top.scatter_reduce(0, q, logits, "amax"))
            share = torch.exp2(logits - sums.top[q])
            sums.weight.index_add_(0, q, share)
            sums.square.index_add_(0, q, share.square())
            sums.shift.index_add_(0, q, offset.mul_(share[:, None]))
