"""The records of `geomem data`, each made from the data and the records before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.data import DataSet, Split
from geomem.data.rows import divided, hold_out_count
from geomem.data.selection import Selection
from geomem.errors import InputError
from geomem.jobs.data.request import SMALLEST, DataRequest
from geomem.jobs.duplicates import DUPLICATES
from geomem.jobs.job import Part, Tell
from geomem.measure.condensation import condensation
from geomem.measure.isolated import half_weight_times
from geomem.measure.posterior import posterior_cell
from geomem.measure.predicted import information_needed, predicted, predicted_sizes
from geomem.measure.principal import COORDINATES, Prepared, prepare
from geomem.precision import one_thread
from geomem.records import Run
from geomem.seeds import derived_seed

__all__ = ["Extent", "Inputs", "Work", "extent_of", "joined", "posterior_seconds", "steps_of_sizes"]

# Images shown at each end of a ranking, and principal directions that are recorded.
_ENDS, _DIRECTIONS = 10, 96
# Training-set sizes by default, each a fourth of the next.
_SIZES, _STEP = 6, 4
# Seconds of one core, measured: a weight of a sample at a point; a spectrum, a row behind it, and a product of two of its coordinates.
_WEIGHT_SECONDS, _SPECTRUM_SECONDS, _ROW_SECONDS, _PRODUCT_SECONDS = 1e-7, 3e-4, 4e-7, 2e-11
# And a drawn spectrum of theory in so many dimensions.
_DRAW_SECONDS, _SPECTRUM_DIM = 0.02, 800


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        points: Training points and held-out points that are looked at.
        spectra: Those of them whose spectra are computed.
        ranked: Training points that are ranked by how long they hold half of their posterior.
        repeats: Independent subsets of each size.
        steps: Times below and above the middle of the grid.
        reach: Ratio of the last time to the middle one.
    """

    points: int
    spectra: int
    ranked: int
    repeats: int
    steps: int
    reach: float


def extent_of(quick: bool) -> Extent:
    """How much is measured by default, or quickly."""
    return Extent(24, 8, 64, 1, 6, 30.0) if quick else Extent(64, 32, 512, 3, 12, 30.0)


@dataclass(frozen=True)
class Inputs:
    """What a request names, loaded: the data, generated samples, and held-out data to compare those with."""

    real: DataSet
    made: DataSet | None
    held_out: DataSet | None


