"""The empirical score around one point: perturbations and times share the distances of all samples."""

import math
from collections.abc import Iterator
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.precision import full_precision
from geomem.scores.kernel import Near, accumulate, near
from geomem.scores.mixture import Mixture
from geomem.scores.sums import LOG2E, Sums

__all__ = ["Around"]

# If the mean of y - x is this many times shorter than p and the y - x0, the query is recomputed in float64.
_CANCELLED = 4
# Below this number of dimensions, everything is computed in float64.
_DIMENSIONS = 64


class Around(Mixture):
    """A view of an `EmpiricalScore` that stores the distances of all samples from one point, and is fast around it.

    Its values equal those of the original score, at any x, to the precision of x's dtype. Made by `EmpiricalScore.around`.

    Attributes:
        score: The original score.
        centre: x0 (d), float64.
        chance: Probability for random directions of omitting more than the precision allows.
    """

    def __init__(self, score: Mixture, centre: Float[Tensor, " d"], chance: float) -> None:
        super().__init__(score.data, score.memory)
        self.score, self.centre, self.chance = score, centre.detach().to(torch.float64).clone(), chance

    @torch.no_grad()
    def moved(self, p: Float[Tensor, "k d"], t: float, dtype: torch.dtype) -> Float[Tensor, "k d"]:
        """Scores at x0 + p, float64, to the accuracy of `dtype`; the sum x0 + p is never rounded."""
        out = torch.empty(p.shape, dtype=torch.float64, device=p.device)
        for part, (sums,) in self._accumulated(p.to(torch.float64), t, dtype, (1,)):
            torch.div(sums.shift, sums.weight[:, None] * t, out=out[part])
        return out

    @torch.no_grad()
    def mirrored(self, p: Float[Tensor, "k d"], t: float, dtype: torch.dtype) -> Float[Tensor, "k d"]:
        """Half the difference of the scores at x0 + p and at x0 - p, as in `moved`; both share their products with samples."""
        out = torch.empty(p.shape, dtype=torch.float64, device=p.device)
        for part, pair in self._accumulated(p.to(torch.float64), t, dtype, (1, -1)):
            ahead, behind = (sums.shift / (sums.weight[:, None] * t) for sums in pair)
            out[part] = (ahead - behind) / 2
        return out

    def _sums(self, x: Tensor, t: Tensor) -> Iterator[tuple[Tensor, Sums]]:
        dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
        values, which = torch.unique(t, return_inverse=True)
        if values.numel() > max(8, x.shape[0] // 8):  # one pass per time would take longer
            yield from self.score._sums(x, t)
            return
        x = x.detach()
        p = x.to(torch.float64).sub_(self.centre) if x.dtype != torch.float64 else x - self.centre
        fine = torch.isfinite(torch.linalg.vector_norm(p, dim=1))
        for i, time in enumerate(values.tolist()):
            rows = torch.nonzero((which == i) & fine).flatten()
            for part, (sums,) in self._accumulated(p if rows.numel() == len(p) else p[rows], time, dtype, (1,)):
                yield rows[part], sums
        lost = torch.nonzero(~fine).flatten()
        nothing = Sums.empty(lost.numel(), p.shape[1], p)  # weights of 0 make all results NaN
        yield lost, nothing

    def _accumulated(
        self, p: Tensor, t: float, dtype: torch.dtype, signs: tuple[int, ...]
    ) -> Iterator[tuple[slice, list[Sums]]]:
        """Sums for the queries x0 + sign p, in parts, as in `_sums`."""
        data, d = self._near, p.shape[1]
        if d < _DIMENSIONS:  # products are cheap, and float32 errors do not average out over few entries
            dtype = torch.float64
        tile = max(16, min(1024, self.memory // (16 * 8 * d)))
        # Memory beside the tile: about five numbers per pair, and eight per entry of a query.
        step = max(1, self.memory // 2 // (8 * len(signs) * (5 * tile + 8 * d)))
        # Each part is computed at most twice; both attempts share the chance.
        chance = self.chance / max(1, 2 * math.ceil(p.shape[0] / step))
        for start in range(0, p.shape[0], step):
            part = slice(start, min(p.shape[0], start + step))
            found = self._relative(data, p[part], t, dtype, signs, tile, chance)
            if dtype == torch.float32:
                # Where y - x nearly cancels in the mean, float32 keeps too few digits, and 1e-7 of the weight is too much to omit.
                length = torch.linalg.vector_norm(p[part], dim=1)
                lost = [
                    torch.linalg.vector_norm(s.shift, dim=1)
                    <= s.weight * torch.maximum(length, (s.spread / s.weight).sqrt()) / _CANCELLED
                    for s in found
                ]
                again = torch.nonzero(torch.stack(lost).any(0)).flatten()
                if again.numel():
                    better = self._relative(data, p[part][again], t, torch.float64, signs, tile, chance)
                    for sums, right in zip(found, better, strict=True):
                        sums.replace(again, right)
            yield part, found

    def _relative(
        self, data: Near, p: Tensor, t: float, dtype: torch.dtype, signs: tuple[int, ...], tile: int, chance: float
    ) -> list[Sums]:
        """The kernel's sums, in terms of |y - x|^2 and y - x."""
        # A CPU has no tf32, so global switches are left unchanged there.
        with torch.no_grad(), full_precision() if p.is_cuda else torch.autocast("cpu", enabled=False):
            found = accumulate(data, p, t, signs=signs, dtype=dtype, chance=chance, tile=tile)
        constant = -data.ordered[0] / 2 - torch.linalg.vector_norm(p, dim=1).square_() / 2
        for sign, sums in zip(signs, found, strict=True):
            if data.rounded is not None:  # y - x0 = (y - origin) + (origin - x0)
                sums.top += (sign * LOG2E / t) * (p @ data.rounded)
                sums.shift.addcmul_(sums.weight[:, None].to(dtype), data.rounded.to(dtype))
            # |y - x|^2 = D - 2 p.z + |p|^2, where the kernel's products are with y - origin.
            sums.top += constant * (LOG2E / t)
            sums.shift.addcmul_(sums.weight[:, None].to(dtype), p.to(dtype), value=-sign)
        return found

    def _distances(self, x: Tensor) -> Tensor:
        return self._near.squares if torch.equal(x.to(torch.float64), self.centre) else self.score._distances(x)

    @cached_property
    def _near(self) -> Near:
        return near(self._rows, self.centre)
