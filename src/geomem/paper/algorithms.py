"""Supp. B: how reliable Algs. 1 to 3 are where the truth is known.

Algs. 1 and 2 are repeated with fresh noise at the same points: what changes between repetitions is the algorithm's own
error. Gap rules read the dimension of linear manifolds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geomem.figures.style import HELD_OUT, TRAINING, log_axis
from geomem.intervals import Interval, mean
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import INK, drawn
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, M15, UNITS_T
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded, interval
from geomem.records import Run
from geomem.scores import EmpiricalScore, Score
from geomem.seeds import derived_generator
from geomem.spectra import spectrum
from geomem.spectra.dimension import normal_bundle, second_difference

__all__ = ["EXPERIMENTS", "AlgorithmSettings", "algorithm_parts"]

# Name to probe and its directions, in units of d. Alg. 2 evaluates the score twice for each: with half as many directions
# it costs as much as Alg. 1.
_PROBES = {
    "Alg. 1": ("score-matrix", 4),
    "Alg. 2": ("antithetic", 4),
    "Alg. 2, half": ("antithetic", 2),
    "orthonormal": ("orthonormal", 1),
}


@dataclass(frozen=True)
class AlgorithmSettings:
    """Algs. 1, 2 and 3, and the rule of Stanczuk et al.

    Attributes:
        dim: d of the two manifolds whose subspaces the figures have.
        n_samples: N of the empirical score.
        times: Noise variances t.
        points: Points x0, samples of the data.
        repeats: Repetitions of a probe at each point.
        thresholds: Thresholds c of Alg. 3.
        seed: Random seed.
    """

    dim: int = 30
    n_samples: int = 1000
    times: tuple[float, ...] = (1.0, 0.1, 0.01, 1e-3, 1e-5)
    points: int = 20
    repeats: int = 20
    thresholds: tuple[float, ...] = (5.0, 10.0, 15.0, 30.0)
    seed: int = 0


def algorithm_parts(settings: AlgorithmSettings) -> Mapping[str, Work]:
    """Singular values over repetitions, and the dimensions that gap rules read from them."""
    manifolds = {
        "m7": LinearManifold.subspaces(settings.dim, M7),
        "m15": LinearManifold.subspaces(settings.dim, M15),
        "uniform": LinearManifold.uniform(100, 40, generator=derived_generator(settings.seed, "variances")),
    }
    return {name: partial(_repeated, settings, manifold) for name, manifold in manifolds.items()}


def _repeated(settings: AlgorithmSettings, manifold: LinearManifold, run: Run, tell: Telling) -> xr.Dataset:
    data = manifold.sample(settings.n_samples, generator=derived_generator(settings.seed, "data"))
    scores: dict[str, Score] = {"exact": manifold.score, "empirical": EmpiricalScore(data)}
    x = data[: settings.points]
    t = torch.tensor(settings.times, dtype=torch.float64)
    shape = (len(scores), len(_PROBES), settings.repeats, t.numel(), settings.points)
    values = np.empty((*shape, manifold.dim))
    for i, score in enumerate(scores.values()):
        for r in range(settings.repeats):
            for k, (probe, share) in enumerate(_PROBES.values()):
                # The same noise for Algs. 1 and 2 and for all points, a fresh one for each repetition.
                generator = derived_generator(settings.seed, "probe", r)
                at, times = x.expand(t.numel(), -1, -1), t[:, None].expand(-1, settings.points)
                found = spectrum(score, at, times, probe=probe, probes=share * manifold.dim, generator=generator)
                values[i, k, r] = found.values.numpy()
            tell((i * settings.repeats + r + 1) / (len(scores) * settings.repeats))
    rules = {"normal bundle": normal_bundle(torch.from_numpy(values)).value}
    for c in settings.thresholds:
        rules[f"Alg. 3, c = {c:g}"] = second_difference(torch.from_numpy(values), threshold=c).value
    logs = np.log(values)
    # The exact score's Jacobian is the same at every point.
    truth = np.sort(-np.log(t[:, None].numpy() + manifold.variances.numpy()), -1)[:, None, ::-1]
    dims = ("score", "probe", "repeat", "t", "point")
    return xr.Dataset(
        {
            "deviation": (
                dims,
                np.sqrt(np.square(logs - logs.mean(2, keepdims=True)).mean(-1)).astype(np.float32),
                {"note": "r.m.s. over directions of ln singular value less its mean over repetitions"},
            ),
            "bias": (
                ("probe", "t", "point"),
                np.sqrt(np.square(logs[0].mean(1) - truth).mean(-1)),
                {"note": "exact score: r.m.s. over directions of the mean error of ln singular value"},
            ),
            "dimension": (("rule", *dims), np.stack(list(rules.values())).astype(np.float32)),
        },
        coords={
            "score": list(scores),
            "probe": list(_PROBES),
            "t": ("t", t.numpy(), UNITS_T),
            "rule": list(rules),
        },
        attrs={"dim": manifold.dim, "rank": manifold.rank},
    )


@drawn(9.5, 5.6)
def _figure(figure: Figure, records: Records, settings: AlgorithmSettings) -> str:
    """Scatter of singular values over repetitions by probe, and error of the dimension by rule."""
    columns = figure.subplots(2, len(records)).T
    for (top, bottom), (name, arrays) in zip(columns, records.items(), strict=True):
        _scatter(top, arrays)
        top.set_title(f"{name}, d = {arrays.attrs['dim']}, m = {arrays.attrs['rank']}")
        _rules(bottom, arrays)
    columns[0, 0].legend(fontsize=7, title="— exact, - - empirical score", title_fontsize=7)
    columns[0, 1].legend(fontsize=6)
    return f"{settings.points} points, {settings.repeats} repetitions, K = {_PROBES['Alg. 1'][1]}d."


def _scatter(axis: Axes, arrays: xr.Dataset) -> None:
    for probe, colour, width in (("Alg. 1", TRAINING, 4), ("Alg. 2", HELD_OUT, 1.2), ("orthonormal", INK, 1.2)):
        for score, line in (("exact", "-"), ("empirical", "--")):
            scatter = arrays["deviation"].sel(probe=probe, score=score).mean(["repeat", "point"])
            label, alpha = (probe if score == "exact" else None), (0.5 if width > 2 else 1)
            axis.plot(arrays["t"], scatter, line, color=colour, lw=width, alpha=alpha, label=label)
    axis.set(yscale="log", ylim=(1e-6, 0.3), ylabel="scatter of ln singular value")
    log_axis(axis, "t")


def _rules(axis: Axes, arrays: xr.Dataset) -> None:
    wrong = _errors(arrays).mean("repeat")
    colours = (INK, "#E69F00", "#009E73", "#D55E00", "#CC79A7")
    for rule, colour in zip(arrays["rule"].values, colours, strict=False):
        probe = "Alg. 1" if rule == "normal bundle" else "Alg. 2"
        values = wrong.sel(rule=rule, probe=probe)
        axis.plot(arrays["t"], values, "o-", ms=3, color=colour, label=f"{rule} ({probe})")
    axis.set(ylabel="mean error of the dimension", title="exact score")
    log_axis(axis, "t")


def _errors(arrays: xr.Dataset) -> xr.DataArray:
    """Error of the dimension under the exact score, whose Jacobian is the same at all points; no answer is one of m."""
    m = arrays.attrs["rank"]
    wrong: xr.DataArray = np.abs(arrays["dimension"].sel(score="exact").isel(point=0) - m)
    return wrong.fillna(m)


def _scatter_ratio(arrays: xr.Dataset, score: str, t: float, probe: str) -> Interval:
    """Scatter of a probe over repetitions by that of Alg. 1: the repetitions are the units, since all points share them."""
    power = np.square(arrays["deviation"].sel(score=score, t=t).transpose("probe", "repeat", "point").values).mean(-1)
    one, other = (power[list(arrays["probe"].values).index(p)] for p in ("Alg. 1", probe))
    return interval(lambda r: float(np.sqrt(other[r].mean() / one[r].mean())), one.size)


def _stable(runs: Runs) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in runs["algorithms"].items():
        cases = [(str(score), float(u)) for score in arrays["score"].values for u in arrays["t"].values]
        ratios = {
            probe: [_scatter_ratio(arrays, *case, probe) for case in cases] for probe in ("Alg. 2", "Alg. 2, half")
        }
        for k, (score, u) in enumerate(cases):
            rows.append((name, score, f"{u:g}", *(f"{ratios[probe][k]:.2f}" for probe in ratios)))
        bias = {str(p): arrays["bias"].sel(probe=p).mean("point").values for p in arrays["probe"].values}
        parts += [all(r.high < 1 for r in ratios["Alg. 2"]), bool((bias["Alg. 2"] < bias["Alg. 1"]).all())]
        found.append(
            f"{name}: relative to Alg. 1, the scatter over repetitions is {_ratios(ratios['Alg. 2'])} for Alg. 2 with as many "
            f"directions and {_ratios(ratios['Alg. 2, half'])} with as many evaluations."
        )
        found.append(
            f"{name}: mean error of ln singular value under the exact score {_span(bias['Alg. 1'])} by Alg. 1, "
            f"{_span(bias['Alg. 2'])} by Alg. 2, {_span(bias['orthonormal'])} by the orthonormal probe."
        )
    header = ("manifold", "score", "t", "Alg. 2 / Alg. 1, 4d directions each", "Alg. 2 with 2d / Alg. 1 with 4d")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _ratios(found: Sequence[Interval]) -> str:
    values = [r.value for r in found]
    return f"{min(values):.2f} to {max(values):.2f}"


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2g} to {values.max():.2g}"


def _robust(runs: Runs) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in runs["algorithms"].items():
        m = arrays.attrs["rank"]
        wrong = _errors(arrays).transpose("rule", "probe", "t", "repeat")
        rules = [str(r) for r in arrays["rule"].values if r != "normal bundle"]
        better = worse = 0
        for rule in rules:
            for u in arrays["t"].values:
                ours, theirs = (
                    {p: wrong.sel(rule=r, probe=p, t=u).values for p in ("Alg. 1", "Alg. 2")}
                    for r in (rule, "normal bundle")
                )
                pair = mean(theirs["Alg. 1"] - ours["Alg. 2"], confidence=1 - 0.05 / (len(rules) * arrays.sizes["t"]))
                better, worse = better + (pair.low > 0), worse + (pair.high < 0)
                cells = (
                    f"{v.mean():.2f}" for v in (theirs["Alg. 1"], theirs["Alg. 2"], ours["Alg. 1"], ours["Alg. 2"])
                )
                rows.append((name, rule, f"{u:g}", *cells, f"{pair:+.2f}"))
        parts += [better > 0, worse == 0]
        found.append(
            f"{name} (m = {m}): Alg. 3 on Alg. 2 is closer to the truth than Stanczuk's rule on Alg. 1 in {better} of "
            f"{len(rules) * arrays.sizes['t']} cases and farther from it in {worse} (simultaneous 95% intervals)."
        )
    header = (
        "manifold",
        "rule",
        "t",
        "Stanczuk, Alg. 1",
        "Stanczuk, Alg. 2",
        "Alg. 3, Alg. 1",
        "Alg. 3, Alg. 2",
        "first less last",
    )
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


EXPERIMENTS = (
    Experiment(
        "algorithms",
        "Supp. B, Algs. 1 to 3",
        "scatter of the probes over repetitions, and errors of the gap rules",
        scaled(AlgorithmSettings(), points=6, repeats=6),
        {"quick": 8, "full": 90},
        algorithm_parts,
        _figure,
        (
            Claim(
                "stable",
                "Alg. 2 is more stable than Alg. 1.",
                "Supp. B.1",
                "scatter of ln singular values over repetitions with fresh noise, below that of Alg. 1 in every case; and mean "
                "error under the exact score, smaller at every t; bootstrap over repetitions",
                _stable,
            ),
            Claim(
                "robust",
                "Alg. 3 is more robust than the rule of Stanczuk et al.",
                "Supp. B",
                "error of the dimension of linear manifolds under the exact score, Stanczuk's rule on Alg. 1 less Alg. 3 on "
                "Alg. 2 (no answer counts as an error of m), paired over repetitions; holds if it is somewhere positive and "
                "nowhere negative",
                _robust,
            ),
        ),
    ),
)
