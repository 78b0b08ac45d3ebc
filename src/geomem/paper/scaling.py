"""Supp. C: how many samples keep the score from condensing, over the manifold's dimension and over the space's."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

from geomem import theory
from geomem.figures.style import HELD_OUT
from geomem.intervals import resampled
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import INK, drawn
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.verdict import Claim, Evidence, Runs, graded
from geomem.seeds import derived_generator, derived_seed

__all__ = ["EXPERIMENTS", "ScalingSettings", "scaling_parts"]

_SYMBOLS = {"rank": "m", "dim": "d"}


@dataclass(frozen=True)
class ScalingSettings:
    """How many samples keep the score from condensing (Supp. C, last paragraph).

    Attributes:
        ranks: m, at the first of `dims`.
        dims: d, at the first of `ranks`.
        t: Noise variance, for variances of 1.
        datasets: Data sets of each kind.
        seed: Seed of the data.
    """

    ranks: tuple[int, ...] = (4, 5, 6, 7, 8, 9, 10)
    dims: tuple[int, ...] = (16, 32, 64, 128)
    t: float = 0.1
    datasets: int = 400
    seed: int = 0


def scaling_parts(settings: ScalingSettings) -> Mapping[str, Work]:
    """N at which the mean participation ratio at the origin is 1/2: over m, and over d."""
    return {
        "ranks": lambda run, tell: _sizes(settings, [(m, settings.dims[0]) for m in settings.ranks], tell),
        "dims": lambda run, tell: _sizes(settings, [(settings.ranks[0], d) for d in settings.dims], tell),
    }


def _sizes(settings: ScalingSettings, cases: list[tuple[int, int]], tell: Telling) -> xr.Dataset:
    """Mean Y at the origin over N = 2, 3, 4, 6, 8, ... samples, until it is well below 1/2, for every m and d."""
    origin_y, sizes = [], []
    for index, (m, d) in enumerate(cases):
        manifold = LinearManifold.subspaces(d, [(m, 1.0)])
        largest = max(8, int(8 * theory.required_samples(manifold.variances.numpy(), settings.t)))
        n = np.unique(np.round(2 * (largest / 2) ** np.linspace(0, 1, 24)).astype(int))
        y = np.empty((settings.datasets, n.size))
        for i in range(settings.datasets):
            data = manifold.sample(largest, generator=derived_generator(settings.seed, "data", (m, d, i)))
            # Nested data sets: the weights of the first n samples, from one pass over all of them.
            logits = -data.square().sum(1) / (2 * settings.t)
            first = torch.logcumsumexp(logits, 0)
            second = torch.logcumsumexp(2 * logits, 0)
            y[i] = torch.exp(second - 2 * first)[n - 1].numpy()
        sizes.append(n)
        origin_y.append(y)
        tell((index + 1) / len(cases))
    rng = np.random.default_rng(derived_seed(settings.seed, "bootstrap"))
    half = np.array([_half_condensed(n, y, rng) for n, y in zip(sizes, origin_y, strict=True)])
    predicted = [float(theory.required_samples([1.0] * m, settings.t)) for m, _ in cases]
    samples = {"units": "samples"}
    return xr.Dataset(
        {
            "half_condensed": (("case", "draw"), half, samples | {"note": "the estimate, then bootstrap draws"}),
            "required_samples": ("case", predicted, samples),
        },
        coords={"rank": ("case", [m for m, _ in cases]), "dim": ("case", [d for _, d in cases])},
        attrs={"t": settings.t, "datasets": settings.datasets},
    )


def _half_condensed(n: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N at which the mean over data sets of Y (dataset, n) is 1/2, interpolated in ln N; then 200 bootstrap draws."""
    draws = [np.arange(len(y)), *rng.integers(0, len(y), (200, len(y)))]
    means = [y[rows].mean(0) for rows in draws]
    # Y falls with N on average; np.interp wants it ascending.
    return np.array([np.exp(np.interp(0.5, mean[::-1], np.log(n)[::-1])) for mean in means])


@drawn(7.2, 3)
def _figure(figure: Figure, records: Records, settings: ScalingSettings) -> str:
    """Samples at which the mean Y at the origin is 1/2, over m and over d."""
    for axis, (name, arrays) in zip(figure.subplots(1, 2, sharey=True), records.items(), strict=True):
        varied, fixed = ("rank", "dim") if name == "ranks" else ("dim", "rank")
        n = arrays["half_condensed"].isel(draw=0)
        error = 2 * arrays["half_condensed"].isel(draw=slice(1, None)).std("draw")
        axis.errorbar(arrays[varied], n, error, fmt="o", color=INK, ms=4, label="simulation, Y = ½")
        axis.plot(arrays[varied], arrays["required_samples"], color=HELD_OUT, label="theory, exp(d h(t))")
        title = f"{_SYMBOLS[fixed]} = {int(arrays[fixed][0])}"
        axis.set(yscale="log", xlabel=_SYMBOLS[varied], ylabel="samples N", title=title)
        axis.legend(fontsize=7)
    return f"variances 1, t = {settings.t:g}; {settings.datasets} data sets, bars 2 s.e."


def _exponential(runs: Runs) -> Evidence:
    held = runs["scaling"]
    m, logs = held["ranks"]["rank"].values.astype(float), np.log(held["ranks"]["half_condensed"].values)
    datasets = int(held["ranks"].attrs["datasets"])
    slopes = np.polyfit(m, logs, 1)[0]
    slope = resampled(float(slopes[0]), slopes[1:], datasets)
    # Exponential against a power law: which straight line leaves less.
    left = [np.square(logs - np.polyval(np.polyfit(x, logs, 1), x[:, None])).sum(0) for x in (m, np.log(m))]
    exponential = float((left[0] < left[1])[1:].mean())
    over_d = np.polyfit(held["dims"]["dim"].values.astype(float), np.log(held["dims"]["half_condensed"].values), 1)[0]
    flat = resampled(float(over_d[0]), over_d[1:], datasets)
    predicted = float(np.polyfit(m, np.log(held["ranks"]["required_samples"].values), 1)[0])
    sizes = held["ranks"]["half_condensed"].values[:, 0]
    text = (
        f"ln N grows by {slope:.3f} for each dimension of the manifold (theory, h(t): {predicted:.3f}), from {sizes[0]:,.0f} samples at m = "
        f"{m[0]:g} to {sizes[-1]:,.0f} at m = {m[-1]:g}. A line in m fits ln N better than a line in ln m in {exponential:.0%} of "
        "bootstrap draws.",
        f"ln N grows by {flat:.5f} for each ambient dimension. At the origin Y does not depend on d at all, so this only "
        "repeats an identity with other samples.",
    )
    return Evidence(graded([slope.low > 0 and exponential > 0.95, flat.low <= 0 <= flat.high]), text)


EXPERIMENTS = (
    Experiment(
        "scaling",
        "Supp. C",
        "samples that keep the score from condensing, over m and over d",
        scaled(ScalingSettings(), ranks=(4, 5, 6, 7, 8), dims=(16, 32, 64), datasets=100),
        {"quick": 1, "full": 6},
        scaling_parts,
        _figure,
        (
            Claim(
                "scaling",
                "The samples needed to avoid condensation grow exponentially with the dimension of the manifold, not of the "
                "space.",
                "Supp. C",
                "N at which the mean Y at the origin is ½: slope of ln N over m above 0 and closer to a line in m than in ln "
                "m; slope over d not different from 0",
                _exponential,
            ),
        ),
    ),
)
