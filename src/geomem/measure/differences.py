r"""Detectors of memorization that need scores alone: norms, denoising errors and degrees of freedom of a pair.

With s and r a score and its reference, Ds = s - r, D(x) = x + t s the denoiser, eps the noise in x and x' the mirrored point, which
has -eps in its place:

    magnitude            sqrt t |Ds|                                  Wen et al. 2024, |eps_c - eps_u|
    sharpness            |Ds(x + h Ds) - Ds(x)|^2/h^2                 Jeon et al. 2025, |(J_s - J_r) Ds|^2
    difference squared   |Ds|^2                                       Kim and Lee 2026, proxy of the curvature difference
    anisotropy           a cos(Ds, r) + b sqrt t |Ds|                 Asthana and Belagiannis 2026, at the least and the largest t
    loss                 -|D(x) - x0|^2/t                             denoising error as a dimension (2510.12975)
    loss difference      (|D_r(x) - x0|^2 - |D_s(x) - x0|^2)/t
    SimA                 -|sqrt t s(x0)|_p                            2509.25003, at the clean image
    fraction lost        1 - q_s/q_r,  q = |D(x) - D(x')|^2/(4t)      see `measure.screening`
    freedom lost         eps . [(D_r - D_s)(x) - (D_r - D_s)(x')]/(2 sqrt t), of mean tr(S_r - S_s) by Stein's lemma

All are means over the draws of an image, and large where it is memorized. Those with a minus are the published value times -1. A change of
coordinates from x to a variance-preserving x' = a x multiplies scores by a power of a, so at one noise level it changes no ranking.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.measure.noisy import Noisy

__all__ = [
    "anisotropy",
    "difference_picture",
    "difference_squared",
    "fraction_lost",
    "freedom_lost",
    "loss",
    "loss_difference",
    "magnitude",
    "sharpness",
    "sima",
]

# Length of the step of `sharpness`, in units of sqrt(t d), the length of the noise; as for products by differences.
_STEP = 0.01


def magnitude(at: Noisy) -> Float[Tensor, " n"]:
    """sqrt t |Ds|, the norm of the difference of predicted noises; dimensionless, of order sqrt d."""
    norms: Tensor = at.difference.norm(dim=2)
    return math.sqrt(at.t) * norms.mean(1)


def sharpness(at: Noisy) -> Float[Tensor, " n"]:
    """|(J_s - J_r) Ds|^2 by a one-sided difference of length 0.01 sqrt(t d), in data units to the power -6."""
    here = at.difference
    length = here.norm(dim=2, keepdim=True)
    h = _STEP * math.sqrt(at.t * at.dim) / length.clamp_min(torch.finfo(torch.float64).tiny)
    # Where both scores are the same there is no direction, and no sharpness.
    step = torch.where(length > 0, h * here, 0.0)
    s, r = at.at((at.x.flatten(2).to(torch.float64) + step).to(at.x.dtype).reshape(at.x.shape))
    rise = torch.where(length > 0, (s - r - here) / h, 0.0)
    return rise.square().sum(2).mean(1)


def difference_squared(at: Noisy) -> Float[Tensor, " n"]:
    """|Ds|^2, in data units to the power -2; at one draw it ranks as `magnitude`, and `difference_picture` says where it is."""
    return at.difference.square().sum(2).mean(1)


def difference_picture(at: Noisy) -> Float[Tensor, "n *shape"]:
    """Ds^2 entry by entry, a picture of what is memorized; in data units to the power -2."""
    return at.pictures(at.difference.square())


def anisotropy(levels: Sequence[Noisy], *, a: float = 2.0, b: float = 1.0) -> Float[Tensor, " n"]:
    """a cos(Ds, r) at the least noise level + b sqrt t |Ds| at the largest.

    Its a and b are fitted to a model: the paper's are (2, 1) for Stable Diffusion 1.4 and (0.1, 1) for 2.0. As published both terms start
    from "unit noise", the term in a conditioned on a small t. There the cosine is over the channels of each pixel; here it is over all entries.

    Args:
        levels: The same images at several noise levels.
        a: Weight of the alignment.
        b: Weight of the magnitude.
    """
    low, high = (choose(levels, key=lambda at: at.t) for choose in (min, max))
    cosine = torch.nn.functional.cosine_similarity(low.difference, low.reference, dim=2, eps=1e-300)
    return a * cosine.mean(1) + b * magnitude(high)


def loss(at: Noisy) -> Float[Tensor, " n"]:
    """-|D(x) - x0|^2/t, minus the denoising error, in dimensions."""
    return -_error(at, at.score)


def loss_difference(at: Noisy) -> Float[Tensor, " n"]:
    """Denoising error of the reference minus that of the score at the same noise, in dimensions."""
    s, r = at.both
    return _error(at, r) - _error(at, s)


def sima(at: Noisy, *, p: float = 4.0) -> Float[Tensor, " n"]:
    """-|sqrt t s(x0, t)|_p, minus the norm of the noise predicted at the clean image; dimensionless."""
    norms: Tensor = torch.linalg.vector_norm(at.clean.score, ord=p, dim=2)
    return -math.sqrt(at.t) * norms.mean(1)


def fraction_lost(at: Noisy) -> Float[Tensor, " n"]:
    """1 - q_s/q_r, the fraction of the reference's degrees of freedom tr A^T A that the score has lost."""
    kept, had = (moved.square().sum(2).mean(1) for moved in _apart(at))
    # A reference without freedom has none to lose.
    return torch.where(had > 0, 1 - kept / had, 0.0)


def freedom_lost(at: Noisy) -> Float[Tensor, " n"]:
    """tr(S_r - S_s) by Stein's lemma, the degrees of freedom lost against the reference, in dimensions."""
    kept, had = _apart(at)
    return (at.noise.flatten(2) * (had - kept)).sum(2).mean(1) / (2 * at.factor)


def _apart(at: Noisy) -> tuple[Tensor, Tensor]:
    """D(x) - D(x') of the score and of the reference (n, k, d)."""
    noise = 2 * at.factor * at.noise.flatten(2).to(torch.float64)
    pairs = zip(at.both, at.mirrored.both, strict=True)
    kept, had = (noise + at.t * (plus - minus) for plus, minus in pairs)
    return kept, had


def _error(at: Noisy, score: Tensor) -> Tensor:
    """|D(x) - x0|^2/t (n), the mean over draws."""
    left = (at.x - at.images[:, None]).flatten(2).to(torch.float64) + at.t * score
    return left.square().sum(2).mean(1) / at.t
