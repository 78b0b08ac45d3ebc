"""The one measurement function: spectra of scores at points and noise variances, with every reading.

Audits, sweeps, the demo and the paper's networks all record what `observe` returns, so a new reading appears in all of them.
The dimensions of its arrays are score x set x point x t and, where they apply, direction or reading.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from geomem.measure.directions import Axes, directions_at
from geomem.scores import EmpiricalScore, Score
from geomem.scores.network import dtype_of
from geomem.seeds import derived_generator
from geomem.spectra import MEMORY, Spectrum, batch_within, full_precision, spectrum, trace
from geomem.spectra.dimension import READINGS, Reading, read

__all__ = ["HELD_OUT", "SETS", "TRAINING", "Source", "observe"]

TRAINING, HELD_OUT = SETS = ("training", "held-out")
_TIME = {"units": "data units squared", "long_name": "noise variance"}
# Number of Jacobian entries formed at once.
_ENTRIES = 2**24


@dataclass(frozen=True)
class Source:
    """A score, and how it is probed.

    Attributes:
        score: The score.
        probe: One of `spectra.PROBES`; None for the probe given to `observe`.
        device: Device on which the score is evaluated.
        batch_size: Number of scores evaluated at once; None for as many as fit into memory.
        dtype: Dtype of the points; None for the dtype in which the score is computed.
    """

    score: Score
    probe: str | None = None
    device: str = "cpu"
    batch_size: int | None = None
    dtype: torch.dtype | None = None


def observe(
    sources: Mapping[str, Score | Source],
    points: Mapping[str, Tensor],
    times: Sequence[float],
    *,
    probe: str | None = None,
    readings: Mapping[str, Reading] | None = None,
    directions: int | None = None,
    draws: int = 0,
    shown: tuple[float, Axes] | None = None,
    seed: int = 0,
    memory: int = MEMORY,
    tell: Callable[[float], None] = lambda share: None,
) -> xr.Dataset:
    """Evaluate scores at points and noise variances.

    Args:
        sources: The scores, by name.
        points: Points (n, *shape) of each set, by name; sets may differ in size.
        times: Noise variances t, data units squared.
        probe: One of `spectra.PROBES`, for sources without their own; None for the default of the score.
        readings: Readings of the spectrum; None for `READINGS`.
        directions: Number of random directions, if all d are too many; then only the sum of survival is measured. None for all.
        draws: Number of noise draws for the denoising error; 0 to omit it.
        shown: A time and principal axes of the data; directions kept and lost at this time are recorded as vectors.
        seed: Seed of random directions and noise, which all scores, points and times share.
        memory: Memory budget of a network's evaluations, in bytes.
        tell: Called with the share done.

    Returns:
        Over (score, set, point, t): `pull` (t |s|^2), `denoising` (squared error of the denoised point, data units squared,
        summed over entries, mean over draws), `effective_samples` (NaN except for empirical scores), and, for random directions,
        `degrees_of_freedom_error`. Also over `direction`: `survival`, `singular_value` (1/data units squared). Also over
        `reading`: `dimension` (NaN if a reading finds none). With `shown`, over (score, set, point): see `directions.example`.
        Smaller sets are padded with NaN.

    Raises:
        InputError: As in `spectra.spectrum`.

    >>> from geomem.scores import GaussianScore
    >>> gaussian = GaussianScore(torch.tensor([1.0, 1.0, 0.0]))
    >>> found = observe({"exact": gaussian}, {"held-out": torch.zeros(1, 3)}, [0.1])
    >>> float(found["dimension"].sel(reading="resolved").squeeze())
    2.0
    """
    measured = {name: s if isinstance(s, Source) else Source(s) for name, s in sources.items()}
    total, done, by_score = len(measured) * len(points) * len(times), 0, []
    with torch.no_grad(), full_precision():
        for source in measured.values():
            look = _Look(source, probe, readings or READINGS, directions, draws, shown, seed, memory)
            by_set = []
            for x in points.values():
                by_time = []
                for t in times:
                    by_time.append(look.at(x, float(t)))
                    done += 1
                    tell(done / total)
                at = xr.concat(by_time, xr.Variable("t", list(times), _TIME))
                by_set.append(at if shown is None else at.merge(look.shown_at(x)))
            by_score.append(xr.concat(by_set, xr.Variable("set", list(points)), join="outer"))
        return xr.concat(by_score, xr.Variable("score", list(measured)), join="outer")


class _Look:
    """Measures one source."""

    def __init__(
        self,
        source: Source,
        probe: str | None,
        readings: Mapping[str, Reading],
        directions: int | None,
        draws: int,
        shown: tuple[float, Axes] | None,
        seed: int,
        memory: int,
    ) -> None:
        self.score, self.device = source.score, source.device
        self.probe = source.probe or probe
        self.readings, self.directions, self.draws = readings, directions, draws
        self.focus = None if shown is None else shown[0]
        self.axes = None if shown is None else shown[1]
        self.seed, self.dtype = seed, source.dtype or dtype_of(source.score)
        self.batch = source.batch_size or batch_within(self.score, memory, dtype=self.dtype, device=self.device)
        self.found: list[Spectrum] = []

    def at(self, x: Tensor, t: float) -> xr.Dataset:
        """All variables at points x (n, *shape) and one time."""
        points = x.to(self.device).to(self.dtype)
        still = torch.cat([self.score(part, t) for part in points.split(self.batch)]).to(torch.float64)
        pull = (t * still.flatten(1).square().sum(1)).cpu().numpy()
        found = xr.Dataset({"pull": ("point", pull, {"units": "dimensions", "long_name": "t |s|^2"})})
        if isinstance(self.score, EmpiricalScore):
            active = self.score.effective_samples(points, t).cpu().numpy()
            found["effective_samples"] = ("point", active, {"units": "samples", "long_name": "1 / sum of w^2"})
        if self.draws:
            error = {"units": "data units squared", "long_name": "squared denoising error, sum over entries"}
            found["denoising"] = ("point", self._denoising(points, t), error)
        if self.directions is not None:
            found = found.merge(self._sums(points, t, pull))
        else:
            found = found.merge(self._spectra(points, still, t))
        return found.assign_coords(point=np.arange(len(x)))

    def shown_at(self, x: Tensor) -> xr.Dataset:
        """Directions kept and lost at points x and time `focus`."""
        assert self.axes is not None
        assert self.focus is not None
        points = x.to(self.device).to(self.dtype)
        known: list[Spectrum | None] = [*self.found] or [None] * len(points)
        parts = [
            directions_at(self.score, point, self.focus, self.axes, seen=at, batch_size=self.batch)
            for point, at in zip(points, known, strict=True)
        ]
        self.found = []
        return xr.concat(parts, "point").assign_coords(point=np.arange(len(x)))

    def _spectra(self, points: Tensor, still: Tensor, t: float) -> xr.Dataset:
        d = still[0].numel()
        vectors = self.focus is not None and t == self.focus
        parts = []
        # One Jacobian of large images may fill the memory.
        for some, score in zip(points.split(step := max(1, _ENTRIES // d**2)), still.split(step), strict=True):
            generator = derived_generator(self.seed, "probe")
            spectra = spectrum(
                self.score, some, t, probe=self.probe, vectors=vectors, batch_size=self.batch, generator=generator
            )
            if vectors:
                self.found += _one_by_one(spectra)
            parts.append(self._read(spectra, score))
        return xr.concat(parts, "point")

    def _read(self, spectra: Spectrum, score: Tensor) -> xr.Dataset:
        values = read(spectra, score=score, readings=self.readings)
        out = xr.Dataset(
            {
                "dimension": (("reading", "point"), np.stack(list(values.values())), {"units": "dimensions"}),
                "singular_value": (
                    ("point", "direction"),
                    spectra.values.cpu().numpy(),
                    {"units": "1 / data units squared", "long_name": "singular values of J, descending"},
                ),
            },
            coords={"reading": list(values), "direction": np.arange(1, spectra.values.shape[-1] + 1)},
        )
        if spectra.survival is not None:
            kappa = {"units": "1", "long_name": "eigenvalues of I + t J, descending"}
            out["survival"] = (("point", "direction"), spectra.survival.cpu().numpy(), kappa)
        return out

    def _sums(self, points: Tensor, t: float, pull: np.ndarray) -> xr.Dataset:
        """Degrees of freedom from random directions, and FLIPD, which adds t |s|^2; the other readings need all directions."""
        assert self.directions is not None
        generator = derived_generator(self.seed, "probe")
        sums = trace(self.score, points, t, probes=self.directions, batch_size=self.batch, generator=generator)
        dof = sums.degrees_of_freedom.cpu().numpy()
        names = [*self.readings, "flipd"]
        values = np.full((len(names), len(points)), np.nan)
        if "degrees_of_freedom" in names:
            values[names.index("degrees_of_freedom")] = dof
        values[-1] = dof + pull
        error = {"units": "dimensions", "long_name": "standard error from random directions"}
        return xr.Dataset(
            {
                "dimension": (("reading", "point"), values, {"units": "dimensions"}),
                "degrees_of_freedom_error": ("point", t * sums.error.cpu().numpy(), error),
            },
            coords={"reading": names},
        )

    def _denoising(self, points: Tensor, t: float) -> np.ndarray:
        """Mean over draws of |D(x) - x0|^2, with the same noise for every score, point and time."""
        shape = points.shape[1:]
        noise = torch.randn(
            self.draws, *shape, generator=derived_generator(self.seed, "denoising"), dtype=torch.float64
        )
        steps = t**0.5 * noise.to(points)
        out = np.empty(len(points))
        for i, clean in enumerate(points):
            noisy = clean + steps
            denoised = noisy + t * torch.cat([self.score(part, t) for part in noisy.split(self.batch)])
            out[i] = float((denoised - clean).to(torch.float64).flatten(1).square().sum(1).mean())
        return out


def _one_by_one(spectra: Spectrum) -> list[Spectrum]:
    """The spectra of a batch (n), each by itself."""

    def of(a: Tensor | None, i: int) -> Tensor | None:
        return None if a is None else a[i]

    return [
        Spectrum(
            spectra.values[i],
            spectra.t[i],
            spectra.kind,
            of(spectra.radius, i),
            of(spectra.survival, i),
            spectra.dim,
            of(spectra.left, i),
            of(spectra.right, i),
        )
        for i in range(len(spectra.values))
    ]
