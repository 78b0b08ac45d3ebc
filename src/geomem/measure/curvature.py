r"""Detectors of memorization that need derivatives of scores: traces, spectra and the directions that are lost.

With A = I + t J the Jacobian of a denoiser, S its symmetric part, whose eigenvalues are survivals kappa, and v Rademacher vectors:

    curvature           tr(S_r - S_s)/t, diag(S_r - S_s)/t = mean of v (A_r - A_s)^T v/t      Kim and Lee 2026
    FLIPD               -[d + t (tr J + |s|^2)], at the clean image                           Kamkari et al. 2024, Ross et al. 2025
    LHSD                -sum_i 1/(1 + (|1 - kappa_i|/c)^p), at the clean image                Osada 2026
    directions lost     #{kappa_i(S_r) > 1/2} - #{eigenvalues of V^T S_s V > 1/2}

V has the leading eigenvectors of S_r as columns, those with survival above 1/2: directions that are free for the reference. The compression
V^T S_s V says which of them the score still has. All are large where an image is memorized; those with a minus are the published value times -1.

The sum over a spectrum comes from stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017): from a random unit vector q, the Krylov space of
A^T gives a compression H of S, with eigenvalues theta and first entries z of its eigenvectors, and

    d q^T f(S) q ~ d sum_j z_j^2 f(theta_j),    of mean tr f(S).

Where A is symmetric, as for the score of a density, that is Gauss quadrature, exact for polynomials f of degree 2 steps - 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.measure.noisy import Noisy
from geomem.scores.pair import Pair
from geomem.spectra.basis import Basis
from geomem.spectra.dimension import RESOLVED
from geomem.spectra.leading import leading
from geomem.spectra.products import products

__all__ = [
    "LostDirections",
    "curvature",
    "curvature_picture",
    "directions_lost",
    "flipd",
    "flipd_guided",
    "flipd_reference",
    "lhsd",
    "lost_directions",
]


def curvature(at: Noisy, *, probes: int = 16) -> Float[Tensor, " n"]:
    """tr(S_r - S_s)/t, the curvature that the condition or the training has added; in data units to the power -2."""
    return _curvature(at, probes).sum(2).mean(1)


def curvature_picture(at: Noisy, *, probes: int = 16) -> Float[Tensor, "n *shape"]:
    """diag(S_r - S_s)/t, entry by entry: where in the image the curvature has been added; in data units to the power -2."""
    return at.pictures(_curvature(at, probes))


def flipd(at: Noisy, *, probes: int = 16) -> Float[Tensor, " n"]:
    """-FLIPD of the score at the clean images, in dimensions; the trace is Hutchinson's, from `probes` vectors."""
    return -_flipd(at, at.clean.diagonal("score", probes), at.clean.score)


def flipd_reference(at: Noisy, *, probes: int = 16) -> Float[Tensor, " n"]:
    """-FLIPD of the reference, as `flipd`."""
    return -_flipd(at, at.clean.diagonal("reference", probes), at.clean.reference)


def flipd_guided(at: Noisy, *, guidance: float = 7.5, probes: int = 16) -> Float[Tensor, " n"]:
    """-FLIPD of the guided score r + g (s - r), as `flipd`; it is not linear in g."""
    s, r = at.clean.both
    of_s, of_r = (at.clean.diagonal(of, probes) for of in ("score", "reference"))
    return -_flipd(at, of_r + guidance * (of_s - of_r), r + guidance * (s - r))


def lhsd(at: Noisy, *, c: float = 0.6, p: float = 8.0, starts: int = 4, steps: int = 10) -> Float[Tensor, " n"]:
    """-sum_i 1/(1 + (|1 - kappa_i|/c)^p) at the clean images, minus a number of directions that are free.

    Args:
        at: The images; it takes starts x steps products with A^T at each.
        c: Distance from 1 at which a direction counts as a half.
        p: Sharpness of that edge.
        starts: Random vectors.
        steps: Products of each, at most d.
    """
    clean, d = at.clean, at.dim
    a = products(at.pair.score, clean.x[:, 0], at.t)
    out = torch.zeros(at.n, dtype=torch.float64, device=clean.x.device)
    for start in at.signs(starts).unbind(1):
        bases = [Basis(d, start.device) for _ in range(at.n)]
        q, open_ = start / d**0.5, [True] * at.n
        for _ in range(min(steps, d)):
            w = a.transposed(q)
            following = q.clone()
            for i, basis in enumerate(bases):
                if not open_[i]:
                    continue
                basis.add(q[i], w[i])
                new = None if basis.full else basis.remainder(w[i])
                if new is None:  # the Krylov space is exhausted, and the quadrature exact
                    open_[i] = False
                else:
                    following[i] = new
            q = following
        for i, basis in enumerate(bases):
            theta, z = basis.ritz()
            out[i] += d * torch.sum(z[0] ** 2 / (1 + ((1 - theta).abs() / c) ** p)) / starts
    return -out


