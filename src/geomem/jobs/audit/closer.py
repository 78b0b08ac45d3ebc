"""The closer look of an audit: leading survivals at the images that are known best and least, at random ones, and at held-out ones."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from geomem.jobs.audit.decoded import pictured
from geomem.jobs.audit.screened import Screened, screening_numbers
from geomem.jobs.audit.screening import SCREENED
from geomem.jobs.job import Part, Tell, split
from geomem.jobs.progress import duration
from geomem.measure.closer import expected_evaluations, expected_memory, look
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.scores.distances import nearest
from geomem.seeds import derived_seed

if TYPE_CHECKING:
    from geomem.jobs.audit.work import Work

__all__ = ["CHOSEN", "CLOSER", "RANDOM", "Closer", "reference_level"]

# Records: the images that are chosen, and what is seen there.
CHOSEN, CLOSER = "chosen", "closer"
# Why an image was chosen, beside random ones.
MOST, LEAST, RANDOM = "most", "least", "random"
# Fewest pairs; points in lockstep: more are slower on a CPU, and their graphs take about this many times the memory of an evaluation.
_FEWEST, _TOGETHER, _GRAPH = 4, 16, 4


def reference_level(screened: Screened, *, seed: int) -> int:
    """Place of the reference t: where most is lost, or the calibration ratio is largest, or else the middle."""
    found = screening_numbers(screened, seed=seed)
    for at in (found["lost"], found["calibration"]):
        if at is not None:
            return screened.times.index(at["t"])
    return len(screened.times) // 2


class Closer:
    """Makes the records `chosen` and `closer`."""

    def __init__(self, work: "Work") -> None:
        self.work = work

    @cached_property
    def _screened(self) -> Screened:
        return Screened(self.work.run.load(SCREENED), self.work.near)

    @cached_property
    def _plan(self) -> xr.Dataset:
        return self.work.run.load(CHOSEN)

    def chosen(self) -> xr.Dataset:
        """Which images are looked at, at which noise variance.

        As many pairs as the budget allows, a noise level further up where it allows too few, and none where it allows none at all.
        """
        work, screened = self.work, self._screened
        cost = work.run.load("cost")
        seconds, each = float(cost.attrs["closer_seconds"]), max(float(cost.attrs["seconds_each"]), 1e-9)
        dim, sets = math.prod(work.model.shape), sum(len(screened.values(name)["error"]) > 0 for name in SETS)
        for i in range(reference_level(screened, seed=work.request.seed), len(screened.times)):
            alive = max(float(np.mean(v)) for name in SETS if len(v := screened.values(name)["squares"][:, i]))
            evaluations, basis = expected_evaluations(alive, dim), expected_memory(alive, dim)
            pairs = int(seconds / (sets * evaluations * each)) if basis < work.memory else 0
            if pairs >= _FEWEST:
                break
        pairs = min(pairs, work.request.points)
        rows, why, draw = self._rows(pairs, i)
        names = list(rows)
        labels = [work.source(name).label(int(row)) for name in names for row in rows[name]]
        count = sum(map(len, rows.values()))
        return xr.Dataset(
            {
                "set": ("point", np.repeat(names, [len(rows[name]) for name in names])),
                "row": ("point", np.concatenate([rows[name] for name in names]), {"long_name": "row"}),
                "label": ("point", np.array(labels, dtype=object)),
                "why": ("point", np.array(why * len(names), dtype=object), {"long_name": "why it was chosen"}),
                "draw": ("point", np.array(draw * len(names)), {"long_name": "draw of noise, shared within a pair"}),
            },
            attrs={
                "t": screened.times[i],
                "seconds": count * evaluations * each,
                "together": self._together(basis, float(cost.attrs["memory_each"])),
            },
        )

    def _rows(self, pairs: int, i: int) -> tuple[dict[str, NDArray[np.int64]], list[str], list[int]]:
        """Rows by set in the order of pairs, why each pair was chosen, and its draw of noise."""
        screened, work = self._screened, self.work
        rng = np.random.default_rng(derived_seed(work.request.seed, "closer"))
        if not screened.compares:
            name = TRAINING if len(screened.values(TRAINING)["error"]) else HELD_OUT
            some = rng.permutation(screened.rows(name)[0])[:pairs]
            return {name: some}, [RANDOM] * len(some), list(range(len(some)))
        if not pairs:
            return {name: np.empty(0, dtype=np.int64) for name in SETS}, [], []
        training, held_out = (screened.rows(name)[0] for name in SETS)
        order = np.argsort(screened.values(TRAINING)["error"][:, i], kind="stable")
        pairs = min(pairs, len(training), len(held_out))
        ends = min(pairs // 4, len(training) // 3)
        most, least = order[:ends], order[len(order) - ends :]
        # Random pairs are assigned within equal random sets: partners from a larger pool would be easier than the rest. So random images
        # may be among those known best and least, too.
        rest = rng.permutation(order)[: pairs - 2 * ends]
        others = rng.permutation(held_out)[: len(rest)]
        distance = torch.cdist(self._flat(TRAINING, training[rest]), self._flat(HELD_OUT, others)).square()
        partner = others[linear_sum_assignment(distance.numpy())[1]]
        known = training[np.concatenate([most, least])]
        neighbours = held_out[
            nearest(self._flat(TRAINING, known), self._flat(HELD_OUT, held_out), 1)[1][:, 0].numpy()
            if len(known)
            else np.empty(0, int)
        ]
        rows = {TRAINING: np.concatenate([known, training[rest]]), HELD_OUT: np.concatenate([neighbours, partner])}
        return rows, [MOST] * ends + [LEAST] * ends + [RANDOM] * len(rest), list(range(len(rows[TRAINING])))

    def _flat(self, name: str, rows: NDArray[np.int64]) -> Tensor:
        return self.work.model.encode(self.work.source(name), rows).flatten(1).to(torch.float64)

    def parts(self) -> Sequence[Part]:
        """Some points a part, in lockstep."""
        count, step = self._plan.sizes["point"], int(self._plan.attrs["together"])
        return split(
            CLOSER, f"looking closely at few images, about {duration(self.seconds())}", count, step, self._part
        )

    def joined(self, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """The parts as one record; without points where there were none to look at."""
        none = xr.Dataset({name: ("point", np.empty(0)) for name in ("dimension", "evaluations")})
        return xr.concat(parts, "point") if parts else none

    def seconds(self) -> float:
        """Estimated seconds."""
        return float(self._plan.attrs["seconds"])

    def _together(self, basis: float, memory_each: float) -> int:
        """Points in lockstep; saved with the plan, so that a resumed run has the same parts."""
        return int(np.clip(self.work.memory / (_GRAPH * max(1.0, memory_each) + basis), 1, _TOGETHER))

    def _part(self, places: range, tell: Tell) -> xr.Dataset:
        work, plan = self.work, self._plan
        at = plan.isel(point=list(places))
        images = torch.cat(
            [
                work.model.encode(work.source(str(name)), np.array([row]))
                for name, row in zip(at["set"].values, at["row"].values, strict=True)
            ]
        )
        words = [
            word
            for name, row in zip(at["set"].values, at["row"].values, strict=True)
            for word in work.words(str(name), int(row))
        ]
        found = look(
            work.model.conditioned(words),
            images,
            float(plan.attrs["t"]),
            work.axes.above(0.0, work.most_axes),
            draws=at["draw"].values.tolist(),
            seed=work.request.seed,
            together=int(plan.attrs["together"]),
            device=work.model.device,
        )
        return pictured(work.model, found, float(plan.attrs["t"]))
