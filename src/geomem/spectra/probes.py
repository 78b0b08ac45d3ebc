r"""Probes: methods that measure a Jacobian from scores around a point. `PROBES` lists them; all have the same signature.

The perturbations p_k of x0 are the columns of a matrix P and have length r. In J units:

    smoothed       p = r e_j,           J_j = [s(x0 + p) - s(x0)]/r                       (Eq. 5, r = sqrt t)
    score-matrix   p Gaussian,          singular values of [s(x0 + p_k)]_k / (r sqrt(K/d)) (Alg. 1, r = sqrt(t d))
    antithetic     p Gaussian, +-,      singular values of [(s(x0+p_k) - s(x0-p_k))/2]_k / (r sqrt(K/d))   (Alg. 2)
    regression     p Gaussian, +-,      J = S P^T (P P^T)^{-1}, S the matrix of Alg. 2
    orthonormal    p = r q_j, +-,       J q_j = [s(x0 + p) - s(x0 - p)]/2r                (r = sqrt(t d))
    exact          the derivative

All probes measure J of a linear score. But Gaussian probes spread the normal singular values over 1 +- sqrt((d-m)/K), and
Alg. 1 adds the mean score as an outlier. Orthonormal mirrored probes do neither. The length r = sqrt(t d) is the typical norm
of Gaussian noise of variance t: a network was trained at that distance from x0, but not at x0 itself. Survival requires J. For
Algs. 1 and 2 it is computed by the regression on the same scores, which is also exact for a linear score.

All points and times of one call share the same directions. So results do not depend on how points are batched, and the
noise of the probes cancels in differences between points.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.errors import InputError
from geomem.precision import full_precision
from geomem.scores import EmpiricalScore
from geomem.scores.around import Around
from geomem.scores.base import DensityScore, Score, events
from geomem.spectra.cost import MEMORY, batch_within
from geomem.spectra.exact import dense_spectrum, exact, finite
from geomem.spectra.rotations import random_rotation
from geomem.spectra.singular import singular_values
from geomem.spectra.spectrum import Spectrum

__all__ = ["PROBES", "Measurement", "Probe", "checked", "mirrored", "restricted", "spectrum"]


@dataclass(frozen=True)
class Measurement:
    """Checked arguments of a probe: rows of points, times, and how to perturb the points."""

    score: Score
    x: Float[Tensor, "n d"]
    t: Float[Tensor, " n"]
    probes: int | None
    radius: Float[Tensor, " n"] | None
    vectors: bool
    batch_size: int
    generator: torch.Generator

    @property
    def points(self) -> Float[Tensor, "n *shape"]:
        """The points as events."""
        return self.x.reshape(self.x.shape[0], *self.score.shape)


Probe = Callable[[Measurement], Spectrum]

# Samples x directions x dimensions from which an empirical score is evaluated by `around`: about 10 ms of work.
_WORTH = 10**8
# Probability that a call of an empirical score omits more weight than its precision allows.
_CHANCE = 1e-6


def spectrum(
    score: Score,
    x: Tensor,
    t: Tensor | float,
    *,
    probe: str | None = None,
    probes: int | None = None,
    radius: Tensor | float | None = None,
    vectors: bool = False,
    batch_size: int | None = None,
    memory: int = MEMORY,
    generator: torch.Generator | None = None,
) -> Spectrum:
    """Spectrum of the score's Jacobian at each point, singular values in J units and survival.

    Args:
        score: Any `Score`.
        x: Points (*b, *shape), float32 or float64. A network is evaluated in its own dtype; linear algebra is float64.
        t: Diffusion time, () or (*b).
        probe: One of `PROBES`; None is "exact" for a `DensityScore` and "orthonormal" for anything else.
        probes: Number K of directions. Default: 4d for Gaussian probes, d for the others. Orthonormal probes may use fewer,
            but then do not measure survival; smoothed and exact always use all d.
        radius: Length of the perturbations, () or (*b); None for the default of the probe, see the module docstring.
        vectors: Also return singular vectors.
        batch_size: Number of scores evaluated at once; None for as many as fit into memory, at most 4,096.
        memory: Memory budget of a network's evaluations, in bytes (see `batch_within`).
        generator: CPU generator of random directions; None is one seeded with 0.

    Returns:
        A `Spectrum` batched over (*b).

    Raises:
        InputError: For an unknown probe, an invalid number of probes, a radius that is not positive, x and t that do not
            fit the score, a score that is not finite, or a network that does not fit into memory.

    >>> from geomem.manifolds import LinearManifold
    >>> s = LinearManifold.subspaces(4, [(1, 1.0), (1, 0.25)]).score
    >>> spectrum(s, torch.zeros(4), 0.25).values
    tensor([4.0000, 4.0000, 2.0000, 0.8000], dtype=torch.float64)
    """
    name = probe or ("exact" if isinstance(score, DensityScore) else "orthonormal")
    if name not in PROBES:
        raise InputError(f"probe: {name!r} is not known; choose one of {', '.join(PROBES)}.")
    if (batch_size is not None and batch_size < 1) or (probes is not None and probes < 1):
        raise InputError("batch_size, probes: must be at least 1.")
    rows, times, batch, length = checked(score, x, t, radius)
    with torch.no_grad(), full_precision():
        generator = generator or torch.Generator().manual_seed(0)
        batch_size = batch_size or batch_within(score, memory, dtype=x.dtype, device=str(x.device))
        flat = PROBES[name](Measurement(score, rows, times, probes, length, vectors, batch_size, generator))

    def shaped(a: Tensor | None) -> Tensor | None:
        return None if a is None else a.reshape((*batch, *a.shape[1:]))

    return Spectrum(
        flat.values.reshape((*batch, *flat.values.shape[1:])),
        times.reshape(batch),
        flat.kind,
        shaped(flat.radius),
        shaped(flat.survival),
        flat.dim,
        shaped(flat.left),
        shaped(flat.right),
    )


def checked(
    score: Score, x: Tensor, t: Tensor | float, radius: Tensor | float | None
) -> tuple[Tensor, Tensor, torch.Size, Tensor | None]:
    """Rows (n, d), times (n), batch and radii (n) of a measurement at points x (*b, *shape).

    Raises:
        InputError: For points in half precision, or x, t and radius that do not fit or are not positive.
    """
    if x.dtype in (torch.bfloat16, torch.float16):
        raise InputError(f"x: has dtype {x.dtype}, too coarse for a spectrum; convert points and network to float32.")
    rows, times, batch = events(x, t, score.shape)
    if radius is None:
        return rows, times, batch, None
    length = torch.as_tensor(radius, dtype=torch.float64, device=x.device)
    if not bool(torch.all(torch.isfinite(length) & (length > 0))):
        raise InputError("radius: must be finite and above 0.")
    try:
        return rows, times, batch, length.expand(batch).reshape(-1)
    except RuntimeError:
        raise InputError(
            f"radius: has shape {tuple(length.shape)}, which does not fit x's batch {tuple(batch)}."
        ) from None


def _exact(m: Measurement) -> Spectrum:
    if m.radius is not None or m.probes is not None:
        raise InputError("radius, probes: the exact Jacobian uses neither; leave them out or choose another probe.")
    return exact(m.score, m.points, m.t, vectors=m.vectors, batch_size=m.batch_size)


def _smoothed(m: Measurement) -> Spectrum:
    d = m.x.shape[1]
    if m.probes not in (None, d):
        raise InputError(f"probes: the smoothed Jacobian has one column for each of the {d} axes; leave probes out.")
    r = m.t.sqrt() if m.radius is None else m.radius
    moved = _scores(m, r, torch.eye(d, dtype=torch.float64), drawn=False)
    still = _scores(m, r, torch.zeros(1, d, dtype=torch.float64), drawn=False)
    j = (moved - still).mT / r[:, None, None]
    return dense_spectrum(j, m.t, "forward", r, vectors=m.vectors)


def _orthonormal(m: Measurement) -> Spectrum:
    d = m.x.shape[1]
    k = d if m.probes is None else m.probes
    if k > d:
        raise InputError(f"probes: at most {d} directions can be orthonormal in {d} dimensions, got {k}.")
    r = (m.t * d).sqrt() if m.radius is None else m.radius
    q = random_rotation(d, generator=m.generator)[:k]
    columns = _halves(m, r, q).mT / r[:, None, None]  # J q_j
    q = q.to(m.x.device)
    if k == d:
        return dense_spectrum(columns @ q, m.t, "central", r, vectors=m.vectors)
    if not m.vectors:
        return Spectrum(singular_values(columns), m.t, "central", r, None, d)
    v, values, w = torch.linalg.svd(columns, full_matrices=False)
    return Spectrum(values, m.t, "central", r, None, d, left=v.mT, right=w @ q)


def _score_matrix(m: Measurement) -> Spectrum:
    r, p = _gaussian(m)
    s = _scores(m, r, p)
    # The mean score is not a linear response, so the regression that gives survival has an intercept.
    j = _regression(s - s.mean(1, keepdim=True), p - p.mean(0), r)
    return _matrix_spectrum(s, j, m, r)


def _antithetic(m: Measurement) -> Spectrum:
    r, p = _gaussian(m)
    s = _halves(m, r, p)
    return _matrix_spectrum(s, _regression(s, p, r), m, r)


def _regression_probe(m: Measurement) -> Spectrum:
    r, p = _gaussian(m)
    j = _regression(_halves(m, r, p), p, r)
    if j is None:
        raise InputError(
            f"probes: a regression of {m.x.shape[1]} columns needs more than {m.x.shape[1]} probes, got {m.probes}."
        )
    return dense_spectrum(j, m.t, "regression", r, vectors=m.vectors)


PROBES: dict[str, Probe] = {
    "exact": _exact,
    "smoothed": _smoothed,
    "score-matrix": _score_matrix,
    "antithetic": _antithetic,
    "regression": _regression_probe,
    "orthonormal": _orthonormal,
}


def _gaussian(m: Measurement) -> tuple[Float[Tensor, " n"], Float[Tensor, "k d"]]:
    """Radii and Gaussian directions of mean squared length 1."""
    d = m.x.shape[1]
    k = 4 * d if m.probes is None else m.probes
    directions = torch.randn(k, d, generator=m.generator, dtype=torch.float64) / math.sqrt(d)
    return (m.t * d).sqrt() if m.radius is None else m.radius, directions.to(m.x.device)


def _regression(response: Tensor, p: Tensor, r: Tensor) -> Float[Tensor, "n d d"] | None:
    """J of response = J r p by least squares, for responses (n, K, d) to directions (K, d); None if K <= d."""
    if p.shape[0] <= p.shape[1]:
        return None
    return torch.div((torch.linalg.pinv(p) @ response).mT, r[:, None, None])


def _matrix_spectrum(s: Tensor, j: Tensor | None, m: Measurement, r: Tensor) -> Spectrum:
    """Spectrum of a matrix of scores s (n, K, d), with the survival from the Jacobian j."""
    k, d = s.shape[1:]
    scaled = s.mT / (r * math.sqrt(k / d))[:, None, None]
    survival = None if j is None else dense_spectrum(j, m.t, "regression", r, vectors=False).survival
    if not m.vectors:
        return Spectrum(singular_values(scaled), m.t, "score-matrix", r, survival, d)
    v, values, _ = torch.linalg.svd(scaled, full_matrices=False)
    return Spectrum(values, m.t, "score-matrix", r, survival, d, left=v.mT)


def _scores(m: Measurement, r: Tensor, directions: Tensor, *, drawn: bool = True) -> Float[Tensor, "n k d"]:
    """Scores at x + r p for every point and direction p (k, d), float64; `drawn` states that the directions are random."""
    if (near := _around(m, directions, drawn)) is not None:
        return torch.stack([_moved(near(i), "moved", directions, r[i], m.t[i], m.x.dtype) for i in range(len(m.x))])
    (out,) = _evaluations(m, r, directions, (1.0,))
    return out


def _halves(m: Measurement, r: Tensor, directions: Tensor, *, drawn: bool = True) -> Float[Tensor, "n k d"]:
    """[s(x + r p) - s(x - r p)]/2, as `_scores`."""
    if (near := _around(m, directions, drawn)) is not None:
        return torch.stack([_moved(near(i), "mirrored", directions, r[i], m.t[i], m.x.dtype) for i in range(len(m.x))])
    plus, minus = _evaluations(m, r, directions, (1.0, -1.0))
    return (plus - minus) / 2


def _around(m: Measurement, directions: Tensor, drawn: bool) -> Callable[[int], Around] | None:
    """The empirical score around each point, if that is faster than evaluating the score directly; otherwise None.

    Consecutive equal points share one view.
    """
    score = m.score
    if not isinstance(score, EmpiricalScore) or directions.numel() * score.data.shape[0] < _WORTH:
        return None
    last: list[tuple[int, Around]] = []

    def near(i: int) -> Around:
        if not last or not torch.equal(m.x[i], m.x[last[0][0]]):
            last[:] = [(i, score.around(m.points[i], chance=_CHANCE if drawn else 0.0))]
        return last[0][1]

    return near


def _moved(
    near: Around, how: str, directions: Tensor, r: Tensor, t: Tensor, dtype: torch.dtype
) -> Float[Tensor, "k d"]:
    p = directions.to(r.device) * r
    out = near.mirrored(p, float(t), dtype) if how == "mirrored" else near.moved(p, float(t), dtype)
    finite(out, t.expand(out.shape[0]))
    return out


def _evaluations(m: Measurement, r: Tensor, directions: Tensor, signs: tuple[float, ...]) -> Iterator[Tensor]:
    """For each sign, the scores (n, k, d) at x + sign r p for every point and direction, float64."""
    n, d = m.x.shape
    steps = torch.cat([sign * directions for sign in signs]).to(m.x.device)
    k = steps.shape[0]
    out = torch.empty(n * k, d, dtype=torch.float64, device=m.x.device)
    for part in torch.arange(n * k, device=m.x.device).split(m.batch_size):
        point, step = part // k, part % k
        moved = m.x[point].to(torch.float64) + r[point, None] * steps[step]
        out[part] = _evaluated(m.score, moved.to(m.x.dtype), m.t[point])
    return iter(out.reshape(n, len(signs), k // len(signs), d).unbind(1))


def _evaluated(score: Score, rows: Tensor, t: Tensor) -> Tensor:
    """Scores (n, d) of rows (n, d), float64 and finite."""
    s = score(rows.reshape(rows.shape[0], *score.shape), t).reshape(rows.shape).to(torch.float64)
    finite(s, t)
    return s


@torch.no_grad()
def restricted(
    score: Score, x: Tensor, t: Tensor | float, basis: Float[Tensor, "d k"], *, batch_size: int = 4096
) -> Float[Tensor, "*b k k"]:
    """Q^T J Q for orthonormal columns Q (d, k), at points x (*b, *shape), by central differences of length sqrt(t d).

    This is J restricted to a subspace, such as the leading principal axes of the data, and takes 2k evaluations. For a nonlinear
    score it differs from the restriction of a Jacobian that was measured along other directions.

    Raises:
        InputError: As `spectrum`.
    """
    rows, times, batch, _ = checked(score, x, t, None)
    d, k = basis.shape
    r = (times * d).sqrt()
    with full_precision():
        measurement = Measurement(score, rows, times, None, None, False, batch_size, torch.Generator())
        inner = _halves(measurement, r, basis.T, drawn=False) / r[:, None, None] @ basis
    return inner.mT.reshape(*batch, k, k)


@torch.no_grad()
def mirrored(
    score: Score, x: Float[Tensor, "n d"], t: Float[Tensor, " n"], r: Float[Tensor, " n"], q: Tensor, batch_size: int
) -> Float[Tensor, "n k"]:
    """q_j^T J q_j by central differences of length r, for the columns q_j of q (d, k); scores are not stored."""
    n, k = x.shape[0], q.shape[1]
    out = torch.empty(n * k, dtype=torch.float64, device=x.device)
    with full_precision():
        for part in torch.arange(n * k, device=x.device).split(batch_size):
            point, direction = part // k, q.T[part % k]
            step = r[point, None] * direction
            here = x[point].to(torch.float64)
            plus, minus = (_evaluated(score, (here + sign * step).to(x.dtype), t[point]) for sign in (1, -1))
            out[part] = torch.sum(direction * (plus - minus), 1) / (2 * r[point])
    return out.reshape(n, k)
