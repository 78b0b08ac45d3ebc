"""The stages of an audit, each saved when it is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from time import perf_counter

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from geomem.data import DataSet, Split, nested_split
from geomem.data.duplicates import distinct_rows, near_duplicates
from geomem.errors import InputError
from geomem.jobs.audit.settings import AuditSettings, kept_apart, steps_of_sizes
from geomem.jobs.progress import Stages
from geomem.measure.copies import neighbour_distances, ratios
from geomem.measure.posterior import (
    Prepared,
    condensation,
    half_weight_times,
    information_needed,
    local_directions,
    posterior_cell,
    predicted,
    prepare,
)
from geomem.records import Run
from geomem.seeds import derived_seed

__all__ = ["ARRAYS", "SHARES", "Piece", "Work"]

# Share of the whole time that each stage takes, measured on 60,000 images of 28x28 pixels.
SHARES = {
    "duplicates": 0.1,
    "condensation": 0.03,
    "data": 0.0,
    "posterior": 0.73,
    "theory": 0.11,
    "directions": 0.01,
    "memorized": 0.02,
    "copies": 0.0,  # none were given there
}
# The arrays of a finished audit; those of copies only where samples were given.
ARRAYS = ("duplicates", "data", "condensation", "posterior", "theory", "directions", "memorized")
_CELLS = "posterior"
# Pictures on the page: images ranked at each end, principal directions, directions at a point, closest pairs.
_ENDS, _DIRECTIONS, _SHOWN, _PAIRS = 10, 96, 3, 10
# Duplicates of each kind that are named.
_NAMED = 10
# Rows of the data that serve as the control where no other was given.
_CONTROLS = 5000


@dataclass(frozen=True)
class Piece:
    """A part of a stage that is saved by itself, so that a killed run loses one at most.

    Attributes:
        name: Under which it is saved.
        label: What is being done, for people.
        cost: Its share of the stage, in any unit.
        make: Makes it.
    """

    name: str
    label: str
    cost: float
    make: Callable[[], xr.Dataset]


class Work:
    """The stages of an audit: each is made once, from what the earlier ones saved, and skipped where its arrays are there."""

    def __init__(
        self,
        folder: Run,
        settings: AuditSettings,
        real: DataSet,
        made: DataSet | None,
        other: DataSet | None,
        stage: Stages,
    ) -> None:
        self.folder, self.settings, self.stage = folder, settings, stage
        self.real, self.made, self.other = real, made, other

    def all(self) -> None:
        """Every stage in order."""
        self.make("duplicates", "looking for duplicates", self._duplicates)
        self.make("condensation", "when the score condenses", self._condensation)
        self.make("data", "describing the data", self._described)
        self._cells()
        self.make("theory", "what theory predicts", self._theory)
        self.make(
            "directions", "which directions are kept and lost", lambda: local_directions(self.data, self._focus, _SHOWN)
        )
        self.make("memorized", "ranking training points", self._ranked)
        if self.made is not None:
            self.compare(self.made)

    def compare(self, made: DataSet) -> None:
        """Look for copies among samples."""
        self.make("copies", "comparing samples with the data", lambda: self._compared(made))

    def make(self, name: str, label: str, make: Callable[[], xr.Dataset]) -> None:
        """One stage: made and saved unless its arrays are there."""
        if not self.folder.has(name):
            self.stage.begin(name, label)
            start = perf_counter()
            self.folder.save(name, make())
            self.folder.log(stage=name, seconds=round(perf_counter() - start, 2))
        self.stage.done(name)

    @cached_property
    def duplicates(self) -> xr.Dataset:
        """What the first stage saved."""
        return self.folder.load("duplicates")

    @cached_property
    def keep(self) -> NDArray[np.int64]:
        """Rows that are used: distinct, and no more than the limit."""
        return np.asarray(self.duplicates["row"].values)

    @cached_property
    def split(self) -> Split:
        """Training rows and rows kept apart, as places in `keep`."""
        n, apart = self.keep.size, kept_apart(self.keep.size, self.settings.held_out)
        group = self.duplicates["group"].values
        # A held-out row must not have its near duplicate in training.
        alone = np.bincount(group, minlength=n)[group] == 1
        if alone.sum() < apart:
            raise InputError(
                f"{self.real.name}: only {int(alone.sum()):,} of {n:,} distinct samples have no near duplicate, too few to keep "
                f"{apart:,} apart; ask for fewer with --held-out, or take the near duplicates out."
            )
        return nested_split(n, (n - apart,), held_out=apart, seed=self.settings.seed, eligible=alone)

    @cached_property
    def data(self) -> Prepared:
        """The chosen rows, centred, with their principal axes."""
        train, held_out = (self.real.rows(self.keep[part]) for part in (self.split.order, self.split.held_out))
        return prepare(train, held_out)

    @property
    def points(self) -> int:
        """Points of each set that are looked at."""
        return min(self.settings.points, self.split.held_out.size)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training samples: those asked for and all, or fourfold steps."""
        return steps_of_sizes(self.split.order.size, self.settings.sizes)

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Times around the one that the findings speak of, log-spaced."""
        half = float(self.folder.load("condensation")["half"])
        if not np.isfinite(half):
            raise InputError(
                f"{self.real.name}: at no noise level do half of the weights at held-out points fall on one sample; these data "
                "are so nearly alike that there is nothing to audit."
            )
        asked = self.settings.t
        middle = half if asked is None else asked
        first, last = min(middle, half) / self.settings.reach, max(middle, half) * self.settings.reach
        step = self.settings.reach ** (1 / self.settings.steps)
        below, above = (int(np.ceil(np.log(r) / np.log(step) - 1e-9)) for r in (middle / first, last / middle))
        return np.asarray(middle * step ** np.arange(-below, above + 1))

    def _duplicates(self) -> xr.Dataset:
        rows, first = distinct_rows(self.real)
        limit, seed = self.settings.limit, self.settings.seed
        if limit is not None:
            rows = np.sort(np.random.default_rng(derived_seed(seed, "limit")).permutation(rows)[:limit])
        near = near_duplicates(self.real.rows(rows), seed=seed)
        repeated = np.flatnonzero(first != np.arange(first.size))
        units = {"units": "data units"}
        return xr.Dataset(
            {
                "row": ("kept", rows, {"long_name": "row of the data that is used"}),
                "group": (
                    "kept",
                    near.group,
                    {"long_name": "first of those joined by near duplicates, as place in row"},
                ),
                "pair": (("pairs", "end"), rows[near.pairs], {"long_name": "rows of near duplicates, nearest first"}),
                "distance": ("pairs", near.distance, units),
                "repeated": ("repeats", repeated, {"long_name": "rows equal to an earlier one"}),
                "original": ("repeats", first[repeated], {"long_name": "the earlier row"}),
                "repeated_label": ("named", self._labels(repeated[:_NAMED])),
                "original_label": ("named", self._labels(first[repeated[:_NAMED]])),
                "pair_label": (("named_pairs", "end"), self._labels(rows[near.pairs[:_NAMED]])),
            },
            attrs={"threshold": near.threshold, "typical": near.typical},
        )

    def _labels(self, rows: NDArray[np.int64]) -> NDArray[np.str_]:
        """Names of rows, in an array of the same shape."""
        names = [self.real.label(int(row)) for row in rows.flat]
        return np.array(names, dtype=str).reshape(rows.shape)

    def _condensation(self) -> xr.Dataset:
        # One training row of each group of near duplicates.
        group = self.duplicates["group"].values
        alone = (group == np.arange(group.size))[self.split.order]
        return condensation(self.data, self.points, min(self.settings.spectra, self.points), alone)

    def _described(self) -> xr.Dataset:
        """What the page shows of the data themselves: numbers of rows, plug-in variances, principal directions."""
        real, data, duplicates = self.real, self.data, self.duplicates
        shown = min(_DIRECTIONS, data.variances.size)
        pairs = duplicates["pair"].values
        return xr.Dataset(
            {
                "training": ("place", self.keep[self.split.order], {"long_name": "training rows in nested order"}),
                "held_out": ("apart", self.keep[self.split.held_out], {"long_name": "rows kept apart"}),
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
                "focus": float(self.times[np.argmin(abs(np.log(self.times / self._focus)))]),
                "asked_t": float(self.settings.t or 0.0),
                "exact_rows": duplicates.sizes["repeats"],
                "exact_groups": len(np.unique(duplicates["original"].values)),
                "near_pairs": len(pairs),
                "near_rows": len(np.unique(pairs)),
                "near_threshold": duplicates.attrs["threshold"],
                "typical_distance": duplicates.attrs["typical"],
                "notes": list(real.notes),
            },
        )

    @property
    def _focus(self) -> float:
        return self.settings.t or float(self.folder.load("condensation")["half"])

    def gather(self, name: str, pieces: Sequence[Piece], join: Callable[[list[xr.Dataset]], xr.Dataset]) -> None:
        """A stage of pieces, joined and saved as one when all are there."""
        if not self.folder.has(name):
            whole, finished = sum(piece.cost for piece in pieces), 0.0
            for piece in pieces:
                if not self.folder.has(piece.name):
                    self.stage.begin(name, piece.label, finished / whole)
                    start = perf_counter()
                    self.folder.save(piece.name, piece.make())
                    self.folder.log(stage=piece.name, seconds=round(perf_counter() - start, 2))
                finished += piece.cost
            self.folder.save(name, join([self.folder.load(piece.name) for piece in pieces]))
            for piece in pieces:
                self.folder.remove(piece.name)
        self.stage.done(name)

    def _cells(self) -> None:
        """The posterior for every size and subset."""
        n, sizes = self.split.order.size, sorted(self.sizes, reverse=True)
        seeds = [derived_seed(self.settings.seed, "subset", k) for k in range(1, self.settings.repeats)]
        orders = [np.arange(n), *(np.random.default_rng(seed).permutation(n) for seed in seeds)]

        def cell(size: int, k: int) -> xr.Dataset:
            points, spectra = self.points, min(self.settings.spectra, self.points)
            made = posterior_cell(self.data, orders[k][:size], self.times, points, spectra)
            return made.expand_dims(size=[size], subset=[k])

        def joined(parts: list[xr.Dataset]) -> xr.Dataset:
            out = xr.combine_by_coords(parts, join="outer", combine_attrs="override")
            assert isinstance(out, xr.Dataset)
            return out

        pieces = []
        for size in sizes:
            for k in range(1 if size == n else self.settings.repeats):
                label = f"posterior of {size:,} samples" + (f", subset {k + 1}" if size < n else "")
                pieces.append(Piece(f"{_CELLS}_{size}_{k}", label, size, partial(cell, size, k)))
        self.gather(_CELLS, pieces, joined)

    def _theory(self) -> xr.Dataset:
        parts = predicted(self.data, self.sizes, self.times, self.points, self.settings.seed)
        joined: xr.Dataset = xr.concat(list(parts), "size")
        return joined.assign(nats=information_needed(self.data, self.times, self.points))

    def _ranked(self) -> xr.Dataset:
        """Half-weight times of training points, and pictures of those at both ends with their nearest neighbours."""
        rows = self.keep[self.split.order]
        chosen = np.arange(min(self.settings.ranked, rows.size))
        times, nearest = half_weight_times(self.data, chosen)
        order = np.argsort(-times)
        half = min(_ENDS, order.size // 2)
        ends = np.concatenate([order[:half], order[::-1][:half]])
        return xr.Dataset(
            {
                "half_weight_time": ("ranked", times, {"units": "data units squared"}),
                "row": ("ranked", rows[chosen], {"long_name": "row of the data"}),
                "end": ("shown", ends, {"long_name": "place in ranked: the most isolated, then the least isolated"}),
                "picture": (("shown", "value"), self.real.rows(rows[chosen[ends]]).numpy(), {"units": "data units"}),
                "neighbour": (("shown", "value"), self.real.rows(rows[nearest[ends]]).numpy(), {"units": "data units"}),
                "label": ("shown", [self.real.label(int(i)) for i in rows[chosen[ends]]]),
            }
        )

    def _compared(self, made: DataSet) -> xr.Dataset:
        """Nearest and second-nearest training rows of samples and of their control, and the closest pairs as pictures."""
        # One row of each group of near duplicates: two of them at the same distance would hide a copy.
        places = np.unique(self.duplicates["group"].values)
        unused = np.setdiff1d(distinct_rows(self.real)[0], self.keep)  # a limit on the audit is none on copies
        rows = np.sort(np.concatenate([self.keep[places], unused]))
        reference = self.real.rows(rows).numpy()
        samples = made.rows(slice(None)).numpy().astype(reference.dtype)
        distance, neighbour = neighbour_distances(samples, reference)
        if self.other is not None:
            control, _ = neighbour_distances(self.other.rows(slice(None)).numpy().astype(reference.dtype), reference)
            kind = f"real samples from {self.other.name}"
        else:
            rng = np.random.default_rng(derived_seed(self.settings.seed, "control"))
            own = np.sort(rng.permutation(rows.size)[:_CONTROLS])
            control, _ = neighbour_distances(reference[own], reference, own=own)
            kind = "rows of the data, each compared with all others"
        ratio = ratios(distance)
        closest = np.argsort(ratio, kind="stable")[:_PAIRS]
        pictured = neighbour[closest, 0]
        units = {"units": "data units"}
        return xr.Dataset(
            {
                "distance": (("sample", "rank"), distance, units),
                "control": (("held_out", "rank"), control, units),
                "neighbour": (("sample", "rank"), rows[neighbour], {"long_name": "row of the data"}),
                "ratio": ("sample", ratio, {"units": "1"}),
                "closest": ("pair", closest, {"long_name": "number of the sample"}),
                "sample_label": ("pair", [made.label(int(i)) for i in closest]),
                "neighbour_label": ("pair", [self.real.label(int(i)) for i in rows[pictured]]),
                "picture": (("pair", "value"), samples[closest], units),
                "original": (("pair", "value"), reference[pictured], units),
            },
            attrs={"control_kind": kind, "notes": list(made.notes)},
        )
