"""Figs. 5 and 16: spectra of networks trained on manifolds with two variances, and which subspace they lose."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.intervals import mean
from geomem.paper.drawing import drawn, gap_lines, size_legend, size_panels
from geomem.paper.experiment import Experiment, Records, scaled
from geomem.paper.networks import NetworkSettings, axis_survival, network_parts, training_seconds, with_steps
from geomem.paper.parameters import SUBSPACES
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded

__all__ = ["EXPERIMENTS"]

_SMALL_T = 1e-5
_KEPT = "fraction of the exact survival kept along the axes, low variance less high"
_NAMES = {"antithetic": "Alg. 2", "orthonormal": "orthonormal"}
_PLACES = {"training": "training points", "held_out": "held-out points"}


@drawn(13, 9.2)
def _figure(figure: Figure, records: Records, settings: NetworkSettings) -> str:
    """Spectra of networks by Alg. 2, a panel for each t, a line for each N, with the theoretical gaps.

    Below, the empirical score of the same samples at the same points.
    """
    ((name, arrays),) = records.items()
    rows = [
        ("network", "training", "antithetic"),
        ("network", "training", "orthonormal"),
        ("network", "held_out", "antithetic"),
        ("empirical", "training", "antithetic"),
    ]
    sizes = arrays["size"].values
    axes = figure.subplots(len(rows), arrays.sizes["t"], sharex=True, sharey=True)
    for row, (score, place, probe) in zip(axes, rows, strict=True):
        values = arrays["scaled_value"].sel(score=score, place=place, probe=probe)
        size_panels(row, sizes, [values.sel(size=n) for n in sizes], arrays["t"].values)
        row[0].set_ylabel(f"{score}, {_PLACES[place]}\n{_NAMES[probe]}: t × singular value")
        for axis in row:
            gap_lines(axis, arrays.attrs["dim"], arrays.attrs["rank"], settings.manifolds[name])
    size_legend(figure, sizes, gaps=True)
    return f"Alg. 2 with K = 4d, means over {settings.points} points; {settings.steps:,} training steps."


def _arrays(runs: Runs) -> list[xr.Dataset]:
    return [arrays for records in runs.values() for arrays in records.values()]


def _kept(arrays: xr.Dataset, score: str, place: str) -> np.ndarray:
    """Fraction of the exact survival that is left along the axes (size, t, point, group), 1 at most."""
    values, exact = axis_survival(arrays, score, place)
    # More than the exact survival is an error of the fit, and makes up for no loss.
    return np.asarray(np.minimum(values / exact[:, None, :], 1))


def _gaps(arrays: xr.Dataset, n: int, t: float, place: str, probe: str) -> dict[str, float]:
    """Fraction of points whose largest gap lies within one of a line of Fig. 5, elsewhere, or nowhere (flat spectrum)."""
    d, m = arrays.attrs["dim"], arrays.attrs["rank"]
    high, low = (int(c) for c in arrays["count"].values[:2])
    lines = {"total": d - m, "low": d - low, "high": d - high}
    gap = arrays["gap"].sel(score="network", probe=probe, size=n, t=t).values[arrays["where"].values == place]
    shares = {
        name: float(np.mean(np.abs(gap - k) <= (1 if name != "low" or k - (d - m) > 2 else 0)))
        for name, k in lines.items()
    }
    none = float(np.mean(gap < 0))
    return {**shares, "elsewhere": max(0.0, 1 - none - sum(shares.values())), "none": none}


def _gap_rows(arrays: xr.Dataset, sizes: list[int], place: str) -> list[tuple[str, ...]]:
    return [
        (
            f"{arrays.attrs['rank']}",
            f"{n:,}",
            f"{t:g}",
            _NAMES[probe],
            *(f"{v:.0%}" for v in _gaps(arrays, n, t, place, probe).values()),
        )
        for n in sizes
        for t in arrays["t"].values
        if t <= 0.03
        for probe in _NAMES
    ]


_GAP_HEADER = ("m", "N", "t", "probe", "total", "low", "high", "elsewhere", "none")


def _total_gap(runs: Runs) -> Evidence:
    rows: list[tuple[str, ...]] = []
    parts, found = [], []
    for arrays in _arrays(runs):
        large = [n for n in arrays["size"].values if n >= 5000]
        kept = [
            _gaps(arrays, n, _SMALL_T, place, probe)["total"]
            for n in large
            for place in ("training", "held_out")
            for probe in _NAMES
        ]
        if not large:
            continue
        parts += [share > 0.9 for share in kept]
        least = [
            n
            for n in arrays["size"].values
            if min(_gaps(arrays, n, _SMALL_T, "training", probe)["total"] for probe in _NAMES) > 0.9
        ]
        found.append(
            f"m = {arrays.attrs['rank']}, {arrays.attrs['steps']:,} steps: the largest gap is the total one at {min(kept):.0%} to "
            f"{max(kept):.0%} of points for N = {', '.join(f'{n:,}' for n in large)}, by both probes. At training points it is "
            f"the largest from N = {min(least, default=0):,} on."
        )
        rows += [
            (
                f"{arrays.attrs['rank']}",
                f"{n:,}",
                place.replace("_", "-"),
                *(f"{v:.0%}" for v in _gaps(arrays, n, _SMALL_T, place, "antithetic").values()),
            )
            for n in arrays["size"].values
            for place in ("training", "held_out")
        ]
    header = ("m", "N", "points", "total", "low", "high", "elsewhere", "none")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _low_gap(runs: Runs) -> Evidence:
    found, parts = [], []
    rows: list[tuple[str, ...]] = []
    for arrays in _arrays(runs):
        middle = [n for n in arrays["size"].values if 100 < n <= 500]
        rows += _gap_rows(arrays, middle, "training")
        kept = _kept(arrays, "network", "training")
        for n in middle:
            i = list(arrays["size"].values).index(n)
            low = max(
                _gaps(arrays, n, t, "training", probe)["low"]
                for t in arrays["t"].values
                if t <= 0.03
                for probe in _NAMES
            )
            differences = {
                u: mean(kept[i, k, :, 1] - kept[i, k, :, 0]) for k, u in enumerate(arrays["t"].values) if u <= 0.03
            }
            parts += [low > 0.5, *(pair.low > 0.01 for pair in differences.values())]
            kept_less = ", ".join(f"{pair:+.2f} (t = {u:g})" for u, pair in differences.items())
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}: the largest gap is the low-variance one at no more than {low:.0%} of "
                f"training points. The {_KEPT}, is {kept_less}."
            )
    return Evidence(graded(parts), tuple(found), Table(_GAP_HEADER, tuple(rows)))


def _high_gap(runs: Runs) -> Evidence:
    found, parts = [], []
    rows: list[tuple[str, ...]] = []
    for arrays in _arrays(runs):
        small = [n for n in arrays["size"].values if n <= 100]
        rows += _gap_rows(arrays, small, "training")
        kept = _kept(arrays, "network", "training")
        for n in small:
            share = {probe: _gaps(arrays, n, _SMALL_T, "training", probe) for probe in _NAMES}
            parts.append(max(s["high"] for s in share.values()) > 0.5)
            i = list(arrays["size"].values).index(n)
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}, t = {_SMALL_T:g}: the largest gap is the high-variance one at "
                + " and ".join(
                    f"{s['high']:.0%} of training points by {_NAMES[probe]} (no gap at {s['none']:.0%})"
                    for probe, s in share.items()
                )
                + f". The network keeps {mean(kept[i, -1, :, 0]):.2f} of the exact survival in the high-variance subspace and "
                f"{mean(kept[i, -1, :, 1]):.2f} in the low-variance one."
            )
    return Evidence(graded(parts), tuple(found), Table(_GAP_HEADER, tuple(rows)))


def _agree(runs: Runs) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(runs):
        counts = xr.DataArray(arrays["count"].values, dims="group")
        total = (arrays["axis_survival"] * counts).sum("group").isel(point=arrays["where"].values == "training")
        network, empirical = (
            total.sel(score=name).transpose("size", "t", "point").values for name in ("network", "empirical")
        )
        t, sizes, s = arrays["t"].values, arrays["size"].values, arrays["variance"].values
        exact = np.sum(counts.values * s / (s + t[:, None]), -1)[None, :, None]
        difference = network - empirical
        gained = np.abs(empirical - exact) - np.abs(network - exact)
        for i, n in enumerate(sizes):
            rows.append(
                (f"{arrays.attrs['rank']}", f"{n:,}", *(f"{mean(difference[i, k]):+.2f}" for k in range(t.size)))
            )
        moderate = np.abs(difference[:, t >= 0.3].mean(-1)).max()
        small = gained[:, t <= 0.01]
        beyond = [mean(d).low > 0 for d in small.reshape(-1, small.shape[-1])]
        parts += [bool(moderate < 0.5), all(beyond)]
        found.append(
            f"m = {arrays.attrs['rank']}: at t ≥ 0.3 the two differ by at most {moderate:.2f} dimensions (means over training "
            f"points). At t ≤ 0.01 the network is closer to the exact score by {small.mean(-1).min():.1f} to "
            f"{small.mean(-1).max():.1f} dimensions, with an interval above 0 in {sum(beyond)} of {len(beyond)} cases."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in t))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _lost_first(runs: Runs) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(runs):
        kept = _kept(arrays, "network", "training")
        # Where nine tenths of both are left, nothing is lost first. Intervals hold for all other pairs at once.
        judged = kept.mean(2).min(-1) < 0.9
        signs = []
        for i, n in enumerate(arrays["size"].values):
            cells = []
            for k in range(arrays.sizes["t"]):
                pair = mean(kept[i, k, :, 1] - kept[i, k, :, 0], confidence=1 - 0.05 / max(1, judged.sum()))
                if judged[i, k]:
                    signs.append(int(pair.low > 0) - int(pair.high < 0))
                cells.append(f"{pair:+.2f}" if judged[i, k] else "")
            rows.append((f"{arrays.attrs['rank']}", f"{n:,}", *cells))
        parts += [signs.count(1) > 0, signs.count(-1) == 0] if signs else []
        found.append(
            f"m = {arrays.attrs['rank']}: of {len(signs)} pairs of N and t at which a tenth or more is lost, the network keeps "
            f"less of the high-variance subspace at {signs.count(1)} and less of the low-variance one at {signs.count(-1)} "
            "(training points, simultaneous 95% intervals)."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in arrays["t"].values))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


_CLAIMS = (
    Claim(
        "networks-total-gap",
        "Trained on many samples, networks keep the total gap even at t = 1e-5.",
        "Sec. 6.2, Fig. 5",
        "fraction of points whose largest gap lies within one of d − m, by Alg. 2 and by the orthonormal probe: more than 90% "
        "for every N ≥ 5,000",
        _total_gap,
    ),
    Claim(
        "networks-low-gap",
        "At N = 250 to 500 the spectrum falls near the low-variance gap: the high-variance subspace is lost.",
        "Sec. 6.2, Fig. 5",
        "fraction of training points whose largest gap lies at d − m_low, by either probe at any t ≤ 0.03, more than half; "
        f"and the {_KEPT}, above a hundredth at every t ≤ 0.03",
        _low_gap,
    ),
    Claim(
        "networks-high-gap",
        "At the smallest N the high-variance gap is there again.",
        "Sec. 6.2, Fig. 5",
        "fraction of training points whose largest gap lies within one of d − m_high at t = 1e-5, by either probe, more than "
        "half for N ≤ 100",
        _high_gap,
    ),
    Claim(
        "networks-agree",
        "Networks agree with the empirical score at moderate t and generalize beyond it at small t.",
        "Sec. 6.2, Supp. E",
        "sum of survival at training points: network less empirical below 0.5 at t ≥ 0.3; distance to the exact score smaller "
        "for the network, by its interval, at every t ≤ 0.01",
        _agree,
    ),
    Claim(
        "lost-first-networks",
        "Subspaces of higher variance are lost first: in trained networks.",
        "Sec. 6.2, Supp. E, Figs. 5 and 16",
        f"{_KEPT}, paired over training points, where a tenth or more is lost; holds if it is somewhere positive and nowhere "
        "negative",
        _lost_first,
    ),
)


EXPERIMENTS = tuple(
    Experiment(
        name,
        f"Fig. {name[3:]}",
        f"networks trained on m = {m}: spectra at several t and N",
        scaled(NetworkSettings({f"m{m}": SUBSPACES[m]}), sizes=(50, 500, 5000), steps=4000, ema_decay=0.995, points=8),
        {"quick": 18, "full": 10_800},
        network_parts,
        _figure,
        _CLAIMS,
        with_steps=with_steps,
        training_seconds=training_seconds,
    )
    for name, m in {"fig5": 7, "fig16": 15}.items()
)
