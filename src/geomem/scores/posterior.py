r"""Which of the samples stand behind a noisy point: the posterior weights of the empirical score, for all t at once.

At a fixed point x only the temperature changes with t: w_mu = softmax(-D_mu/2t) with the same squared distances
D_mu = |x - y_mu|^2. So they are computed once for each point, and weights, effective samples, entropy and survival
follow for as many t as wanted.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from geomem.errors import InputError

__all__ = ["NEGLIGIBLE", "Posterior", "moments", "scatter", "survival_of"]

_EPS = torch.finfo(torch.float64).eps
# Samples that hold together less than this share of the weight are left out of moments: below float64's rounding.
NEGLIGIBLE = 2e-19
# Largest error of a logit D/2t for which distances come from the product form |x|^2 + |y|^2 - 2 x.y.
_LOGIT_ERROR = 1e-8
# Distances below this multiple of the product form's error are taken again from direct differences: to 1e-10, relative.
_NEAR = 1e10
# Bytes of float64 copies of samples that are worked on at once.
_BLOCK = 2**25


class Posterior:
    """Weights of N samples at p points, for any t >= t_min.

    Distances are float64: by the product form around the samples' mean where its error in D/2t stays below 1e-8 at
    t_min, by direct differences otherwise, and for close pairs always. Memory is that of p x N numbers.

    Args:
        samples: y_mu (N, d), floating point.
        x: Points (p, d).
        t_min: Smallest t that will be asked for.
        exclude: For each point, the number of a sample that is left out (its own, where the point is one of them), or -1.

    Raises:
        InputError: For shapes that do not fit, or a t_min that is not above 0.
    """

    def __init__(
        self,
        samples: Float[Tensor, "n d"],
        x: Float[Tensor, "p d"],
        *,
        t_min: float,
        exclude: Int[Tensor, " p"] | None = None,
    ) -> None:
        if samples.ndim != 2 or x.ndim != 2 or samples.shape[1] != x.shape[1] or samples.shape[0] == 0:
            raise InputError(f"samples, x: need (N, d) and (p, d), got {tuple(samples.shape)} and {tuple(x.shape)}.")
        if not 0 < t_min < math.inf:
            raise InputError(f"t_min: must be finite and above 0, got {t_min}.")
        self.samples, self.x, self.t_min = samples, x.to(torch.float64), t_min
        centre = torch.stack([b.sum(0, dtype=torch.float64) for b in _blocks(samples)]).sum(0) / samples.shape[0]
        around = self.x - centre
        self.squares = torch.empty(x.shape[0], samples.shape[0], dtype=torch.float64)
        start, reach = 0, 0.0
        for block in _blocks(samples):
            y = block.to(torch.float64) - centre
            norms = y.square().sum(1)
            reach = max(reach, float(norms.max()))
            part = torch.addmm(norms, around, y.T, alpha=-2).add_(around.square().sum(1)[:, None])
            self.squares[:, start : start + block.shape[0]] = part.clamp_min_(0)
            start += block.shape[0]
        reach = (math.sqrt(reach) + float(around.norm(dim=1).max())) ** 2
        if 4 * _EPS * reach > _LOGIT_ERROR * t_min:
            for i, point in enumerate(self.x):
                self.squares[i] = torch.cat([(b.to(torch.float64) - point).square_().sum(1) for b in _blocks(samples)])
        else:
            self._refine(_NEAR * 4 * _EPS * reach)
        if exclude is not None:
            rows = torch.nonzero(exclude >= 0).flatten()
            self.squares[rows, exclude[rows]] = math.inf

    def _refine(self, below: float) -> None:
        """Take small squared distances from direct differences."""
        for p, k in zip(
            *(i.split(_BLOCK // (8 * self.x.shape[1]) + 1) for i in torch.nonzero(self.squares < below, as_tuple=True)),
            strict=True,
        ):
            self.squares[p, k] = (self.samples[k].to(torch.float64) - self.x[p]).square_().sum(1)

    def log_weights(self, t: float) -> Float[Tensor, "p n"]:
        """ln w of every sample at every point."""
        return torch.log_softmax(self.squares / (-2 * t), 1)

    def effective_samples(self, t: float) -> Float[Tensor, " p"]:
        """N~ = 1 / sum_mu w_mu^2 (Sec. 5.2), between 1 and N."""
        return 1 / torch.softmax(self.squares / (-2 * t), 1).square().sum(1)

    def entropy(self, t: float) -> Float[Tensor, " p"]:
        """H(w) = -sum_mu w_mu ln w_mu, in nats; ln N - H is the information that the point holds about the sample."""
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
            point: Number of the point.
            t: Noise variance.
            rows: Coordinates (N, k) of the samples to take instead of all: Cov is then that of these coordinates.
            negligible: Share of the weight that may be left out.
        """
        log_w = torch.log_softmax(self.squares[point] / (-2 * t), 0)
        chosen = self.samples if rows is None else rows
        return survival_of(chosen, log_w, t, origin=None if rows is not None else self.x[point], negligible=negligible)


