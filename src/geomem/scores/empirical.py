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

# Largest typical error of a logit D/2t for which the product form is used as it is: by sums, and by posteriors.
_LOGIT_ERROR, _POSTERIOR_ERROR = 5e-12, 1e-8
# Base-2 logits below this are held there: their squares would be subnormal numbers, which are a hundred times slower.
_FLOOR = -505.0
# Fewest queries in low precision around one point that are worth a pass over the samples of its own.
_CLOUD = 64


class EmpiricalScore(Mixture):
    """Score of the empirical distribution of `data` at noise variance t (Eq. 11).

    Accuracy follows the dtype of x: float64 queries agree with direct differences to 1e-10 relative, also at t = 1e-5 on
    near-duplicate images far from the origin; for float32 queries scores are right to 1e-6 and effective samples to 1e-5.
    Results have the dtype of x. For many queries around one point see `around`;
    there float64 is right to 1e-10 or 1e-15 |x - x0| |y - x0|/t, y the samples with weight, whichever is more. For many t at the same
    points see `posterior`.

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
        super().__init__(data, memory)
        if memory < 2**20 or memory < 128 * self._rows.shape[1]:
            raise InputError(f"memory: {memory} bytes do not hold the work on one sample; give 1 MiB or more.")
        self._samples = Samples.of(self._rows, block=memory // 16)
        if not bool(torch.isfinite(self._samples.centre).all()):
            raise InputError("data: holds values that are not finite.")

    def around(self, x0: Float[Tensor, "*shape"], *, chance: float = 0.0) -> Around:
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

        Distances come from products where their error in D/2t stays below 1e-8 at t_min, from direct differences otherwise, and
        for close pairs always. Memory is that of p x N numbers.

        Args:
            x: Points (p, *shape).
            t_min: Smallest t to evaluate at.
            exclude: For each point, the number of a sample to leave out (its own, where the point is a sample), or -1.

        Raises:
            InputError: For points of another shape, or a t_min that is not finite and above 0.

        >>> score = EmpiricalScore(torch.tensor([[-1.0], [1.0], [9.0]]))
        >>> score.posterior(torch.tensor([[0.0], [5.0]]), t_min=0.1).effective_samples(0.1)
        tensor([2., 2.], dtype=torch.float64)
        """
        if not 0 < t_min < math.inf:
            raise InputError(f"t_min: must be finite and above 0, got {t_min}.")
        points = events(x, 1.0, self.shape).x.to(torch.float64)
        squares = self._samples.squares(points, error=_POSTERIOR_ERROR * t_min)
        if exclude is not None:
            own = torch.nonzero(exclude >= 0).flatten()
            squares[own, exclude[own]] = math.inf
        return Posterior(self._rows, points, squares, t_min)

    def _distances(self, x: Tensor) -> Float[Tensor, " n"]:
        return direct(self._rows, x.to(torch.float64))

    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        if x.dtype != torch.float64 and x.shape[0] >= _CLOUD * max(1, torch.unique(t).numel()):
            # Queries around one point: every sample's distance to it is known better than to each of them.
            middle = x.detach().to(torch.float64).mean(0)
            if bool(((x.to(torch.float64) - middle).square().sum(1) <= 4 * x.shape[1] * t).all()):
                yield from self.around(middle.reshape(self.shape))._sums(x, t)
                return
        d, samples = x.shape[1], self._samples
        z = x.to(torch.float64) - samples.centre
        screened, slack = samples.typical(z) > _LOGIT_ERROR * t, samples.slack(z)
        del z  # as large as all queries; each part makes its own
        # Beside the tile: about six numbers a pair and four a query's entry.
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
        """Add those samples of a tile that can matter, by direct differences."""
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
