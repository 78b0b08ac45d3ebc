"""The audit of a fine-tuned model against its base: its stages and its report."""

import math
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from geomem.findings.plain import plain
from geomem.jobs.audit.cost import EVALUATIONS_DRAWN
from geomem.jobs.audit.decoded import direction_pictures, pictures
from geomem.jobs.audit.drawn import COPIES, DRAWN, Drawn, joined_samples
from geomem.jobs.audit.tuned_numbers import AGAINST, BASE, LOOKED, tuned_numbers
from geomem.jobs.audit.tuned_page import tuned_page
from geomem.jobs.audit.work import Work, joined
from geomem.jobs.duplicates import DUPLICATES, duplicate_stages
from geomem.jobs.job import Part, Report, Stage, Tell, split
from geomem.jobs.progress import duration
from geomem.measure.closer import expected_evaluations
from geomem.measure.curvature import curvature_picture, lost_directions
from geomem.measure.noisy import Noisy
from geomem.measure.observe import HELD_OUT, SETS, TRAINING
from geomem.measure.pairs import MODEL
from geomem.measure.points import distances_apart
from geomem.measure.screening import screen
from geomem.models import Model
from geomem.precision import full_precision
from geomem.records import Run
from geomem.scores.pair import Pair, pair
from geomem.seeds import derived_generator, derived_seed

__all__ = ["tuned_report", "tuned_stages"]

_PLAN = "plan"
# Mirrored pairs of draws, at most: with few images, draws are what there is to average over.
_PAIRS = 16
# Images of a set in a part, share of the budget for images that are looked at, and directions that are shown of each.
_STEP, _LOOKING, _SHOWN = 32, 0.3, 3
# Probes of the picture of where curvature was added.
_PROBES = 32


def tuned_stages(work: Work, base: Model) -> list[Stage]:
    """Noise levels and cost; both models at every image; few images closely; samples."""
    against, request, run = _Against(work, base), work.request, work.run
    stages = [
        *duplicate_stages(run, request, work.base, seed=request.seed, share=0.02),
        Stage.single("points", "choosing noise levels", work.points, share=0.02),
        Stage.single(_PLAN, "measuring the cost", against.plan, share=0.02),
        Stage(AGAINST, against.parts, joined, 0.4, partial(against.seconds, "against"), notice=against.notice),
        Stage(LOOKED, against.looks, joined, 0.3, partial(against.seconds, "looked")),
    ]
    if request.drawn:
        stages.append(Stage(DRAWN, against.draws, joined_samples, 0.2))
    if request.drawn or work.samples is not None:
        stages.append(Stage.single(COPIES, "comparing samples with the training data", Drawn(work).copies, share=0.02))
    return stages


def tuned_report(run: Run) -> Report:
    """Numbers, findings and page, from the records."""
    has_samples = run.config["samples"] is not None or run.config["measured"]["draws"]
    records = run.load_all([DUPLICATES, "points", _PLAN, AGAINST, LOOKED, *([COPIES] if has_samples else [])])
    numbers = tuned_numbers(records, run.metrics())
    page = tuned_page(run, records, numbers)
    return Report(page.box.verdict, plain({**numbers, "ranking": numbers["ranking"][:100]}), page, table=page.table)


