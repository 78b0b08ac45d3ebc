"""Figs. 9 and 10: spectra of the empirical score for several numbers of samples, and which gap closes first."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.figure import Figure

from geomem.intervals import Interval
from geomem.manifolds import LinearManifold
from geomem.paper.drawing import drawn, size_legend, size_panels
from geomem.paper.experiment import Experiment, Records, Telling, Work, scaled
from geomem.paper.parameters import M7, M15, PLACES, SIZES, TIMES, UNITS_J, UNITS_T, Subspaces
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded, interval
from geomem.records import Run
from geomem.scores import EmpiricalScore
from geomem.seeds import derived_generator
from geomem.spectra import spectrum

__all__ = ["EXPERIMENTS", "SizeSettings", "simulated_parts"]

_SUBSPACES = {"fig9": M7, "fig10": M15}


@dataclass(frozen=True)
class SizeSettings:
    """Spectra for several N and t: Figs. 9 and 10 by simulation, Figs. 13 and 14 by theory.

    Attributes:
        parts: Dimension and variance of each subspace.
        sizes: N of each line.
        times: t of each panel.
        realizations: Data sets (simulation) or draws of the random matrix (Eq. 18).
        dim: d.
        seed: Random seed.
    """

    parts: Subspaces
    sizes: tuple[int, ...] = SIZES
    times: tuple[float, ...] = TIMES
    realizations: int = 30
    dim: int = 30
    seed: int = 0


def simulated_parts(settings: SizeSettings) -> Mapping[str, Work]:
    """Alg. 2 on the empirical score, one record for each number of samples."""
    return {f"samples-{n}": partial(_realizations, settings, n) for n in settings.sizes}


def _realizations(settings: SizeSettings, n: int, run: Run, tell: Telling) -> xr.Dataset:
    """Ordered singular values by Alg. 2 at the origin, a sample and a held-out point; smoothed (Eq. 5) at the origin.

    Alg. 2's Gaussian probes smear the values, which fills gaps; the smoothed Jacobian shows whether they are there.
    """
    manifold = LinearManifold.subspaces(settings.dim, settings.parts)
    t = torch.tensor(settings.times, dtype=torch.float64)
    shape = (len(PLACES), t.numel(), settings.dim)
    out = np.empty((settings.realizations, *shape), dtype=np.float32)
    smoothed = np.empty((settings.realizations, *shape[1:]), dtype=np.float32)
    for i in range(settings.realizations):
        data = manifold.sample(n + 1, generator=derived_generator(settings.seed, "data", (n, i)))
        centres = torch.stack([torch.zeros_like(data[0]), data[0], data[n]])
        x, times = centres[:, None].expand(shape), t.expand(shape[:2])
        generator = derived_generator(settings.seed, "probe", (n, i))
        score = EmpiricalScore(data[:n])
        out[i] = spectrum(score, x, times, probe="antithetic", generator=generator).values.numpy()
        smoothed[i] = spectrum(score, x[0], t, probe="smoothed").values.numpy()
        tell((i + 1) / settings.realizations)
    return xr.Dataset(
        {
            "singular_value": (("realization", "place", "t", "direction"), out, UNITS_J),
            "smoothed": (("realization", "t", "direction"), smoothed, UNITS_J),
        },
        coords={
            "place": list(PLACES),
            "t": ("t", t.numpy(), UNITS_T),
            "direction": np.arange(1, settings.dim + 1),
        },
        attrs={"n_samples": n},
    )


@drawn(13, 7)
def _figure(figure: Figure, records: Records, settings: SizeSettings) -> str:
    """Alg. 2 on the empirical score, a panel for each t, a line for each N.

    Alg. 2's Gaussian probes hide small gaps, so the smoothed Jacobian is drawn above it.
    """
    parts = list(records.values())
    sizes = [part.attrs["n_samples"] for part in parts]
    rows = {
        "origin, smoothed (Eq. 5)": [part["smoothed"] for part in parts],
        "origin, Alg. 2": [part["singular_value"].sel(place="origin") for part in parts],
        "training point, Alg. 2": [part["singular_value"].sel(place="training") for part in parts],
    }
    axes = figure.subplots(len(rows), parts[0].sizes["t"], sharex=True, sharey=True)
    for row, (label, values) in zip(axes, rows.items(), strict=True):
        size_panels(row, sizes, [v.mean("realization") * v["t"] for v in values], parts[0]["t"].values)
        row[0].set_ylabel(f"{label}\nt × singular value")
    size_legend(figure, sizes)
    top = axes[0, 0].get_ylim()[1]
    return f"means over {parts[0].sizes['realization']} data sets; values above {top:g} are cut."


def _closes(opened: np.ndarray, sizes: np.ndarray, rows: np.ndarray) -> float:
    """N at which half of the data sets have a gap open (size, dataset), between sizes in ln N; an end where none."""
    share = opened[:, rows].mean(1)
    below = np.flatnonzero(share < 0.5)
    if below.size == 0:
        return float(sizes[0])  # open at every size: closes below the smallest
    last = below[-1]
    if last == sizes.size - 1:
        return float(sizes[-1])  # closed at every size
    pair = slice(last, last + 2)
    return float(np.exp(np.interp(0.5, share[pair], np.log(sizes[pair]))))


def _closing(runs: Runs) -> Evidence:
    found, parts, rows = [], [], []
    for name, held in runs.items():
        (high, _), (low, _) = _SUBSPACES[name]
        m, by_size = high + low, list(held.values())
        sizes = np.array([part.attrs["n_samples"] for part in by_size])
        values = np.stack([part["smoothed"].values.astype(np.float64) for part in by_size])
        t = by_size[0]["t"].values
        d = values.shape[-1]
        for k, u in enumerate(t):
            if u > 0.3 or u < 0.01:
                continue
            steps = values[:, :, k, :-1] - values[:, :, k, 1:]
            # Open: wider than all others, of the whole spectrum or of its tangent part.
            total_open = steps.argmax(-1) == d - m - 1
            middle_open = steps[..., d - m :].argmax(-1) == m - high - 1

            total, middle = (
                interval(partial(_closes, opened, sizes), values.shape[1]) for opened in (total_open, middle_open)
            )
            if total.high < sizes[-1]:  # otherwise both are closed at every N, and have no order
                parts.append(middle.low > total.high)
            rows.append((f"{m}", f"{u:g}", _bounded(middle, sizes), _bounded(total, sizes)))
        found.append(
            f"m = {m}: {sizes.size} sizes from {sizes[0]:,} to {sizes[-1]:,}, {values.shape[1]} data sets each."
        )
    table = Table(("m", "t", "intermediate gap closes at N", "total gap closes at N"), tuple(rows))
    return Evidence(graded(parts), tuple(found), table)


def _bounded(n: Interval, sizes: np.ndarray) -> str:
    if n.value <= sizes[0]:
        return f"below {sizes[0]:,}"
    if n.value >= sizes[-1]:
        return f"above {sizes[-1]:,}"
    return f"{n.value:,.0f} [{n.low:,.0f}, {n.high:,.0f}]"


_CLAIMS = (
    Claim(
        "closing",
        "As N falls, the intermediate gap closes before the total one.",
        "Sec. 5.4, Figs. 9 and 10",
        "N at which half of the data sets have a gap open, interpolated; open is wider than every other step of the sorted "
        "smoothed spectrum at the origin (total), or of its tangent part (intermediate); bootstrap over data sets",
        _closing,
    ),
)


EXPERIMENTS = tuple(
    Experiment(
        name,
        f"Fig. {name[3:]}",
        f"empirical spectra at several t and N for m = {sum(m for m, _ in parts)}",
        scaled(SizeSettings(parts), sizes=(50, 250, 1000, 10_000), realizations=5),
        {"quick": 4, "full": 120},
        simulated_parts,
        _figure,
        _CLAIMS,
    )
    for name, parts in _SUBSPACES.items()
)
