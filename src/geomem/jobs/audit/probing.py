"""The stages of an audit that ask a model: its samples, the empirical score at chosen points, the model at the same points."""

import math
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from geomem.data import DataSet
from geomem.data.duplicates import distinct_rows
from geomem.jobs.audit.work import Piece, Work
from geomem.measure.points import (
    LEFT_OUT,
    SETS,
    Axes,
    Points,
    drawn,
    grid,
    main_reading,
    points,
    preset_time,
    probed,
    some_images,
)
from geomem.measure.verdict import most_telling
from geomem.models.model import Model
from geomem.scores import EmpiricalScore
from geomem.spectra import Cost, full_precision, measured_cost

__all__ = ["MODEL_ARRAYS", "MODEL_SHARES", "Probing"]

# The arrays that an audit of a model adds.
MODEL_ARRAYS = ("points", "empirical", "model")
# Share of the whole time that stages take where a model is asked: its spectra take nearly all.
MODEL_SHARES = {"data stages": 0.1, "drawn": 0.05, "points": 0.0, "empirical": 0.1, "model": 0.75}
# Scores for each dimension, by probe (differentiating costs about two), and beside them at a point, for denoising.
_EACH = {"orthonormal": 2, "smoothed": 1, "score-matrix": 4, "antithetic": 8, "regression": 8, "exact": 2}
_BESIDE = 17
# Samples that are saved at once.
_DRAWN = 16