class _Against:
    """Makes the records; what several need is computed once in a process."""

    def __init__(self, work: Work, base: Model) -> None:
        self.work, self.base = work, base

    @cached_property
    def rows(self) -> dict[str, NDArray[np.int64]]:
        """Rows of each set, in the order in which they are measured."""
        work, out = self.work, {}
        for name, rows in ((TRAINING, work.keep), (HELD_OUT, self._fresh)):
            if work.sources[name] is not None:
                rng = np.random.default_rng(derived_seed(work.request.seed, f"against, {name}"))
                out[name] = np.asarray(rows[rng.permutation(rows.size)])
        return out

    @property
    def _fresh(self) -> NDArray[np.int64]:
        """Held-out rows that nearly are no training image."""
        work = self.work
        if work.held_out is None:
            return work.fresh
        apart = distances_apart(work.held_out, work.fresh, work.source(TRAINING), work.distinct)
        return work.fresh[apart > work.near]

    def plan(self) -> xr.Dataset:
        """How many images and draws the budget allows, by a measured rate, and what they will cost."""
        work, request = self.work, self.work.request
        one = work.evaluation
        each, levels = max(one.seconds, 1e-9), len(work.screening_times)
        sampling = request.drawn * EVALUATIONS_DRAWN * (1 if request.guidance == 1 else 2) * each
        rest = max(request.seconds - sampling, 0.4 * request.seconds)
        allowed = (1 - _LOOKING) * rest / each / (4 * levels)  # mirrored, by two models
        sizes = sorted(rows.size for rows in self.rows.values())
        # Where one set is small, as that of a fine-tuning is, the other gets what it leaves.
        most = max(8, int(max(allowed / len(sizes), allowed - sum(sizes[:-1]))))
        counts = {name: min(rows.size, most) for name, rows in self.rows.items()}
        pairs = int(np.clip(allowed / sum(counts.values()), 1, _PAIRS))
        return xr.Dataset(
            attrs={
                "seconds_each": each,
                "memory_each": one.memory,
                "drawn": request.drawn,
                "pairs": pairs,
                **{f"count_{name}": counts.get(name, 0) for name in SETS},
                "against": 4 * levels * pairs * sum(counts.values()) * each,
                "looking": _LOOKING * rest,
            }
        )

    @cached_property
    def _plan(self) -> dict[str, float]:
        return dict(self.work.run.load(_PLAN).attrs)

    def seconds(self, what: str) -> float:
        """Estimated seconds of a stage."""
        return float(self._plan["against" if what == "against" else "looking"])

    def notice(self) -> str | None:
        """What it will cost, where that is long."""
        seconds = self._plan["against"] + self._plan["looking"]
        seconds += self._plan["drawn"] * EVALUATIONS_DRAWN * self._plan["seconds_each"]
        if seconds < 60:
            return None
        return (
            f"One evaluation takes {1e3 * self._plan['seconds_each']:.3g} ms: up to {duration(seconds)} on one core or GPU. Interrupted, the "
            "same command resumes."
        )

    def pair_at(self, name: str, rows: NDArray[np.int64]) -> Pair:
        """Both scores with the conditions of these images."""
        work = self.work
        return pair(work.score_at(name, rows), work.score_at(name, rows, self.base))

    # --- every image ---

    def parts(self) -> Sequence[Part]:
        """Some places of both sets a part."""
        count = max(int(self._plan[f"count_{name}"]) for name in self.rows)
        what = f"comparing with the base, about {duration(self.seconds('against'))}"
        return split(AGAINST, what, count, _STEP, self._part)

    def _part(self, places: range, tell: Tell) -> xr.Dataset:
        work, found, names = self.work, [], []
        for name, rows in self.rows.items():
            some = rows[: int(self._plan[f"count_{name}"])][places.start : places.stop]
            if some.size == 0:
                continue
            images = work.model.encode(work.source(name), some)
            both = self.pair_at(name, some)
            by_score = [
                screen(
                    score,
                    images,
                    work.screening_times,
                    pairs=int(self._plan["pairs"]),
                    first=places.start,
                    seed=work.request.seed,
                    batch_size=work.batch,
                    device=work.model.device,
                ).drop_attrs()
                for score in (both.score, both.reference)
            ]
            one = xr.concat(by_score, xr.Variable("score", [MODEL, BASE]))
            labels = np.array([work.source(name).label(int(row)) for row in some], dtype=object)
            words = np.array([" ".join(work.words(name, int(row))) for row in some], dtype=object)
            one = one.assign(row=("point", some.astype(float)), label=("point", labels), words=("point", words))
            found.append(one)
            names.append(name)
            tell(len(names) / len(self.rows), "")
        missing = {"row": np.nan, "label": "", "words": "", "error": np.nan, "freedom": np.nan, "squares": np.nan}
        out = xr.concat(found, xr.Variable("set", names), join="outer", fill_value=missing)
        return out.reindex({"set": list(self.rows), "point": list(places)}, fill_value=missing)

    # --- few images, closely ---

    @cached_property
    def _looked(self) -> tuple[float, NDArray[np.int64], float]:
        """Noise variance, training rows from those that have lost most to the one that has lost least, and seconds of each."""
        work = self.work
        found = work.run.load(AGAINST)
        numbers = tuned_numbers({AGAINST: found}, ())
        t, ranking = float(numbers["reference_t"]), numbers["ranking"]
        free = float(found["squares"].sel(score=BASE, set=TRAINING).sel(t=t, method="nearest").mean())
        evaluations = 2 * expected_evaluations(max(free, 0.0), math.prod(work.model.shape)) + 4 * _PROBES
        seconds = evaluations * float(self._plan["seconds_each"])
        most = min(work.request.points, len(ranking))
        count = int(np.clip(self._plan["looking"] / seconds, seconds < work.request.seconds, most))
        least = 1 if count > 3 else 0
        chosen = [*ranking[: count - least], *ranking[len(ranking) - least :]]
        return t, np.array([row["row"] for row in chosen], dtype=np.int64), seconds

    def looks(self) -> Sequence[Part]:
        """One image a part."""
        t, rows, seconds = self._looked
        if rows.size == 0:
            return [Part(f"{LOOKED}_none", "looking closely at no image", lambda tell: _no_look(t))]
        what = f"looking closely at {rows.size} images, about {duration(rows.size * seconds)}"
        return split(LOOKED, what, rows.size, 1, lambda places, tell: self._look(int(rows[places.start]), t))

    def _look(self, row: int, t: float) -> xr.Dataset:
        work, model, rows = self.work, self.work.model, np.array([row])
        clean = model.encode(work.source(TRAINING), rows).to(model.device).to(model.dtype)
        noise = torch.randn(model.shape, generator=derived_generator(work.request.seed, "looked", row)).to(clean)
        both, x = self.pair_at(TRAINING, rows), clean + math.sqrt(t) * noise
        found = lost_directions(both, x[0], t, seed=work.request.seed)
        with torch.no_grad(), full_precision():
            s, r = both(x, t)
        at = Noisy(both, clean, t, noise[None, None], "image", work.batch, row, work.request.seed)
        where = curvature_picture(at, probes=_PROBES)[0].sum(0) * t
        d = math.prod(model.shape)
        vectors = np.full((1, _SHOWN, d), np.nan)
        kept = found.vectors[:_SHOWN].flatten(1).cpu().numpy()
        vectors[0, : len(kept)] = kept
        guesses = {
            name: (x + t * value).flatten(1).to(torch.float64).cpu().numpy()
            for name, value in (("model_guess", s), ("base_guess", r))
        }
        flat = clean.flatten(1).to(torch.float64).cpu().numpy()
        survivals = {
            f"{name}_survival": (("point", "shown"), _padded(values.cpu().numpy()), {"units": "1"})
            for name, values in (("model", found.score), ("base", found.reference))
        }
        source = work.source(TRAINING)
        units = {"units": "data units"}
        return xr.Dataset(
            {
                "row": ("point", [float(row)]),
                "label": ("point", np.array([source.label(row)], dtype=object)),
                "words": ("point", np.array([" ".join(work.words(TRAINING, row))], dtype=object)),
                "free": ("point", [float(found.free)], {"units": "dimensions", "long_name": "free for the base"}),
                "lost": ("point", [float(len(found.score))], {"units": "dimensions"}),
                "picture": (("point", "value"), pictures(model, flat), units),
                "noisy": (("point", "value"), pictures(model, x.flatten(1).to(torch.float64).cpu().numpy()), units),
                **{name: (("point", "value"), pictures(model, value), units) for name, value in guesses.items()},
                "direction": (
                    ("point", "shown", "value"),
                    direction_pictures(model, guesses["base_guess"], vectors, t),
                    units,
                ),
                **survivals,
                "where": (("point", "y", "x"), where[None].to(torch.float64).cpu().numpy(), {"units": "dimensions"}),
            },
            attrs={"t": t},
        )

    def draws(self) -> Sequence[Part]:
        """Samples of the fine-tuned model."""
        return Drawn(self.work).draws(int(self._plan["drawn"]))


def _padded(values: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.full((1, _SHOWN), np.nan)
    out[0, : min(len(values), _SHOWN)] = values[:_SHOWN]
    return out


def _no_look(t: float) -> xr.Dataset:
    empty = {name: ("point", np.empty(0)) for name in ("row", "free", "lost")}
    return xr.Dataset(empty, attrs={"t": t})
