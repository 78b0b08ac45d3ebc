"""The records of an audit, each made from the request, the inputs and the records before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.data import DataSet
from geomem.data.duplicates import distinct_rows
from geomem.data.rows import divided, hold_out_count
from geomem.errors import InputError
from geomem.jobs.audit.cost import DRAWS, STEPS, cost_of, empirical_seconds
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.audit.screening import LEAST_SCREENED, SCREENED, Screening
from geomem.jobs.job import Part, Tell
from geomem.jobs.progress import duration
from geomem.measure.condensation import half_time_at
from geomem.measure.copies import compared
from geomem.measure.directions import Axes
from geomem.measure.observe import TRAINING, Source, observe
from geomem.measure.points import Points, chosen_points, noise_levels, preset_level, screening_levels, some_images
from geomem.measure.verdict import EMPIRICAL, LEFT_OUT, MODEL, most_telling, sides
from geomem.models import Model, drawn
from geomem.precision import full_precision, one_thread
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.spectra import usual_batch
from geomem.spectra.dimension import PRESETS, readings_for

__all__ = ["Inputs", "Work", "joined", "points_at_once"]

# Samples that are drawn and saved at once.
_DRAWN = 16
# Held-out images at which the condensation of the training data is measured.
_CONDENSING = 64
# Axes along which directions are kept or lost, at most, see `measure.directions`.
_AXES = 384
# Most points of a set in a part, and squared dimensions up to which there are several.
_TOGETHER, _SMALL = 8, 2**15
# Seconds that are announced on a line of their own, which a progress bar does not replace.
_ANNOUNCED = 60.0
_T = {"units": "data units squared", "long_name": "noise variance"}


@dataclass(frozen=True)
class Inputs:
    """What a request names, loaded: the model, its training data, held-out data, and samples."""

    model: Model
    training: DataSet
    held_out: DataSet | None
    samples: DataSet | None


class Work:
    """Makes the records; what several need is computed once in a process."""

    def __init__(self, run: Run, request: AuditRequest, inputs: Inputs) -> None:
        self.run, self.request = run, request
        self.model, self.training, self.held_out, self.samples = (
            inputs.model,
            inputs.training,
            inputs.held_out,
            inputs.samples,
        )
        self.memory = int(request.memory * 2**30)
        self.directions = request.directions_of(math.prod(inputs.model.shape))
        # With few random directions, the Jacobian along principal axes would cost more than all else.
        self.shown = self.directions is None or not request.quick
        self.readings = readings_for(None if request.preset is None else PRESETS[request.preset])

    # --- what records are made from ---

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """Distinct training rows: a limit on the audit is none on what the model was trained on."""
        return distinct_rows(self.training)[0]

    @cached_property
    def duplicates(self) -> xr.Dataset:
        """Their record."""
        return self.run.load("duplicates")

    @cached_property
    def keep(self) -> NDArray[np.int64]:
        """Training rows that are used: distinct, and no more than the limit."""
        return np.asarray(self.duplicates["row"].values)

    @cached_property
    def chosen(self) -> xr.Dataset:
        """The record `points`."""
        return self.run.load("points")

    @cached_property
    def times(self) -> list[float]:
        """Noise variances."""
        return [float(t) for t in self.chosen["t"].values]

    @cached_property
    def screening_times(self) -> list[float]:
        """Noise variances of the screening."""
        request, half = self.request, float(self.chosen.attrs["half"])
        return [float(t) for t in screening_levels(self.model, half, times=request.times, quick=request.quick)]

    @cached_property
    def fresh(self) -> NDArray[np.int64]:
        """Distinct held-out rows."""
        return np.arange(0) if self.held_out is None else distinct_rows(self.held_out)[0]

    @property
    def screens(self) -> bool:
        """Whether there are held-out images to compare screened ones with."""
        return self.fresh.size >= LEAST_SCREENED

    @cached_property
    def some(self) -> Tensor:
        """Training images from which principal axes come."""
        return some_images(self.model, self.training, self.keep, self.request.seed)

    @cached_property
    def axes(self) -> Axes:
        """Their principal axes."""
        with one_thread():  # also where a stage that uses them may take all cores
            return Axes.of(self.some)

    @cached_property
    def batch(self) -> int:
        """Evaluations of the model at once."""
        return usual_batch(self.model.score, self.memory, dtype=self.model.dtype, device=self.model.device)

    @cached_property
    def empirical(self) -> EmpiricalScore:
        """The score of all distinct training rows."""
        return self._without(-1)

    def _without(self, row: int) -> EmpiricalScore:
        """The score of all distinct training rows but one."""
        images = self.model.encode(self.training, self.distinct[self.distinct != row])
        return EmpiricalScore(images.to(torch.float64).to(self.model.device))

    def _source(self, score: EmpiricalScore) -> Source:
        return Source(score, self.request.probe, self.model.device, 4096)

    def _points_at(self, name: str, places: list[int]) -> Tensor:
        source = self.training if name == TRAINING else self.held_out
        assert source is not None
        return self.model.encode(source, self.chosen["row"].sel(set=name).values[places])

    # --- records ---

    def points(self) -> xr.Dataset:
        """Where and at which noise variances scores are measured, and how well a linear filter denoises there."""
        request, model = self.request, self.model
        near, seed = float(self.duplicates.attrs["threshold"]), request.seed
        chosen = chosen_points(
            model, self.training, self.distinct, self.keep, self.held_out, request.points, near=near, seed=seed
        )
        half = self._half(chosen)
        times = noise_levels(model, half, times=request.times, preset=request.preset, quick=request.quick)
        preset = preset_level(model, request.preset)
        # A filter judged at the very images it was fitted to would look better than it is.
        middle = len(self.some) // 2
        filter_, rest = Axes.of(self.some[:middle]), self.some[middle:]
        names, flat = list(chosen.rows), chosen.flat
        mean = self.axes.mean.numpy()
        units = {"units": "data units"}
        out = xr.Dataset(
            {
                "row": (("set", "point"), np.stack([chosen.rows[name] for name in names]), {"long_name": "row"}),
                "label": (("set", "point"), np.array([self._labels(name, chosen) for name in names])),
                "picture": (("set", "point", "value"), np.stack([flat[name] for name in names]), units),
                "nearest": (
                    ("set", "point"),
                    np.stack([chosen.nearest[name] for name in names]),
                    {**units, "long_name": "distance to the nearest other training image"},
                ),
                "centre": (
                    ("set", "point"),
                    np.stack([np.linalg.norm(flat[name] - mean, axis=1) for name in names]),
                    {**units, "long_name": "distance from the mean training image"},
                ),
                "linear_error": ("t", [filter_.linear_error(rest, t) for t in times], {"units": _T["units"]}),
            },
            coords={"set": names, "t": ("t", times, _T)},
            attrs={
                "half": half,
                "near_copies": chosen.near_copies,
                **({} if preset is None else {"preset_t": preset}),
                **self._described(),
            },
        )
        if self.held_out is None:
            return out
        within, between = chosen.distances()
        out["partner"] = ("point", chosen.partner, {"long_name": "held-out point paired with a training point"})
        out["twin"] = ("point", chosen.twins(), {"long_name": "held-out point nearest to a held-out point"})
        return out.assign_attrs(pair_distance=within, random_distance=between)

    def _described(self) -> dict[str, object]:
        """What the page says of model and data."""
        model, training = self.model, self.training
        available = self.keep.size if self.held_out is None else min(self.keep.size, len(self.held_out))
        return {
            "shape": np.asarray(model.shape),
            "name": model.name,
            "words": model.words,
            "parameters": model.parameters,
            "source": training.name,
            "n": len(training),
            "distinct": self.distinct.size,
            "data_shape": np.asarray(training.shape),
            "pictures": int(training.image_shape is not None),
            "notes": [*training.notes, *(self.held_out.notes if self.held_out is not None else ())],
            "available": available,
        }

    def _labels(self, name: str, chosen: Points) -> list[str]:
        source = self.training if name == TRAINING else self.held_out
        assert source is not None
        return [source.label(int(row)) for row in chosen.rows[name]]

    def _half(self, chosen: Points) -> float:
        """Noise variance at which half of the weights at held-out points fall on one training image.

        Without held-out data, a fifth of the training data stands in for them.

        Raises:
            InputError: If there is none.
        """
        if self.held_out is not None:
            train, points = self.training.rows(self.distinct), self.held_out.rows(chosen.candidates[:_CONDENSING])
        else:
            count = hold_out_count(self.training, self.keep.size, None)
            split = divided(self.training, self.duplicates, count, seed=self.request.seed)
            train = self.training.rows(self.keep[split.order])
            points = self.training.rows(self.keep[split.held_out[:_CONDENSING]])
        half = half_time_at(train, points)
        if not math.isfinite(half):
            raise InputError(
                f"{self.training.name}: at no noise level do half of the weights at held-out points fall on one sample; these data "
                "are so nearly alike that there is nothing to audit."
            )
        return half

    def cost(self) -> xr.Dataset:
        """What the spectra will cost."""
        middle = self.times[len(self.times) // 2]
        source, x = self._source(self.empirical), self._points_at(TRAINING, [0])[0]
        count = self.chosen["row"].size
        found = cost_of(
            self.model,
            probe=self.request.probe,
            points=count,
            levels=len(self.times),
            directions=self.directions,
            axes=self.axes.above(0.0, _AXES).variances.size if self.shown else 0,
            shown=self.shown,
            draws=self.request.drawn,
            memory=self.memory,
            empirical=empirical_seconds(source, x, middle, directions=self.directions),
            empirical_points=count if self.held_out is not None else 2 * count,
        )
        if not self.screens:
            return found
        each = float(found.attrs["seconds_each"])
        plan = Screening(self).planned(each)
        made = plan["screened_evaluations"]
        one = xr.Dataset(
            {"evaluations": ("stage", [made]), "seconds": ("stage", [made * each])}, coords={"stage": [SCREENED]}
        )
        return xr.concat([found, one], "stage", combine_attrs="override").assign_attrs(plan)

    def notice(self) -> str | None:
        """What the spectra will cost, where that is long."""
        cost = self.run.load("cost")
        seconds = float(cost["seconds"].sum())
        if seconds <= _ANNOUNCED:
            return None
        return (
            f"{int(cost['evaluations'].sum()):,} evaluations of the model at {self.chosen['row'].size} images and {len(self.times)} noise "
            f"levels: about {duration(seconds)} on one core or GPU. Interrupted, the same command resumes."
        )

    def seconds(self, stage: str) -> float:
        """Estimated seconds of a stage."""
        return float(self.run.load("cost")["seconds"].sel(stage=stage))

    def draws(self) -> Sequence[Part]:
        """Samples of the model, sixteen a part."""
        count, seed = self.request.drawn, self.request.seed

        def make(numbers: range, tell: Tell) -> xr.Dataset:
            parts = [numbers[i : i + self.batch] for i in range(0, len(numbers), self.batch)]
            with full_precision():
                images = torch.cat([drawn(self.model, self.axes.mean, STEPS, part, seed=seed) for part in parts])
            return xr.Dataset({"image": (("sample", "value"), images.flatten(1).numpy(), {"units": "data units"})})

        out = []
        for first in range(0, count, _DRAWN):
            numbers = range(first, min(first + _DRAWN, count))
            label = f"drawing samples · {numbers[-1] + 1} of {count}"
            out.append(Part(f"drawn_{first}", label, partial(make, numbers), len(numbers)))
        return out

    def copies(self) -> xr.Dataset:
        """Copies of training images among samples."""
        made = self.samples or self._drawn()
        return compared(self.training, made, self.held_out, self.duplicates, seed=self.request.seed)

    def _drawn(self) -> DataSet:
        images = self.run.load("drawn")["image"].values
        note = f"They were drawn from {self.model.name} by its probability-flow ODE, in {STEPS} steps, and not clipped."
        made = DataSet("samples of the model", "drawn", images.reshape(-1, *self.model.shape), notes=(note,))
        return made.arranged(self.training)

    def spectra(self, stage: str) -> Sequence[Part]:
        """Spectra of one of the two scores, one part for a training image and its held-out one; several where they are small."""
        count, step = self.chosen.sizes["point"], points_at_once(math.prod(self.model.shape))
        make = self._of_model if stage == MODEL else self._of_empirical
        what = (
            f"spectra of the {'model' if stage == MODEL else 'empirical score'}, about {duration(self.seconds(stage))}"
        )
        parts = []
        for first in range(0, count, step):
            places = list(range(first, min(first + step, count)))
            label = f"{what} · {places[-1] + 1} of {count}"
            parts.append(Part(f"{stage}_{first}", label, partial(make, places), len(places)))
        return parts

    def _of_empirical(self, places: list[int], tell: Tell) -> xr.Dataset:
        if self.held_out is not None:
            return self._observed({EMPIRICAL: self._source(self.empirical)}, places, tell)
        # Each image has a score of its own, of all others.
        parts = []
        for k, i in enumerate(places):
            row = int(self.chosen["row"].sel(set=TRAINING).values[i])
            sources = {EMPIRICAL: self._source(self.empirical), LEFT_OUT: self._source(self._without(row))}
            parts.append(self._observed(sources, [i], lambda share, label: None))
            tell((k + 1) / len(places), "")
        return xr.concat(parts, "point")

    def _of_model(self, places: list[int], tell: Tell) -> xr.Dataset:
        model = Source(self.model.score, self.request.probe, self.model.device, self.batch)
        shown = (self.focus, self.axes) if self.shown else None
        return self._observed({MODEL: model}, places, tell, shown=shown).assign_attrs(focus=self.focus)

    def _observed(
        self,
        sources: dict[str, Source],
        places: list[int],
        tell: Tell,
        *,
        shown: tuple[float, Axes] | None = None,
    ) -> xr.Dataset:
        found = observe(
            sources,
            {str(name): self._points_at(str(name), places) for name in self.chosen["set"].values},
            self.times,
            readings=self.readings,
            directions=self.directions,
            draws=DRAWS,
            shown=shown,
            seed=self.request.seed,
            memory=self.memory,
            tell=lambda share: tell(share, ""),
        )
        return found.assign_coords(point=places)

    @cached_property
    def focus(self) -> float:
        """The reference t: where the empirical score loses most at its training images."""
        partner = self.chosen["partner"].values if self.held_out is not None else np.arange(self.chosen.sizes["point"])
        return self.times[most_telling(*sides(self.run.load(EMPIRICAL), partner))]


def points_at_once(dim: int) -> int:
    """Points of each set in a part: one, or some where they take less time than saving them.

    >>> points_at_once(16), points_at_once(64), points_at_once(784)
    (8, 8, 1)
    """
    return min(_TOGETHER, max(1, _SMALL // dim**2))


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Parts as one record, over points."""
    return xr.concat(parts, "point")
