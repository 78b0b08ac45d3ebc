r"""Leading survivals of a score's Jacobian without a d x d matrix: the eigenvalues of sym(A), A = I + t J, above a threshold.

For each point one orthonormal basis Q grows by one vector at a time, q_{k+1} the part of A^T q_k that is orthogonal to Q. With
W = A^T Q the compression of the symmetric part needs nothing else:

    H = Q^T sym(A) Q = (Q^T W + W^T Q)/2.

Its eigenvalues (Ritz values) lie below those of sym(A) one by one (Cauchy), whatever the basis. So they never overcount, and a
basis of backward products alone is as good as any other; it finds all but the last few eigenvalues in about 3 products each.

Stopping. The count above the threshold is the same at three checks, and none of the next four Ritz values would reach the
threshold if it grew four times as much again as since the last check. Then *polish*: the residuals sym(A) y - theta y of the eight
Ritz vectors y next to the threshold join the basis, and twelve vectors from another random start, without which a multiple eigenvalue
would be found once; until a round changes nothing. A basis that grows beyond d/3 is completed to d vectors, which makes the count exact.

Certificate. With Y the Ritz vectors above the threshold, the largest eigenvalue of sym(A) on the complement of Y bounds all
eigenvalues after the last one counted (Courant and Fischer). Lanczos with k steps from one random vector in n dimensions bounds it:
the largest Ritz value xi and the smallest eta are within e R of the ends of the spectrum, R its width, except with probability

    1.648 sqrt(n) exp(-(2k - 1) sqrt(e))    for each end (Kuczynski and Wozniakowski 1992),

so that lambda_max <= xi + e (xi - eta)/(1 - 2e).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from geomem.errors import InputError
from geomem.scores.base import Score
from geomem.seeds import derived_generator
from geomem.spectra.dimension import RESOLVED
from geomem.spectra.probes import checked
from geomem.spectra.products import Products, products

__all__ = ["Leading", "leading"]

# Columns between checks: at least, and as a share of the basis.
_LEAST, _SHARE = 4, 0.05
# Checks without a change, Ritz values below the threshold that are watched, and the growth that is allowed for.
_QUIET, _WATCHED, _GROWTH = 3, 4, 4.0
# Ritz vectors whose residuals are added in a round of polishing, and vectors from another random start.
_POLISHED, _AGAIN = 8, 12
# Shorter remainders of a unit vector are rounding.
_ROUNDING = 1e-8
# Values above the threshold by less than this are at it.
_TIE = 1e-9
# Probability that the certificate's bound does not hold.
_DOUBT = 0.01


@dataclass(frozen=True)
class Leading:
    """Eigenvalues of sym(I + t J) above a threshold at points (n), float64.

    Attributes:
        values: They (n, m), descending, m the largest count; NaN beyond a point's own. Lower bounds, which polishing makes close.
        vectors: Their eigenvectors (n, m, d), orthonormal; 0 beyond a point's own.
        residuals: |sym(A) y - theta y| (n, m) of each; NaN where they were not asked for, or where products with A^T cannot be had.
        count: How many there are (n); never more than the true number.
        bound: Certificate (n): except with probability 0.01, no other eigenvalue lies above. NaN where it was not asked for. Where
            the basis is complete, the next eigenvalue itself; infinite where products with A^T cannot be had.
        evaluations: Forward and backward passes spent on each point (n).
        exact: Whether the basis is complete (n), so that count and values are those of the whole matrix.
    """

    values: Float[Tensor, "n m"]
    vectors: Float[Tensor, "n m d"]
    residuals: Float[Tensor, "n m"]
    count: Int[Tensor, " n"]
    bound: Float[Tensor, " n"]
    evaluations: Int[Tensor, " n"]
    exact: Bool[Tensor, " n"]


def leading(
    score: Score,
    x: Tensor,
    t: Tensor | float,
    *,
    above: float = RESOLVED,
    residuals: bool = False,
    certificate: int = 0,
    together: int = 16,
    seed: int = 0,
) -> Leading:
    """Leading survivals at points as they are given: who wants noisy points adds the noise.

    Args:
        score: Any score; see `products`.
        x: Points (n, *shape), float32 or float64.
        t: Noise variance, () or (n), data units squared.
        above: Threshold of the eigenvalues; 1/2 is that of the resolved dimension.
        residuals: Also measure the residual of every vector that is returned; three evaluations each for a network.
        certificate: Number of Lanczos steps for the certificate, three evaluations each for a network; 0 for none.
        together: Number of points in lockstep; more are slower on a CPU.
        seed: Seed of the start vectors, which are the same for all points.

    Raises:
        InputError: As `spectrum`, and for a threshold that is not above 0.

    >>> from geomem.scores import GaussianScore
    >>> found = leading(GaussianScore(torch.tensor([4.0, 1.0] + 30 * [0.0])), torch.zeros(1, 32), 0.5)
    >>> found.values, found.count
    (tensor([[0.8889, 0.6667]], dtype=torch.float64), tensor([2]))
    """
    if not above > 0:
        raise InputError(f"above: must be above 0, got {above}.")
    if certificate < 0 or together < 1:
        raise InputError("certificate, together: must be at least 0 and 1.")
    rows, times, batch, _ = checked(score, x, t, None)
    if len(batch) != 1 or batch[0] == 0:
        raise InputError(f"x: has shape {tuple(x.shape)}; give points (n, {', '.join(map(str, score.shape))}).")
    points = x.detach().reshape(rows.shape[0], *score.shape)
    found: list[_Point] = []
    for some, at in zip(points.split(together), times.split(together), strict=True):
        places = range(len(found), len(found) + len(some))
        search = _Search(products(score, some, at), places, rows.shape[1], above, seed, rows.device)
        found += search.run(residuals, certificate)
    return _joined(found, rows.shape[1])


class _Basis:
    """Orthonormal vectors of one point as rows Q (k, d), with W = Q A, whose rows are A^T q, and H = Q A Q^T."""

    def __init__(self, d: int, device: torch.device) -> None:
        self.k, self.d = 0, d
        self._q, self._w, self._h = (torch.empty(0, n, dtype=torch.float64, device=device) for n in (d, d, 0))

    @property
    def full(self) -> bool:
        """Whether it spans the whole space."""
        return self.k == self.d

    @property
    def q(self) -> Tensor:
        return self._q[: self.k]

    @property
    def w(self) -> Tensor:
        return self._w[: self.k]

    def remainder(self, v: Tensor) -> Tensor | None:
        """The unit vector of what of v is orthogonal to the basis; None if that is rounding."""
        v = v / v.norm().clamp_min(torch.finfo(v.dtype).tiny)
        for _ in range(2):
            v = v - self.q.T @ (self.q @ v)
        left = v.norm()
        if left < _ROUNDING:
            return None
        v = v / left
        return v - self.q.T @ (self.q @ v) if left < 0.1 else v

    def add(self, q: Tensor, w: Tensor) -> None:
        """Append q with w = A^T q."""
        if self.k == len(self._q):
            self._grow()
        k = self.k
        self._q[k], self._w[k] = q, w
        self._h[: k + 1, k] = self._q[: k + 1] @ w
        self._h[k, :k] = self._w[:k] @ q
        self.k += 1

    def ritz(self) -> tuple[Tensor, Tensor]:
        """Ritz values of sym(A), descending, and their vectors (k, k) as columns in the basis."""
        values, vectors = torch.linalg.eigh(self.compressed(0))
        return values.flip(0), vectors.flip(1)

    def compressed(self, first: int) -> Tensor:
        """The symmetric part of H (k', k') without the first vectors."""
        h = self._h[first : self.k, first : self.k]
        return (h + h.T) / 2

    def _grow(self) -> None:
        size = min(self.d, max(64, 2 * self.k))
        for name, width in (("_q", self.d), ("_w", self.d), ("_h", size)):
            old = getattr(self, name)
            new = torch.zeros(size, width, dtype=old.dtype, device=old.device)
            new[: self.k, : old.shape[1]] = old[: self.k]
            setattr(self, name, new)


class _Point:
    """One point's basis, and what its checks said."""

    def __init__(self, d: int, above: float, device: torch.device) -> None:
        self.basis, self.above = _Basis(d, device), above
        self.counts: list[int] = []
        self.last: Tensor | None = None
        self.found: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0, d))
        self.exact = False
        self.residuals: list[float] = []
        self.bound = math.nan
        self.evaluations = 0

    def large(self, more: int = 0) -> bool:
        """Whether the basis, with so many vectors more, is so large that completing it costs little more."""
        return 3 * (self.basis.k + more) > self.basis.d

    @property
    def quiet(self) -> bool:
        """Whether the count stayed the same at the last checks."""
        return len(self.counts) >= _QUIET and len(set(self.counts[-_QUIET:])) == 1

    def check(self) -> bool:
        """Note the count; whether none of the next Ritz values is on its way to the threshold."""
        values, _ = self.basis.ritz()
        m = int((values > self.above + _TIE).sum())
        self.counts.append(m)
        before, self.last = self.last, values
        if before is None:
            return False
        now, then = values[m : m + _WATCHED], before[m : m + _WATCHED]
        if len(then) < _WATCHED:
            return False
        return bool(torch.all(now + _GROWTH * (now - then) < self.above))

    def settled(self) -> bool:
        """Whether a round of polishing changed nothing, or made the basis complete."""
        before = self.counts[-1] if self.counts else -1
        return self.basis.full or (self.check() and self.counts[-1] == before)

    def leading(self) -> tuple[Tensor, Tensor]:
        """Values above the threshold (m) and their vectors (m, d)."""
        values, z = self.basis.ritz()
        m = int((values > self.above + _TIE).sum())
        return values[:m], z[:, :m].T @ self.basis.q

    def next_to(self, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Ritz values next to the threshold, with their vectors y and A^T y."""
        values, z = self.basis.ritz()
        nearest = (values - self.above).abs().argsort()[:count]
        y, w = z[:, nearest].T @ self.basis.q, z[:, nearest].T @ self.basis.w
        return list(zip(values[nearest], y, w, strict=True))


class _Search:
    """The search at points in lockstep: one product of each at a time."""

    def __init__(self, a: Products, places: range, d: int, above: float, seed: int, device: torch.device) -> None:
        self.all, self.d, self.above = a, d, above
        self.device = device
        self.points = [_Point(d, above, device) for _ in places]
        # All points start alike; what is drawn later depends on a point's place alone, not on its neighbours.
        self.start = self._random(derived_generator(seed, "leading"))
        self.generators = [derived_generator(seed, "leading, again", place) for place in places]
        self._hold(a, list(range(len(places))))

    def run(self, residuals: bool, certificate: int) -> list[_Point]:
        """All points, in the order given."""
        self._krylov()
        open_ = [i for i, point in enumerate(self.points) if not point.basis.full]
        while open_:  # every round adds to the bases, which end at d
            self._polish(open_)
            open_ = [i for i in open_ if not self.points[i].settled()]
        for point in self.points:
            point.found = point.leading()
        if residuals and self.all.transposes:
            self._residuals()
        if certificate:
            self._certify(certificate)
        for point in self.points:
            point.exact = point.basis.full
            del point.basis  # as large as the graph
        return self.points

    def _krylov(self) -> None:
        """Grow the bases until their counts are quiet.

        The graph is made anew for those at work once a quarter of the points are done; what these gained until then is dropped, so
        that no point depends on its neighbours.
        """
        at_work = list(range(len(self.points)))
        vectors = [self.start] * len(at_work)
        due = dict.fromkeys(at_work, _LEAST)
        done: dict[int, int] = {}
        while at_work:
            following = self._extend(at_work, vectors)
            for i in at_work:
                point = self.points[i]
                if i in done:
                    continue
                if point.basis.full:
                    done[i] = point.basis.k
                elif point.basis.k >= due[i] and not point.large():
                    due[i] = point.basis.k + max(_LEAST, round(_SHARE * point.basis.k))
                    if point.check() and point.quiet:
                        done[i] = point.basis.k
            left = [i for i in at_work if i not in done]
            if 4 * (len(at_work) - len(left)) < len(at_work):
                left = [i for i in at_work if not self.points[i].basis.full]
            vectors = [v for i, v in zip(at_work, following, strict=True) if i in left]
            at_work = left
        for i, k in done.items():
            self.points[i].basis.k = k

    def _extend(self, places: Sequence[int], vectors: Sequence[Tensor]) -> list[Tensor]:
        """Add one unit vector to the basis of each place; what of its product is new there, for the next."""
        following = []
        for i, q, w in zip(places, vectors, self._transposed(places, torch.stack(list(vectors))), strict=True):
            basis = self.points[i].basis
            basis.add(q, w)
            following.append(q if basis.full else self._new(i, basis, w))
        return following

    def _new(self, place: int, basis: _Basis, v: Tensor) -> Tensor:
        """The part of v outside a point's basis, or of random vectors where nothing is left of v."""
        left = basis.remainder(v)
        while left is None:
            left = basis.remainder(self._random(self.generators[place]))
        return left

    def _random(self, generator: torch.Generator) -> Tensor:
        v = torch.randn(self.d, generator=generator, dtype=torch.float64)
        return torch.nn.functional.normalize(v, dim=0).to(self.device)

    def _polish(self, places: Sequence[int]) -> None:
        """Add the residuals of the Ritz vectors next to the threshold to each basis; complete a basis that is large."""
        near = {i: self.points[i].next_to(_POLISHED) for i in places if not self.points[i].large(_POLISHED)}
        for j in range(_POLISHED):
            some = [i for i in near if j < len(near[i])]
            if not some:
                break
            rows = [near[i][j] for i in some]
            moved = self._plain(some, torch.stack([row[1] for row in rows]))
            new = [
                self._new(i, self.points[i].basis, (a + w) / 2 - theta * y)
                for i, a, (theta, y, w) in zip(some, moved, rows, strict=True)
            ]
            self._extend(some, new)
        # One Krylov space holds one vector of a multiple eigenvalue: another start finds the next.
        some = list(near)
        vectors = [self._new(i, self.points[i].basis, self._random(self.generators[i])) for i in some]
        for _ in range(_AGAIN):
            some = [i for i in some if not self.points[i].basis.full]
            if not some:
                break
            vectors = self._extend(some, vectors)
            vectors = [v for i, v in zip(some, vectors, strict=True) if not self.points[i].basis.full]
        large = [i for i in places if i not in near or self.points[i].large()]
        while large := [i for i in large if not self.points[i].basis.full]:
            bases = [self.points[i].basis for i in large]
            self._extend(large, [self._new(i, basis, basis.w[-1]) for i, basis in zip(large, bases, strict=True)])

    def _residuals(self) -> None:
        for j in range(max(len(point.found[0]) for point in self.points)):
            some = [i for i, point in enumerate(self.points) if j < len(point.found[0])]
            y = torch.stack([self.points[i].found[1][j] for i in some])
            both = (self._plain(some, y) + self._transposed(some, y)) / 2
            for i, a, v in zip(some, both, y, strict=True):
                self.points[i].residuals.append(float((a - self.points[i].found[0][j] * v).norm()))

    def _certify(self, steps: int) -> None:
        """Lanczos on the complement of the vectors that were found, with every basis kept orthogonal."""
        some = []
        for i, point in enumerate(self.points):
            m = len(point.found[0])
            if point.basis.full:
                rest = point.basis.ritz()[0][m:]
                point.bound = float(rest[0]) if len(rest) else -math.inf
            elif self.all.transposes:
                some.append(i)
            else:
                point.bound = math.inf
        bases, inner, vectors = {}, {}, {}
        for i in some:
            outside = _Basis(self.d, self.device)
            for y in self.points[i].found[1]:
                outside.add(y, y)
            bases[i], inner[i] = outside, outside.k
            vectors[i] = self._new(i, outside, self._random(self.generators[i]))
        for _ in range(steps):
            at_work = [i for i in some if not bases[i].full]
            if not at_work:
                break
            v = torch.stack([vectors[i] for i in at_work])
            back, ahead = self._transposed(at_work, v), self._plain(at_work, v)
            for i, q, w, u in zip(at_work, v, back, ahead, strict=True):
                # The compression needs A^T q alone, which is more accurate than differences; the next vector needs both.
                bases[i].add(q, w)
                if not bases[i].full:
                    vectors[i] = self._new(i, bases[i], (w + u) / 2)
        for i in some:
            self.points[i].bound = _bound(bases[i].compressed(inner[i]), self.d - inner[i])

    def _hold(self, a: Products, places: list[int]) -> None:
        self.a, self.held = a, places
        for i in places:
            self.points[i].evaluations += a.evaluations

    def _on(self, places: Sequence[int]) -> Products:
        if list(places) != self.held:
            self._hold(self.all.kept(torch.as_tensor(places, device=self.device)), list(places))
        return self.a

    def _transposed(self, places: Sequence[int], v: Tensor) -> Tensor:
        return self._counted(places, self._on(places).transposed, v)

    def _plain(self, places: Sequence[int], v: Tensor) -> Tensor:
        return self._counted(places, self._on(places).plain, v)

    def _counted(self, places: Sequence[int], product: Callable[[Tensor], Tensor], v: Tensor) -> Tensor:
        before = self.a.evaluations
        out = product(v)
        for i in places:
            self.points[i].evaluations += self.a.evaluations - before
        return out


def _bound(t: Tensor, n: int) -> float:
    """Upper bound of the largest eigenvalue in n dimensions, from the compression t (k, k) to a Krylov space of a random vector."""
    values = torch.linalg.eigvalsh(t)
    low, high = float(values[0]), float(values[-1])
    if len(t) == n:
        return high
    # Both ends of the spectrum, each with half of the doubt.
    error = (math.log(1.648 * math.sqrt(n) / (_DOUBT / 2)) / (2 * len(t) - 1)) ** 2
    return high + error * (high - low) / (1 - 2 * error) if error < 0.5 else math.inf


def _joined(points: Sequence[_Point], d: int) -> Leading:
    n, m = len(points), max((len(point.found[0]) for point in points), default=0)
    device = points[0].found[0].device
    values = torch.full((n, m), math.nan, dtype=torch.float64, device=device)
    vectors = torch.zeros(n, m, d, dtype=torch.float64, device=device)
    residuals = torch.full((n, m), math.nan, dtype=torch.float64, device=device)
    for i, point in enumerate(points):
        k = len(point.found[0])
        values[i, :k], vectors[i, :k] = point.found
        residuals[i, : len(point.residuals)] = torch.tensor(point.residuals, dtype=torch.float64)
    return Leading(
        values,
        vectors,
        residuals,
        torch.tensor([len(point.found[0]) for point in points], device=device),
        torch.tensor([point.bound for point in points], dtype=torch.float64, device=device),
        torch.tensor([point.evaluations for point in points], device=device),
        torch.tensor([point.exact for point in points], device=device),
    )