def survival_of(
    rows: Float[Tensor, "n k"],
    log_w: Float[Tensor, " n"],
    t: Tensor | float,
    *,
    origin: Float[Tensor, " k"] | None = None,
    negligible: float = NEGLIGIBLE,
) -> Float[Tensor, " k"]:
    """Eigenvalues of Cov_w(rows)/t, descending, float64; no k x k matrix where few samples have weight."""
    out = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    samples, weights, shift = moments(rows, log_w, origin=origin, negligible=negligible)
    if samples.numel() < rows.shape[1]:
        root = _rooted(rows[samples], weights / t, origin, shift)
        matrix = root @ root.T  # its eigenvalues are those of the k x k matrix that are not 0
    else:
        matrix = scatter(rows, samples, weights / t, origin, shift)
    values = torch.linalg.eigvalsh(matrix).flip(0).clamp_min(0)
    out[: values.numel()] = values
    return out


def moments(
    rows: Float[Tensor, "n k"],
    log_w: Float[Tensor, " n"],
    *,
    origin: Float[Tensor, " k"] | None = None,
    negligible: float = NEGLIGIBLE,
) -> tuple[Int[Tensor, " a"], Float[Tensor, " a"], Float[Tensor, " k"]]:
    """The samples that matter, their weights, and the mean relative to `origin`, which is never rounded to one vector."""
    cut = math.log(rows.shape[0]) - math.log(negligible)
    samples = torch.nonzero(log_w > log_w.max() - cut).flatten()
    weights = log_w[samples].exp()
    shift = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
    for index, w in _pairs(rows, samples, weights):
        shift += w @ _relative(rows[index], origin)
    return samples, weights, shift


def scatter(
    rows: Float[Tensor, "n k"],
    samples: Int[Tensor, " a"],
    weights: Float[Tensor, " a"],
    origin: Float[Tensor, " k"] | None,
    shift: Float[Tensor, " k"],
) -> Float[Tensor, "k k"]:
    """Weighted second moments of samples about origin + shift."""
    out = torch.zeros(shift.numel(), shift.numel(), dtype=torch.float64, device=shift.device)
    for index, w in _pairs(rows, samples, weights):
        root = _rooted(rows[index], w, origin, shift)
        out.addmm_(root.T, root)
    return out


def _rooted(rows: Tensor, weights: Tensor, origin: Tensor | None, shift: Tensor) -> Tensor:
    return _relative(rows, origin).sub(shift).mul_(weights.sqrt()[:, None])


def _relative(rows: Tensor, origin: Tensor | None) -> Tensor:
    return rows.to(torch.float64) if origin is None else rows.to(torch.float64) - origin


def _pairs(rows: Tensor, samples: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    step = max(1, _BLOCK // (8 * rows.shape[1]))
    return zip(samples.split(step), weights.split(step), strict=True)


def _blocks(rows: Tensor) -> tuple[Tensor, ...]:
    return torch.split(rows, max(1, _BLOCK // (8 * rows.shape[1])))