def directions_lost(at: Noisy) -> Float[Tensor, " n"]:
    """Number of directions that are free for the reference and that the score has lost, a mean over draws."""
    out = torch.zeros(at.n, dtype=torch.float64, device=at.x.device)
    for i in range(at.n):
        one = at.pair.select([i])
        for x in at.x[i]:
            out[i] += len(lost_directions(one, x, at.t, seed=at.seed).score) / at.draws
    return out


@dataclass(frozen=True)
class LostDirections:
    """Directions that are free for a reference and that a score has lost at one point, the largest loss first; float64.

    Attributes:
        vectors: Orthonormal directions (k, *shape).
        score: Survival of each for the score (k), at most the threshold.
        reference: Survival of each for the reference (k), above it.
        free: Number m of directions that are free for the reference.
    """

    vectors: Tensor
    score: Float[Tensor, " k"]
    reference: Float[Tensor, " k"]
    free: int


def lost_directions(pair: Pair, x: Tensor, t: float, *, above: float = RESOLVED, seed: int = 0) -> LostDirections:
    """The directions lost at one point as it is given: who wants a noisy point adds the noise.

    Within the span of V, the m leading eigenvectors of the reference, those eigenvectors of V^T S_s V whose survival is not above the threshold
    span the lost subspace. Many survivals there are nearly 0, so its directions are chosen as eigenvectors of the loss,
    S_r - S_s on that subspace: the first has lost the most of all directions in it.

    Args:
        pair: A pair, at this point.
        x: The point (*shape).
        t: Noise variance, data units squared.
        above: Least survival of a free direction.
        seed: Seed of the search for leading survivals.

    Raises:
        InputError: For a point of another shape, and as `spectra.leading`.

    >>> from geomem.scores import GaussianScore
    >>> from geomem.scores.pair import pair
    >>> had, kept = (GaussianScore(torch.tensor(s)) for s in ([9.0, 4.0, 3.0, 0.0], [9.0, 0.0, 0.25, 0.0]))
    >>> found = lost_directions(pair(kept, had), torch.zeros(4), 1.0)
    >>> found.vectors.abs().round()
    tensor([[0., 1., 0., 0.],
            [0., 0., 1., 0.]], dtype=torch.float64)
    >>> [f"{r:.2f} -> {s:.2f}" for r, s in zip(found.reference, found.score)]
    ['0.80 -> 0.00', '0.75 -> 0.20']
    """
    if tuple(x.shape) != pair.shape:
        raise InputError(f"x: has shape {tuple(x.shape)}; give one point ({', '.join(map(str, pair.shape))}).")
    had = leading(pair.reference, x[None], t, above=above, seed=seed)
    v = had.vectors[0]
    m = len(v)
    if m == 0:
        none = torch.empty(0, dtype=torch.float64, device=x.device)
        return LostDirections(none.reshape(0, *pair.shape), none, none, 0)
    a = products(pair.score, x[None], t)
    w = torch.cat([a.transposed(row[None]) for row in v])
    inner = v @ w.T
    survival, z = torch.linalg.eigh((inner + inner.T) / 2)
    lost = z[:, survival <= above]
    # S_r is diagonal in its own eigenvectors.
    of_r, of_s = (lost.T @ s @ lost for s in (torch.diag(had.values[0]), (inner + inner.T) / 2))
    _, turn = torch.linalg.eigh(of_r - of_s)
    turn = turn.flip(1)
    kept, free = (torch.einsum("ki,kl,li->i", turn, s, turn) for s in (of_s, of_r))
    return LostDirections(((lost @ turn).T @ v).reshape(-1, *pair.shape), kept, free, m)


def _curvature(at: Noisy, probes: int) -> Tensor:
    """diag(A_r - A_s)/t (n, k, d); a matrix and its symmetric part have the same diagonal."""
    return (at.diagonal("reference", probes) - at.diagonal("score", probes)) / at.t


def _flipd(at: Noisy, diagonal: Tensor, score: Tensor) -> Tensor:
    """tr A + t |s|^2 (n), with tr A = d + t tr J."""
    return (diagonal.sum(2) + at.t * score.square().sum(2)).mean(1)