def steps_of_sizes(n: int, asked: tuple[int, ...]) -> tuple[int, ...]:
    """Training-set sizes, ascending: those asked for and all n, or fourfold steps up to n.

    >>> steps_of_sizes(1438, ()), steps_of_sizes(1438, (100,))
    ((22, 89, 359, 1438), (100, 1438))
    """
    chosen = {*asked, n} if asked else {n // _STEP**k for k in range(_SIZES)}
    return tuple(sorted(size for size in chosen if size >= SMALLEST))


class Work:
    """Makes the records; what several need is computed once."""

    def __init__(self, run: Run, request: DataRequest, inputs: Inputs) -> None:
        self.run, self.request, self.real = run, request, inputs.real
        self.extent = extent_of(request.quick)

    @cached_property
    def duplicates(self) -> xr.Dataset:
        """Their record."""
        return self.run.load(DUPLICATES)

    @cached_property
    def keep(self) -> NDArray[np.int64]:
        """Rows that are used: distinct, and no more than the limit."""
        return np.asarray(self.duplicates["row"].values)

    @cached_property
    def split(self) -> Split:
        """Training rows and held-out rows, as places in `keep`."""
        count = hold_out_count(self.real, self.keep.size, self.request.hold_out)
        return divided(self.real, self.duplicates, count, seed=self.request.seed)

    @cached_property
    def data(self) -> Prepared:
        """The rows that are used, centred, with their principal axes."""
        train = Selection(self.real, self.keep[self.split.order])
        with one_thread():  # also where a stage that uses them may take all cores
            return prepare(train, self.real.rows(self.keep[self.split.held_out]))

    @property
    def points(self) -> int:
        """Points of each set that are looked at."""
        return min(self.extent.points, self.split.held_out.size)

    @property
    def spectra(self) -> int:
        """Those of them whose spectra are computed."""
        return min(self.extent.spectra, self.points)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training samples."""
        return steps_of_sizes(self.split.order.size, self.request.sizes)

    @cached_property
    def half(self) -> float:
        """Noise variance at which half of the weights at held-out points fall on one sample."""
        half = float(self.run.load("condensation")["half"])
        if not np.isfinite(half):
            raise InputError(
                f"{self.real.name}: at no noise level do half of the weights at held-out points fall on one sample; these data "
                "are so nearly alike that there is nothing to measure."
            )
        return half

    @property
    def focus(self) -> float:
        """The reference t: asked for, or `half`."""
        return self.request.t or self.half

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Times around the reference t, log-spaced."""
        middle, reach = self.focus, self.extent.reach
        first, last = min(middle, self.half) / reach, max(middle, self.half) * reach
        step = reach ** (1 / self.extent.steps)
        below, above = (int(np.ceil(np.log(r) / np.log(step) - 1e-9)) for r in (middle / first, last / middle))
        return np.asarray(middle * step ** np.arange(-below, above + 1))

    def condensation(self) -> xr.Dataset:
        """When the score condenses, also with one training row of each group of near duplicates alone."""
        group = self.duplicates["group"].values
        alone = (group == np.arange(group.size))[self.split.order]
        return condensation(self.data, self.points, self.spectra, alone)

    def described(self) -> xr.Dataset:
        """What the page shows of the data themselves: numbers of rows, plug-in variances, principal directions."""
        real, data, duplicates = self.real, self.data, self.duplicates
        shown = min(_DIRECTIONS, data.variances.size)
        pairs = duplicates["pair"].values
        return xr.Dataset(
            {
                "training": ("place", self.keep[self.split.order], {"long_name": "training rows in nested order"}),
                "held_out": ("apart", self.keep[self.split.held_out], {"long_name": "held-out rows"}),
                "variance": ("component", data.variances, {"units": "data units squared"}),
                "direction": (("shown", "value"), data.axes[:, :shown].T.numpy(), {"units": "1"}),
                "mean": ("value", data.mean.numpy(), {"units": "data units"}),
            },
            attrs={
                "source": real.name,
                "kind": real.kind,
                "n": len(real),
                "used": self.keep.size,
                "shape": np.asarray(real.shape),
                "dim": real.dim,
                "pixels": int(real.pixels),
                "pictures": int(real.image_shape is not None),
                "fitted": data.fitted,
                "focus": float(self.times[np.argmin(abs(np.log(self.times / self.focus)))]),
                "asked_t": float(self.request.t or 0.0),
                "exact_rows": duplicates.sizes["repeats"],
                "exact_groups": len(np.unique(duplicates["original"].values)),
                "near_pairs": len(pairs),
                "near_rows": len(np.unique(pairs)),
                "near_threshold": duplicates.attrs["threshold"],
                "typical_distance": duplicates.attrs["typical"],
                "notes": list(real.notes),
            },
        )

    def cells(self) -> Sequence[Part]:
        """The posterior for every size and subset, the largest first."""
        n, repeats = self.split.order.size, self.extent.repeats
        seeds = [derived_seed(self.request.seed, "subset", k) for k in range(1, repeats)]
        orders = [np.arange(n), *(np.random.default_rng(seed).permutation(n) for seed in seeds)]

        def cell(size: int, k: int, tell: Tell) -> xr.Dataset:
            made = posterior_cell(self.data, orders[k][:size], self.times, self.points, self.spectra)
            return made.expand_dims(size=[size], subset=[k])

        parts = []
        for size in sorted(self.sizes, reverse=True):
            for k in range(1 if size == n else repeats):
                label = f"posterior over {size:,} samples" + (
                    f", subset {k + 1} of {repeats}" if size < n and repeats > 1 else ""
                )
                parts.append(Part(f"posterior_{size}_{k}", label, partial(cell, size, k), size))
        return parts

    def theory(self) -> Sequence[Part]:
        """What theory predicts, for every size."""

        def made(size: int, tell: Tell) -> xr.Dataset:
            return predicted(self.data, size, self.times, self.points, self.request.seed)

        sizes = predicted_sizes(self.sizes)
        return [Part(f"theory_{n}", f"what theory predicts · {n:,} samples", partial(made, n)) for n in sizes]

    def theory_joined(self, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """These, with the information that they need."""
        joined: xr.Dataset = xr.concat(list(parts), "size")
        return joined.assign(nats=information_needed(self.data, self.times, self.points))

    def theory_seconds(self) -> float:
        """About how long that takes on one core."""
        draws = len(predicted_sizes(self.sizes)) * self.times.size * self.points
        return draws * min(self.real.dim, _SPECTRUM_DIM) / _SPECTRUM_DIM * _DRAW_SECONDS

    def ranked(self) -> xr.Dataset:
        """Half-weight times of training points, and pictures of those at both ends with their nearest neighbours."""
        rows = self.keep[self.split.order]
        chosen = np.arange(min(self.extent.ranked, rows.size))
        times, nearest = half_weight_times(self.data, chosen)
        order = np.argsort(-times)
        half = min(_ENDS, order.size // 2)
        ends = np.concatenate([order[:half], order[::-1][:half]])
        return xr.Dataset(
            {
                "half_weight_time": ("ranked", times, {"units": "data units squared"}),
                "row": ("ranked", rows[chosen], {"long_name": "row of the data"}),
                "label": ("ranked", [self.real.label(int(i)) for i in rows[chosen]]),
                "neighbour_label": ("ranked", [self.real.label(int(i)) for i in rows[nearest]]),
                "end": ("shown", ends, {"long_name": "place in ranked: the most isolated, then the least isolated"}),
                "picture": (("shown", "value"), self.real.rows(rows[chosen[ends]]).numpy(), {"units": "data units"}),
                "neighbour": (("shown", "value"), self.real.rows(rows[nearest[ends]]).numpy(), {"units": "data units"}),
            }
        )


def posterior_seconds(cells: Sequence[int], dim: int, extent: Extent) -> float:
    """About how long the posterior takes on one core, for these numbers of rows, one a cell."""
    each = _ROW_SECONDS + min(dim, COORDINATES) ** 2 * _PRODUCT_SECONDS
    spectra = 2 * extent.spectra * sum(_SPECTRUM_SECONDS + n * each for n in cells)
    return (2 * extent.steps + 1) * (spectra + 2 * extent.points * sum(cells) * _WEIGHT_SECONDS)


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Cells as one record."""
    out = xr.combine_by_coords(list(parts), join="outer", combine_attrs="override")
    assert isinstance(out, xr.Dataset)
    return out
