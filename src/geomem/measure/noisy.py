r"""Noisy points of images, at which a score and its reference are evaluated once, for all who ask.

    x = x0 + sqrt(t) eps      "image": the image with noise, where a model was trained to know it
    x = sqrt(t) eps           "noise": noise alone; of the image only its condition, such as its caption, is left
    x = sqrt(1 + t) eps       "unit noise": the start of a variance-preserving sampler, x' = a x of variance 1 at every level

with eps standard normal. At large t the last two are the same.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from geomem.measure.draws import signs
from geomem.scores.base import Score
from geomem.scores.pair import Pair
from geomem.spectra.exact import finite
from geomem.spectra.products import products

__all__ = ["STARTS", "Noisy"]

# Factor of the noise at t, and whether the image is added to it.
STARTS: dict[str, tuple[Callable[[float], float], bool]] = {
    "image": (lambda t: math.sqrt(t), True),
    "noise": (lambda t: math.sqrt(t), False),
    "unit noise": (lambda t: math.sqrt(1 + t), False),
}


@dataclass(frozen=True)
class Noisy:
    """Noisy points of n images at one noise level, k draws of each, and both scores there, each evaluated when first needed.

    Attributes:
        pair: The pair at these images: conditions for each point are theirs.
        images: Clean images x0 (n, *shape).
        t: Noise variance, data units squared.
        noise: Draws eps (n, k, *shape).
        start: One of `STARTS`.
        batch_size: Number of scores evaluated at once; at least n.
        first: Place of the first image in the list that it is of; its random vectors depend on its place.
        seed: Seed of random vectors.
    """

    pair: Pair
    images: Tensor
    t: float
    noise: Tensor
    start: str = "image"
    batch_size: int = 16
    first: int = 0
    seed: int = 0
    _held: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.images)

    @property
    def draws(self) -> int:
        """Number of draws k of each image."""
        return self.noise.shape[1]

    @property
    def dim(self) -> int:
        """Number of entries d of an image."""
        return math.prod(self.pair.shape)

    @property
    def factor(self) -> float:
        """Factor of the noise in x, data units."""
        return STARTS[self.start][0](self.t)

    @cached_property
    def x(self) -> Tensor:
        """The noisy points (n, k, *shape)."""
        moved = self.factor * self.noise
        return self.images[:, None] + moved if STARTS[self.start][1] else moved

    @cached_property
    def mirrored(self) -> "Noisy":
        """The same with -eps in place of eps."""
        return replace(self, noise=-self.noise, _held={})

    @cached_property
    def clean(self) -> "Noisy":
        """The images themselves, without noise, as one draw; the score is still that of noise level t."""
        return replace(self, noise=torch.zeros_like(self.images)[:, None], start="image", _held={})

    @property
    def score(self) -> Float[Tensor, "n k d"]:
        """s at x, float64."""
        return self._one("score", self.pair.score)

    @property
    def reference(self) -> Float[Tensor, "n k d"]:
        """r at x, float64."""
        return self._one("reference", self.pair.reference)

    @property
    def both(self) -> tuple[Float[Tensor, "n k d"], Float[Tensor, "n k d"]]:
        """s and r at x, float64; in one evaluation where the pair can."""
        if not self._held.keys() & {"score", "reference"}:
            self._held["score"], self._held["reference"] = self.at(self.x)
        return self.score, self.reference

    @property
    def difference(self) -> Float[Tensor, "n k d"]:
        """Ds at x, float64."""
        s, r = self.both
        return s - r

    def at(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and r (n, k, d), float64, at other points (n, k, *shape)."""
        s, r = self._evaluated(self.pair, x, 2)
        return s, r

    def pictures(self, values: Float[Tensor, "n k d"]) -> Tensor:
        """The mean over draws of values at each entry of an image (n, *shape)."""
        return values.mean(1).reshape(self.n, *self.pair.shape)

    def signs(self, count: int) -> Float[Tensor, "n count d"]:
        """Rademacher vectors of each image, the same for all draws, levels and scores."""
        places = range(self.first, self.first + self.n)
        drawn = signs(places, count, self.pair.shape, seed=self.seed, purpose="detectors, signs")
        return drawn.flatten(2).to(self.x.device, torch.float64)

    def diagonal(self, of: str, probes: int) -> Float[Tensor, "n k d"]:
        """Estimate of the diagonal of A = I + t J at x: the mean of v A^T v, entry by entry, over Rademacher vectors v.

        Its sum is Hutchinson's estimate (1990) of the trace, the degrees of freedom. Both are exact where A is diagonal. Otherwise the
        variance of an entry is sum_{j != i} A_ij^2 / probes (Bekas, Kokiopoulou and Saad 2007).

        Args:
            of: "score" or "reference".
            probes: Number of vectors; each takes one product with A^T.
        """
        name = f"{of}, diagonal by {probes}"
        if name not in self._held:
            score: Score = getattr(self.pair, of)
            vectors, out = self.signs(probes), torch.zeros(*self.x.shape[:2], self.dim).to(self.x.device, torch.float64)
            for j in range(self.draws):
                a = products(score, self.x[:, j], self.t)
                for v in vectors.unbind(1):
                    out[:, j] += v * a.transposed(v) / probes
            self._held[name] = out
        return self._held[name]

    def _one(self, name: str, score: Score) -> Tensor:
        if name not in self._held:
            (self._held[name],) = self._evaluated(lambda rows, t: (score(rows, t),), self.x, 1)
        return self._held[name]

    def _evaluated(self, scores: Callable[[Tensor, float], tuple[Tensor, ...]], x: Tensor, width: int) -> list[Tensor]:
        """Each of `width` scores (n, k, d), float64, at x (n, k, *shape)."""
        parts = []
        # Some draws of all images at a time, so that conditions for each image fit.
        for some in x.split(max(1, self.batch_size // (width * self.n)), 1):
            found = scores(some.flatten(0, 1), self.t)
            for values in found:
                finite(values, torch.full((len(values),), self.t))
            parts.append([values.reshape(*some.shape[:2], self.dim).to(torch.float64) for values in found])
        return [torch.cat(values, 1) for values in zip(*parts, strict=True)]
