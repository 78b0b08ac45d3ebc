"""The records of an audit, each made from the request, the inputs and the records before it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.data import DataSet
from geomem.data.distinct import distinct_rows
from geomem.data.rows import divided, hold_out_count
from geomem.errors import InputError
from geomem.jobs.audit.cost import EVALUATIONS_DRAWN, empirical_seconds, evaluations_at, planned_draws
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.audit.screening import Screening
from geomem.jobs.audit.spectra import Spectra
from geomem.jobs.duplicates import DUPLICATES
from geomem.jobs.progress import duration
from geomem.measure.condensation import half_time_at
from geomem.measure.directions import Axes
from geomem.measure.observe import HELD_OUT, TRAINING
from geomem.measure.pairs import EMPIRICAL, MODEL
from geomem.measure.points import Points, chosen_points, noise_levels, preset_level, screening_levels, some_images
from geomem.models import Model
from geomem.precision import one_thread
from geomem.records import Run
from geomem.scores import EmpiricalScore, Score
from geomem.spectra import Cost, decomposition_seconds, measured_cost, usual_batch
from geomem.spectra.dimension import PRESETS, readings_for

__all__ = ["Inputs", "Work", "joined"]

# Held-out images at which the condensation of the training data is measured.
_CONDENSING = 64
# Images of each set by which it is judged whether they are of the same kind.
_COMPARED = 64
# Axes along which directions are kept or lost, at most, see `measure.directions`.
_AXES = 384
# Share of the budget that is left to screening and the closer look whatever samples take, and the closer look's part of it.
_KEPT, _LOOKING = 0.4, 0.4
# Seconds that are announced on a line of their own, which a progress bar does not replace.
_ANNOUNCED = 60.0
_T = {"units": "data units squared", "long_name": "noise variance"}


@dataclass(frozen=True)
class Inputs:
    """What a request names, loaded: the model, its training data, held-out data, and samples; the base of a fine-tuned model."""

    model: Model
    training: DataSet | None
    held_out: DataSet | None
    samples: DataSet | None
    reference: Model | None = None

    @property
    def base(self) -> DataSet:
        """The training data; held-out data where they are alone."""
        found = self.held_out if self.training is None else self.training
        assert found is not None
        return found


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
        self.base = inputs.base
        self.sources = {TRAINING: inputs.training, HELD_OUT: inputs.held_out}
        self.memory = request.bytes
        self.probe = request.probe or ""
        self.directions = request.directions_of(math.prod(inputs.model.shape))
        # With few random directions, the Jacobian along principal axes would cost more than all else.
        self.shown = self.directions is None or not request.quick
        self.most_axes = _AXES
        self.readings = readings_for(None if request.preset is None else PRESETS[request.preset])

    # --- what records are made from ---

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """Distinct training rows: a limit on the audit is none on what the model was trained on."""
        return distinct_rows(self.base)[0]

    @cached_property
    def reference(self) -> NDArray[np.generic]:
        """These rows (n, d), as numbers."""
        return np.asarray(self.base.rows(self.distinct).numpy())

    @property
    def near(self) -> float:
        """Distance below which an image is a near copy of another."""
        return float(self.duplicates.attrs["threshold"])

    def source(self, name: str) -> DataSet:
        """The data of a set that is there."""
        found = self.sources[name]
        assert found is not None
        return found

    @cached_property
    def duplicates(self) -> xr.Dataset:
        """Their record."""
        return self.run.load(DUPLICATES)

    @cached_property
    def keep(self) -> NDArray[np.int64]:
        """Training rows that are used: distinct, and no more than the limit."""
        return np.asarray(self.duplicates["row"].values)

    @cached_property
    def points_record(self) -> xr.Dataset:
        """The record `points`."""
        return self.run.load("points")

    @cached_property
    def times(self) -> list[float]:
        """Noise variances of whole spectra."""
        return [float(t) for t in self.points_record["t"].values]

    @cached_property
    def screening_times(self) -> list[float]:
        """Noise variances of the screening."""
        return [float(t) for t in self.points_record["screening_t"].values]

    @cached_property
    def fresh(self) -> NDArray[np.int64]:
        """Distinct held-out rows."""
        return np.arange(0) if self.held_out is None else distinct_rows(self.held_out)[0]

    @cached_property
    def some(self) -> Tensor:
        """Training images from which principal axes come."""
        return some_images(self.model, self.base, self.keep, self.request.seed)

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
    def evaluation(self) -> Cost:
        """What one evaluation of the model costs, as measured."""
        model = self.model
        return measured_cost(
            model.score, model.nearest(1.0), memory=self.memory, dtype=model.dtype, device=model.device
        )

    @cached_property
    def empirical(self) -> EmpiricalScore:
        """The score of all distinct training rows."""
        return self.without(-1)

    def without(self, row: int) -> EmpiricalScore:
        """The score of all distinct training rows but one."""
        images = self.model.encode(self.source(TRAINING), self.distinct[self.distinct != row])
        return EmpiricalScore(images.to(torch.float64).to(self.model.device))

    def words(self, name: str, row: int) -> list[str]:
        """What an image is conditioned on; empty where all are conditioned on the same."""
        captions = self.source(name).captions
        return [captions[row]] if len(captions) else []

    def score_at(self, name: str, rows: NDArray[np.int64], model: Model | None = None) -> Score:
        """The score of a model, the audited one by default, with the condition of each of these images."""
        words = [word for row in rows for word in self.words(name, int(row))]
        return (self.model if model is None else model).conditioned(words)

    def points_at(self, name: str, places: list[int]) -> Tensor:
        """Points of whole spectra, by their places."""
        return self.model.encode(self.source(name), self.points_record["row"].sel(set=name).values[places])

    # --- records ---

    def points(self) -> xr.Dataset:
        """Noise variances, how well a linear filter denoises there, and random images in pairs, at which whole spectra are measured."""
        request, model = self.request, self.model
        chosen, many = (
            chosen_points(
                model,
                self.training,
                self.distinct,
                self.keep,
                self.held_out,
                count,
                near=self.near,
                seed=request.seed,
            )
            for count in (request.points, _COMPARED)
        )
        half = self._half(chosen)
        times = noise_levels(model, half, times=request.times, preset=request.preset, quick=request.quick)
        screened = screening_levels(model, half, times=request.times, quick=request.quick)
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
                    ("set", "compared"),
                    np.stack([many.nearest[name] for name in names]),
                    {**units, "long_name": "distance to the nearest other training image"},
                ),
                "centre": (
                    ("set", "compared"),
                    np.stack([np.linalg.norm(many.flat[name] - mean, axis=1) for name in names]),
                    {**units, "long_name": "distance from the mean training image"},
                ),
                "linear_error": ("t", [filter_.linear_error(rest, t) for t in times], {"units": _T["units"]}),
                "screening_linear_error": (
                    "screening_t",
                    [filter_.linear_error(rest, t) for t in screened],
                    {"units": _T["units"]},
                ),
            },
            coords={"set": names, "t": ("t", times, _T), "screening_t": ("screening_t", screened, _T)},
            attrs={
                "half": half,
                "near_copies": chosen.near_copies,
                **({} if preset is None else {"preset_t": preset}),
                **self._described(),
            },
        )
        if self.held_out is None or self.training is None:
            return out
        within, between = chosen.distances()
        out["partner"] = ("point", chosen.partner, {"long_name": "held-out point paired with a training point"})
        out["twin"] = ("point", chosen.twins(), {"long_name": "held-out point nearest to a held-out point"})
        return out.assign_attrs(pair_distance=within, random_distance=between)

    def _described(self) -> dict[str, object]:
        """What the page says of model and data."""
        model, base = self.model, self.base
        return {
            "shape": np.asarray(model.shape),
            "image_shape": np.asarray(model.image_shape),
            "name": model.name,
            "words": model.words,
            "parameters": model.parameters,
            "source": base.name,
            "trained_on": int(self.training is not None),
            "held_out": int(self.keep.size if self.training is None else self.fresh.size),
            "n": len(base),
            "distinct": self.distinct.size,
            "data_shape": np.asarray(base.shape),
            "pictures": int(base.image_shape is not None),
            "notes": [*base.notes, *(self.held_out.notes if self.held_out not in (None, base) else ())],
        }

    def _labels(self, name: str, chosen: Points) -> list[str]:
        return [self.source(name).label(int(row)) for row in chosen.rows[name]]

    def _half(self, chosen: Points) -> float:
        """Noise variance at which half of the weights at held-out points fall on one training image.

        Where data are alone, a fifth of them stands in for held-out data.

        Raises:
            InputError: If there is none.
        """
        if self.held_out is not None and self.training is not None:
            train = self.model.encode(self.training, self.distinct).flatten(1)
            points = self.model.encode(self.held_out, chosen.candidates[:_CONDENSING]).flatten(1)
        else:
            count = hold_out_count(self.base, self.keep.size, None)
            split = divided(self.base, self.duplicates, count, seed=self.request.seed)
            train = self.model.encode(self.base, self.keep[split.order]).flatten(1)
            points = self.model.encode(self.base, self.keep[split.held_out[:_CONDENSING]]).flatten(1)
        half = half_time_at(train, points)
        if not math.isfinite(half):
            raise InputError(
                f"{self.base.name}: at no noise level do half of the weights at held-out points fall on one sample; these data "
                "are so nearly alike that there is nothing to audit."
            )
        return half

    def cost(self) -> xr.Dataset:
        """What will be evaluated, and what it will cost by a measured rate: the budget is shared among the stages here, once."""
        request, dim = self.request, math.prod(self.model.shape)
        one = self.evaluation
        each, budget = one.seconds, request.seconds
        drawn = planned_draws(request, each, budget)
        sampling = drawn * EVALUATIONS_DRAWN
        rest = max(budget - sampling * each, _KEPT * budget)
        plan = Screening(self).planned((1 - _LOOKING) * rest, each)
        planned = {"screened": plan.pop("screened_evaluations"), "drawn": sampling}
        seconds = {name: count * each for name, count in planned.items()}
        if request.probe is not None:
            planned[MODEL], seconds[MODEL], seconds[EMPIRICAL] = self._of_probe(dim, each)
            planned[EMPIRICAL] = 0
        names = list(planned)
        return xr.Dataset(
            {
                "evaluations": ("stage", [planned[k] for k in names], {"units": "evaluations of the model"}),
                "seconds": (
                    "stage",
                    [seconds[k] for k in names],
                    {"units": "s", "long_name": "estimated, on one core or GPU"},
                ),
            },
            coords={"stage": names},
            attrs={
                "seconds_each": each,
                "memory_each": one.memory,
                "drawn": drawn,
                "closer_seconds": _LOOKING * rest,
                **plan,
            },
        )

    def _of_probe(self, dim: int, each: float) -> tuple[int, float, float]:
        """Evaluations and seconds of the model's whole spectra, and seconds of the empirical score's."""
        levels, count = len(self.times), self.points_record["row"].size
        axes = self.axes.above(0.0, _AXES).variances.size if self.shown else 0
        here = evaluations_at(self.probe, dim, levels, directions=self.directions, axes=axes, shown=self.shown)
        spectra = Spectra(self)
        x = self.points_at(TRAINING, [0])[0]
        one = empirical_seconds(spectra.source(self.empirical), x, self.times[levels // 2], directions=self.directions)
        algebra = 0.0
        if self.directions is None:
            vectors = decomposition_seconds(dim, vectors=True) if self.shown else 0.0
            algebra = levels * decomposition_seconds(dim) + vectors
        points = count if self.held_out is not None else 2 * count
        return count * here, count * (here * each + algebra), points * levels * one

    def notice(self) -> str | None:
        """What the audit will cost, where that is long."""
        cost = self.run.load("cost")
        seconds = float(cost["seconds"].sum()) + float(cost.attrs["closer_seconds"])
        if seconds <= _ANNOUNCED:
            return None
        evaluations = int(cost["evaluations"].sum()) + int(
            cost.attrs["closer_seconds"] / max(float(cost.attrs["seconds_each"]), 1e-9)
        )
        return (
            f"Up to {evaluations:,} evaluations of the model, {1e3 * float(cost.attrs['seconds_each']):.3g} ms each: about "
            f"{duration(seconds)} on one core or GPU. Interrupted, the same command resumes."
        )

    @property
    def drawn(self) -> int:
        """Samples to draw, as the cost's record says."""
        return int(self.run.load("cost").attrs["drawn"])

    def seconds(self, stage: str) -> float:
        """Estimated seconds of a stage."""
        return float(self.run.load("cost")["seconds"].sel(stage=stage))


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Parts as one record, over points."""
    return xr.concat(parts, "point")