class Probing:
    """Asks a model, beside the stages of `work`, which must be done."""

    def __init__(self, work: Work, model: Model, *, memory: int, tell: Callable[[str, float], None] | None) -> None:
        settings = work.settings.model
        assert settings is not None
        self.work, self.model, self.settings = work, model, settings
        self.memory, self.tell = memory, tell

    def all(self) -> None:
        """Every stage in order."""
        work = self.work
        with full_precision():
            work.make("points", "choosing points", self._points)
            self._estimate()
            if self.settings.draws:
                work.gather("drawn", self._draws(), lambda parts: xr.concat(parts, "sample"))
                work.compare(self._drawn())
            else:
                work.stage.done("drawn")
            self._spectra("empirical")
            self._spectra("model")

    @cached_property
    def cost(self) -> Cost:
        """Batch and seconds of an evaluation of the model."""
        t = float(self.times[len(self.times) // 2])
        return measured_cost(self.model.score, t, memory=self.memory, dtype=self.model.dtype, device=self.model.device)

    @cached_property
    def times(self) -> np.ndarray:
        """Noise levels of the spectra."""
        half = float(self.work.folder.load("condensation")["half"])
        return grid(self.model, self.settings, half, quick=self.work.settings.quick)

    @cached_property
    def distinct(self) -> NDArray[np.int64]:
        """Distinct rows of the data: a limit on the audit is none on what the model was trained on."""
        return distinct_rows(self.work.real)[0]

    @cached_property
    def some(self) -> Tensor:
        """Training images behind axes and linear denoisers."""
        return some_images(self.model, self.work.real, self.work.keep, self.work.settings.seed)

    @cached_property
    def axes(self) -> Axes:
        """Principal axes of the training images."""
        return Axes.of(self.some)

    @cached_property
    def points(self) -> Points:
        """Where scores are probed."""
        work = self.work
        near = float(work.folder.load("duplicates").attrs["threshold"])
        seed = work.settings.seed
        return points(self.model, work.real, self.distinct, work.keep, work.other, self.settings, near=near, seed=seed)

    def _draws(self) -> list[Piece]:
        """Samples, some a piece: as many on every machine, or a run that goes on elsewhere would mix them up."""
        pieces = []
        for first in range(0, self.settings.draws, _DRAWN):
            numbers = range(first, min(first + _DRAWN, self.settings.draws))

            def make(numbers: range = numbers) -> xr.Dataset:
                size = self.cost.batch
                parts = [numbers[i : i + size] for i in range(0, len(numbers), size)]
                seed = self.work.settings.seed
                images = torch.cat(
                    [drawn(self.model, self.axes.mean, self.settings.sampling_steps, part, seed=seed) for part in parts]
                )
                flat = images.flatten(1).numpy()
                return xr.Dataset({"image": (("sample", "value"), flat, {"units": "data units"})})

            label = f"drawing samples {first + 1} to {numbers[-1] + 1} of {self.settings.draws}"
            pieces.append(Piece(f"drawn_{first}", label, len(numbers), make))
        return pieces

    def _drawn(self) -> DataSet:
        images = self.work.folder.load("drawn")["image"].values
        note = f"They were drawn from {self.model.name} by its flow, in {self.settings.sampling_steps} steps, and not clipped."
        made = DataSet("samples of the model", "drawn", images.reshape(-1, *self.model.score.shape), notes=(note,))
        return made.arranged(self.work.real)

    def _points(self) -> xr.Dataset:
        """Which images were chosen, and how they look to the model."""
        work, chosen = self.work, self.points
        names = list(chosen.rows)
        sources = dict(zip(SETS, (work.real, work.other), strict=True))
        labels = []
        for name in names:
            source = sources[name]
            assert source is not None
            labels.append([source.label(int(row)) for row in chosen.rows[name]])
        preset = preset_time(self.model, self.settings)
        # A filter judged at the very images it was fitted to would look better than it is.
        half = len(self.some) // 2
        filter_, rest = Axes.of(self.some[:half]), self.some[half:]
        centre = [
            np.linalg.norm(chosen.images[name].flatten(1).numpy() - self.axes.mean.numpy(), axis=1) for name in names
        ]
        pictures = np.stack([chosen.images[name].flatten(1).numpy() for name in names])
        out = xr.Dataset(
            {
                "row": (("set", "point"), np.stack([chosen.rows[name] for name in names]), {"long_name": "row"}),
                "label": (("set", "point"), np.array(labels)),
                "picture": (("set", "point", "value"), pictures, {"units": "data units"}),
                "nearest": (
                    ("set", "point"),
                    np.stack([chosen.nearest[name] for name in names]),
                    {"units": "data units"},
                ),
                "centre": (
                    ("set", "point"),
                    np.stack(centre),
                    {"units": "data units", "long_name": "distance from the mean"},
                ),
                "linear_error": (
                    "t",
                    [filter_.linear_error(rest, t) for t in self.times],
                    {"units": "data units squared"},
                ),
            },
            coords={"set": names, "t": ("t", self.times, {"units": "data units squared"})},
            attrs={
                "shape": np.asarray(self.model.score.shape),
                "name": self.model.name,
                "words": self.model.words,
                "parameters": self.model.parameters,
                "near_copies": chosen.near_copies,
                "available": min(work.keep.size, work.keep.size if work.other is None else len(work.other)),
                **({} if preset is None else {"preset_t": preset}),
            },
        )
        if SETS[1] not in names:
            return out
        held = chosen.images[SETS[1]].flatten(1).to(torch.float64)
        far = torch.cdist(held, held).fill_diagonal_(math.inf)
        out["partner"] = ("point", chosen.partner, {"long_name": "held-out point paired with a training point"})
        out["twin"] = ("point", far.argmin(1).numpy(), {"long_name": "held-out point nearest to a held-out point"})
        return out

    def _spectra(self, source: str) -> None:
        """One of the two scores at every point."""
        work, chosen = self.work, self.points
        focus = self.focus if source == "model" else None
        whose = "the model" if source == "model" else "the empirical score"
        names = self._sets(source)
        order = [(name, i) for i in range(len(chosen.images[SETS[0]])) for name in names]
        pieces = []
        for done, (name, i) in enumerate(order):
            # In tenths: where there is no terminal every new label is a line.
            label = f"spectra of {whose}, {10 * (10 * done // len(order))}% done"
            pieces.append(Piece(f"{source}_{name}_{i}", label, 1.0, partial(self._one, source, name, i, focus)))

        def joined(parts: list[xr.Dataset]) -> xr.Dataset:
            by_set = [xr.concat(parts[k :: len(names)], "point") for k in range(len(names))]
            return xr.concat(by_set, xr.Variable("set", names)).assign_attrs(focus=focus or 0.0)

        work.gather(source, pieces, joined)

    def _one(self, source: str, name: str, i: int, focus: float | None) -> xr.Dataset:
        seed, device = self.work.settings.seed, self.model.device
        if source == "empirical":
            x = self.points.images[SETS[0] if name == LEFT_OUT else name][i]
            score = self._empirical if name != LEFT_OUT else self._without(int(self.points.rows[SETS[0]][i]))
            return probed(score, x, self.times, self.settings, seed=seed, batch=4096, device=device)
        assert focus is not None
        return probed(
            self.model.score,
            self.points.images[name][i],
            self.times,
            self.settings,
            seed=seed,
            batch=self.cost.batch,
            device=device,
            directions=(focus, self.axes),
        )

    @cached_property
    def _empirical(self) -> EmpiricalScore:
        """Of all distinct training rows."""
        return self._without(-1)

    def _without(self, row: int) -> EmpiricalScore:
        """Of all distinct training rows but one."""
        images = self.model.images(self.work.real, self.distinct[self.distinct != row])
        return EmpiricalScore(images.to(torch.float64).to(self.model.device))

    @cached_property
    def focus(self) -> float:
        """The noise level of the verdict: where the empirical score loses most at its training images."""
        values = main_reading(self.work.folder.load("empirical"))
        partner = self.points.partner
        return float(self.times[most_telling(values[0], values[1][partner])])

    def _estimate(self) -> None:
        """Say what the spectra will cost, from measurements, before any is begun."""
        work = self.work
        missing = {source: self._missing(source) for source in ("empirical", "model")}
        if not any(missing.values()):
            return
        t = float(self.times[len(self.times) // 2])
        other = measured_cost(self._empirical, t, memory=self.memory, dtype=torch.float64, device=self.model.device)
        d = math.prod(self.model.score.shape)
        each = 2 * self.settings.directions if self.settings.directions else _EACH[self.settings.probe] * d
        scores = (each + _BESIDE) * len(self.times)
        seconds = scores * (missing["model"] * self.cost.seconds + missing["empirical"] * other.seconds)
        work.folder.log(
            stage="cost",
            scores=scores * missing["model"],
            seconds_each=self.cost.seconds,
            batch=self.cost.batch,
            memory_each=self.cost.memory,
            empirical_seconds_each=other.seconds,
            seconds=round(seconds, 1),
        )
        if self.tell is not None:
            self.tell(
                f"{sum(len(images) for images in self.points.images.values())} images at {len(self.times)} noise levels, {each:,} scores "
                f"each, measured to take {self.cost.seconds * 1e3:.2g} ms for the model ({self.cost.batch} at once) and "
                f"{other.seconds * 1e3:.2g} ms for the empirical score",
                seconds,
            )

    def _sets(self, source: str) -> list[str]:
        """Where a source is asked: where nothing is held out, the empirical score without the image too."""
        names = list(self.points.images)
        return [*names, LEFT_OUT] if source == "empirical" and SETS[1] not in names else names

    def _missing(self, source: str) -> int:
        """Pieces of a source's spectra that are still to be made."""
        if self.work.folder.has(source):
            return 0
        count = len(self.points.images[SETS[0]])
        return sum(
            not self.work.folder.has(f"{source}_{name}_{i}") for name in self._sets(source) for i in range(count)
        )
