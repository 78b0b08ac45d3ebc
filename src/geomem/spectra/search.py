"""The search for leading survivals at points in lockstep; `spectra.leading` states the method."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from geomem.seeds import derived_generator
from geomem.spectra.basis import Basis
from geomem.spectra.products import Products

__all__ = ["Point", "Search"]

# Columns between checks: at least, and as a share of the basis.
_LEAST, _SHARE = 4, 0.05
# Checks without a change, Ritz values below the threshold that are watched, and the growth that is allowed for.
_QUIET, _WATCHED, _GROWTH = 3, 4, 4.0
# Ritz vectors whose residuals are added in a round of polishing, and vectors from another random start.
_POLISHED, _AGAIN = 4, 8
# Below so many dimensions the least basis, with one round of polishing, would exceed a third of them.
_SMALL = 96
# Values above the threshold by less than this are at it.
_TIE = 1e-9
# Probability that the certificate's bound does not hold.
_DOUBT = 0.01


class Point:
    """One point's basis, and what its checks said."""

    def __init__(self, d: int, above: float, device: torch.device) -> None:
        self.basis, self.above = Basis(d, device), above
        self.counts: list[int] = []
        self.last: Tensor | None = None
        self.found: tuple[Tensor, Tensor] = (torch.empty(0), torch.empty(0, d))
        self.exact = False
        self.residuals: list[float] = []
        self.bound = math.nan
        self.evaluations = 0

    def large(self, more: int = 0) -> bool:
        """Whether the basis, with so many vectors more, is so large that completing it costs little more."""
        return self.basis.d < _SMALL or 3 * (self.basis.k + more) > self.basis.d

    @property
    def quiet(self) -> bool:
        """Whether the count stayed the same at the last checks."""
        return len(self.counts) >= _QUIET and len(set(self.counts[-_QUIET:])) == 1

    def check(self) -> bool:
        """Note the count; whether none of the next Ritz values is on its way to the threshold."""
        values, _ = self.basis.ritz()
        m = self._count(values)
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
        m = self._count(values)
        return values[:m], z[:, :m].T @ self.basis.q

    def _count(self, values: Tensor) -> int:
        return int((values > self.above + _TIE).sum())

    def next_to(self, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The last Ritz value above the threshold and the next below, with their vectors y and A^T y."""
        values, z = self.basis.ritz()
        first = max(self._count(values) - 1, 0)
        near = slice(first, first + count)
        y, w = z[:, near].T @ self.basis.q, z[:, near].T @ self.basis.w
        return list(zip(values[near], y, w, strict=True))


class Search:
    """The search at points in lockstep: one product of each at a time."""

    def __init__(self, a: Products, places: range, d: int, above: float, seed: int, device: torch.device) -> None:
        self.all, self.d = a, d
        self.device = device
        self.points = [Point(d, above, device) for _ in places]
        # All points start alike; what is drawn later depends on a point's place alone, not on its neighbours.
        self.start = self._random(derived_generator(seed, "leading"))
        self.generators = [derived_generator(seed, "leading, again", place) for place in places]
        self._hold(a, list(range(len(places))))

    def run(self, residuals: bool, certificate: int) -> list[Point]:
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

    def _new(self, place: int, basis: Basis, v: Tensor) -> Tensor:
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
            moved = self._counted(some, self._on(some).rough, torch.stack([row[1] for row in rows]))
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
            outside = Basis(self.d, self.device)
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
