r"""Screening: what one forward evaluation of a model tells of an image, for images by the thousand.

With x = x0 + sqrt(t) eps, eps standard normal, and D(x) = x + t s(x, t) the denoiser, one evaluation gives two numbers, and a mirrored
pair of them a third, with x' = x0 - sqrt(t) eps:

    error     e = |D(x) - x0|^2/t
    freedom   f = eps . (D(x) - x0)/sqrt t
    squares   q = |D(x) - D(x')|^2/(4t)

**Freedom has the mean tr dD/dx** averaged over the noise, for any denoiser and without any derivative: by Stein's lemma
E eps . g(eps) = E div g(eps), here with g(eps) = D(x0 + sqrt t eps) - x0, whose divergence in eps is sqrt t tr dD/dx. For
the score of a density, dD/dx = I + t J = Cov(y|x)/t, so this is the number of degrees of freedom, the sum of survival.

**Its variance.** Where D is linear about x0, D - x0 = b + sqrt t A eps with b the bias D(x0) - x0, and

    f = eps . b/sqrt t + eps . A eps,    Var f = |b|^2/t + 2 |sym A|^2    (Frobenius norm).

The mean of a *mirrored pair*, f(eps) and f(-eps), loses the first term and keeps the second.

**Squares have the mean |A|^2**, the sum of squared singular values, where D is linear about x0: q = |A eps|^2. Both are degrees of
freedom of a linear smoother, tr A and tr A^T A (Buja, Hastie and Tibshirani 1989). They agree where survival is 0 or 1. They differ
where a network leaves a little noise, c of it, in each of thousands of directions normal to the data: these add c d to the trace, as
much at training images as elsewhere, and dilute the fraction that is lost; to the squares they add c^2 d.

**Error and freedom are tied.** Expanding |D - x0|^2 = |D - x + sqrt t eps|^2 and using Stein's lemma for the cross term,

    E e = E |D - x|^2/t - d + 2 E f    (SURE),

which holds for any denoiser. For the ideal denoiser E e = E tr Cov(y|x)/t = E f: so the *calibration ratio*, error over freedom at
images that a model was not trained on, is 1. A model that has memorized is confident and wrong there: its error is several times
its freedom.

Noise depends on the seed and the place of an image in its list alone. Training and held-out images at the same place share it.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.errors import InputError
from geomem.measure.draws import normal
from geomem.precision import full_precision
from geomem.scores.base import Score
from geomem.scores.conditioned import at_points
from geomem.scores.network import dtype_of

__all__ = ["STATISTICS", "screen"]

# What is measured of an image.
STATISTICS = {
    "error": "|D - x0|^2 / t",
    "freedom": "degrees of freedom tr A",
    "squares": "degrees of freedom tr A^T A",
}


def screen(
    score: Score,
    images: Tensor,
    times: Sequence[float],
    *,
    pairs: int = 1,
    first: int = 0,
    seed: int = 0,
    batch_size: int = 16,
    device: str = "cpu",
    tell: Callable[[float], None] = lambda share: None,
) -> xr.Dataset:
    """Error and freedom of each image at each noise variance, from mirrored pairs of noise draws.

    Args:
        score: Any score; with conditions, one for each image.
        images: Clean images x0 (n, *shape), on any device.
        times: Noise variances t, data units squared.
        pairs: Mirrored pairs of draws for each image and noise variance; each takes two evaluations.
        first: Place of the first image in the list that it is of; its noise depends on its place.
        seed: Seed of the noise, which all noise variances share.
        batch_size: Number of scores evaluated at once.
        device: Device of the score.
        tell: Called with the share done.

    Returns:
        Over (point, t): `error` (|D - x0|^2/t), `freedom` (tr A) and `squares` (tr A^T A), means over draws, in dimensions, float64.

    Raises:
        InputError: For a score that is not finite, or images of another shape.

    >>> from geomem.scores import GaussianScore
    >>> score = GaussianScore(torch.tensor([1.0, 1.0, 0.0]))
    >>> found = screen(score, score.mean.expand(2000, 3), [1.0])
    >>> print(f"{float(found['freedom'].mean()):.1f}")
    1.0
    """
    if images.ndim != len(score.shape) + 1 or tuple(images.shape[1:]) != tuple(score.shape):
        raise InputError(f"images: have shape {tuple(images.shape)}; give (n, {', '.join(map(str, score.shape))}).")
    n, dtype = len(images), dtype_of(score)
    out = {name: np.empty((n, len(times))) for name in STATISTICS}
    done, step = 0, max(1, batch_size // (2 * pairs))
    with torch.no_grad(), full_precision():
        for start in range(0, n, step):
            places = slice(start, min(n, start + step))
            clean = images[places].to(device).to(dtype)
            drawn = normal(
                range(first + start, first + places.stop), pairs, score.shape, seed=seed, purpose="screening"
            )
            noise = drawn.to(clean)
            at = at_points(score, range(n)[places])
            for j, t in enumerate(times):
                for name, values in _measured(at, clean, noise, float(t)).items():
                    out[name][places, j] = values
            done += len(clean)
            tell(done / n)
    units = {"units": "dimensions"}
    level = ("t", list(times), {"units": "data units squared", "long_name": "noise variance"})
    return xr.Dataset(
        {name: (("point", "t"), values, {**units, "long_name": STATISTICS[name]}) for name, values in out.items()},
        coords={"point": np.arange(first, first + n), "t": level},
        attrs={"pairs": pairs, "seed": seed, "evaluations": 2 * pairs * n * len(times)},
    )


def _measured(score: Score, clean: Tensor, noise: Tensor, t: float) -> dict[str, np.ndarray]:
    """Means over the draws of each image (n) of what is measured."""
    both = torch.cat([noise, -noise], 1)
    noisy = clean[:, None] + math.sqrt(t) * both
    rows = noisy.flatten(0, 1)
    moved = (t * score(rows, t)).reshape(noisy.shape)  # D - x
    if not bool(torch.isfinite(moved).all()):
        raise InputError(f"score: is not finite (NaN or infinity) near t = {t:.3g}.")
    moved, both, noisy = (a.flatten(2).to(torch.float64) for a in (moved, both, noisy))
    left = moved + noisy - clean.flatten(1)[:, None].to(torch.float64)  # D - x0
    error = left.square().sum(2).mean(1) / t
    freedom = (both * left).sum(2).mean(1) / math.sqrt(t)
    plus, minus = left.chunk(2, 1)
    squares = (plus - minus).square().sum(2).mean(1) / (4 * t)
    return {"error": error.cpu().numpy(), "freedom": freedom.cpu().numpy(), "squares": squares.cpu().numpy()}
