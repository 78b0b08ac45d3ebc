"""Claims about trained networks, and about the algorithms that measure them."""

import numpy as np
import xarray as xr

from geomem.intervals import Interval, mean
from geomem.paper.verdict import Claim, Evidence, Records, Table, graded, interval

__all__ = ["CLAIMS"]

_BOTH = (("fig5", "m7"), ("fig16", "m15"))
_SMALL_T = 1e-5
_PROBES = ("antithetic", "orthonormal")


def _arrays(records: Records) -> list[xr.Dataset]:
    return [records[figure][name] for figure, name in _BOTH if figure in records]


def _points(arrays: xr.Dataset, place: str) -> np.ndarray:
    return np.flatnonzero(arrays["where"].values == place)


def _survival(arrays: xr.Dataset, score: str, place: str) -> tuple[np.ndarray, np.ndarray]:
    """Survival along the axes (size, t, point, group), and the exact s/(s+t) (t, group), of groups with variance."""
    s = arrays["variance"].values
    found = arrays["axis_survival"].sel(score=score).isel(point=_points(arrays, place))
    values = found.transpose("size", "t", "point", "group").values[..., s > 0].astype(np.float64)
    return values, s[s > 0] / (s[s > 0] + arrays["t"].values[:, None])


def _kept(arrays: xr.Dataset, score: str, place: str) -> np.ndarray:
    """Share of the exact survival that is left along the axes (size, t, point, group), 1 at most."""
    values, exact = _survival(arrays, score, place)
    # More than the exact survival is no memory that was kept, but an error of the fit.
    return np.asarray(np.minimum(values / exact[:, None, :], 1))


def _gaps(arrays: xr.Dataset, n: int, t: float, place: str, probe: str) -> dict[str, float]:
    """Share of points whose largest gap lies within one of a line of Fig. 5, elsewhere, or nowhere (flat spectrum)."""
    d, m = arrays.attrs["dim"], arrays.attrs["rank"]
    high, low = (int(c) for c in arrays["count"].values[:2])
    lines = {"total": d - m, "low": d - low, "high": d - high}
    gap = arrays["gap"].sel(score="network", probe=probe, size=n, t=t).values[_points(arrays, place)]
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
        for probe in _PROBES
    ]


_NAMES = {"antithetic": "Alg. 2", "orthonormal": "orthonormal"}
_GAP_HEADER = ("m", "N", "t", "probe", "total", "low", "high", "elsewhere", "none")


def _total_gap(records: Records) -> Evidence:
    rows: list[tuple[str, ...]] = []
    parts, found = [], []
    for arrays in _arrays(records):
        large = [n for n in arrays["size"].values if n >= 5000]
        kept = [
            _gaps(arrays, n, _SMALL_T, place, probe)["total"]
            for n in large
            for place in ("training", "held_out")
            for probe in _PROBES
        ]
        if not large:
            continue
        parts += [share > 0.9 for share in kept]
        least = [
            n
            for n in arrays["size"].values
            if min(_gaps(arrays, n, _SMALL_T, "training", probe)["total"] for probe in _PROBES) > 0.9
        ]
        found.append(
            f"m = {arrays.attrs['rank']}, {arrays.attrs['steps']:,} steps: the largest gap is the total one at {min(kept):.0%} to "
            f"{max(kept):.0%} of points for N = {', '.join(f'{n:,}' for n in large)}, by both probes; at training points it is there from "
            f"N = {min(least, default=0):,} on."
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


def _low_gap(records: Records) -> Evidence:
    found, parts = [], []
    rows: list[tuple[str, ...]] = []
    for arrays in _arrays(records):
        middle = [n for n in arrays["size"].values if 100 < n <= 500]
        rows += _gap_rows(arrays, middle, "training")
        kept = _kept(arrays, "network", "training")
        for n in middle:
            i = list(arrays["size"].values).index(n)
            low = max(
                _gaps(arrays, n, t, "training", probe)["low"]
                for t in arrays["t"].values
                if t <= 0.03
                for probe in _PROBES
            )
            differences = {
                u: mean(kept[i, k, :, 1] - kept[i, k, :, 0]) for k, u in enumerate(arrays["t"].values) if u <= 0.03
            }
            parts += [low > 0.5, *(pair.low > 0.01 for pair in differences.values())]
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}: the largest gap is the low-variance one at {low:.0%} of training points at most. Along "
                "the axes the low-variance subspace keeps more than the high-variance one by "
                + ", ".join(f"{pair:+.2f} (t = {u:g})" for u, pair in differences.items())
                + " of what the exact score has."
            )
    return Evidence(graded(parts), tuple(found), Table(_GAP_HEADER, tuple(rows)))


def _high_gap(records: Records) -> Evidence:
    found, parts = [], []
    rows: list[tuple[str, ...]] = []
    for arrays in _arrays(records):
        small = [n for n in arrays["size"].values if n <= 100]
        rows += _gap_rows(arrays, small, "training")
        kept = _kept(arrays, "network", "training")
        for n in small:
            share = {probe: _gaps(arrays, n, _SMALL_T, "training", probe) for probe in _PROBES}
            parts.append(max(s["high"] for s in share.values()) > 0.5)
            i = list(arrays["size"].values).index(n)
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}, t = {_SMALL_T:g}: the largest gap is the high-variance one at "
                + " and ".join(
                    f"{s['high']:.0%} of training points by {_NAMES[probe]} (none at {s['none']:.0%})"
                    for probe, s in share.items()
                )
                + f"; the network keeps {mean(kept[i, -1, :, 0]):.2f} of the high-variance subspace and {mean(kept[i, -1, :, 1]):.2f} of the "
                "low-variance one."
            )
    return Evidence(graded(parts), tuple(found), Table(_GAP_HEADER, tuple(rows)))


def _agree(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(records):
        counts = xr.DataArray(arrays["count"].values, dims="group")
        total = (arrays["axis_survival"] * counts).sum("group").isel(point=_points(arrays, "training"))
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
            f"m = {arrays.attrs['rank']}: at t ≥ 0.3 the two differ by {moderate:.2f} dimensions at most (means over training points). At t ≤ 0.01 "
            f"the network is nearer the exact score by {small.mean(-1).min():.1f} to {small.mean(-1).max():.1f} dimensions, its interval above 0 in "
            f"{sum(beyond)} of {len(beyond)} cases."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in t))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _lost_first(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(records):
        kept = _kept(arrays, "network", "training")
        # Where nine tenths of both are there, nothing is lost whose order could be told; the rest are judged together.
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
            f"m = {arrays.attrs['rank']}: of {len(signs)} pairs of N and t at which a tenth or more is lost, the network keeps less of the "
            f"high-variance subspace at {signs.count(1)}, less of the low-variance one at {signs.count(-1)} (training points, 95% for all "
            "together)."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in arrays["t"].values))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _learned_first(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["fig15"].items():
        survival, exact = _survival(arrays, "network", "held_out")
        s = arrays["variance"].values
        s = s[s > 0]
        high, low = int(s.argmax()), int(s.argmin())
        # A direction that noise hides under the exact score as well is neither learned nor not.
        judged = [k for k in range(arrays.sizes["t"]) if exact[k].min() > 0.5]
        signs = []
        for i, n in enumerate(arrays["size"].values):
            wrong = np.abs(survival[i] - exact[:, None, :])
            for k in judged:
                pair = mean(
                    wrong[k, :, low] - wrong[k, :, high], confidence=1 - 0.05 / (len(judged) * arrays.sizes["size"])
                )
                signs.append(int(pair.low > 0) - int(pair.high < 0))
                cells = (f"{mean(wrong[k, :, high]):.3f}", f"{mean(wrong[k, :, low]):.3f}", f"{pair:+.3f}")
                rows.append((name, f"{n:,}", f"{arrays['t'].values[k]:g}", *cells))
        parts += [signs.count(1) > 0, signs.count(-1) == 0] if signs else []
        found.append(
            f"{name} (variances {s[high]:.2g} and {s[low]:.2g} on average): of {len(signs)} pairs of N and t the survival of the higher variance is "
            f"nearer the exact one at {signs.count(1)}, of the lower at {signs.count(-1)} (new points, {arrays.attrs['steps']:,} steps, 95% for "
            "all together)."
        )
    header = ("variances", "N", "t", "error, high variance", "error, low variance", "low less high")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _scatter_ratio(arrays: xr.Dataset, score: str, t: float, probe: str) -> Interval:
    """Scatter of a probe over repetitions by that of Alg. 1: the repetitions are the units, since all points share them."""
    power = np.square(arrays["deviation"].sel(score=score, t=t).transpose("probe", "repeat", "point").values).mean(-1)
    one, other = (power[list(arrays["probe"].values).index(p)] for p in ("Alg. 1", probe))
    return interval(lambda r: float(np.sqrt(other[r].mean() / one[r].mean())), one.size)


def _stable(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["algorithms"].items():
        cases = [(str(score), float(u)) for score in arrays["score"].values for u in arrays["t"].values]
        ratios = {
            probe: [_scatter_ratio(arrays, *case, probe) for case in cases] for probe in ("Alg. 2", "Alg. 2, half")
        }
        for k, (score, u) in enumerate(cases):
            rows.append((name, score, f"{u:g}", *(f"{ratios[probe][k]:.2f}" for probe in ratios)))
        bias = {str(p): arrays["bias"].sel(probe=p).mean("point").values for p in arrays["probe"].values}
        parts += [all(r.high < 1 for r in ratios["Alg. 2"]), bool((bias["Alg. 2"] < bias["Alg. 1"]).all())]
        found.append(
            f"{name}: scatter over repetitions by that of Alg. 1, {min(r.value for r in ratios['Alg. 2']):.2f} to "
            f"{max(r.value for r in ratios['Alg. 2']):.2f} for Alg. 2 with as many directions, {min(r.value for r in ratios['Alg. 2, half']):.2f} to "
            f"{max(r.value for r in ratios['Alg. 2, half']):.2f} with as many evaluations."
        )
        found.append(
            f"{name}: mean error of ln singular value under the exact score {_span(bias['Alg. 1'])} by Alg. 1, "
            f"{_span(bias['Alg. 2'])} by Alg. 2, {_span(bias['orthonormal'])} by the orthonormal probe."
        )
    header = ("manifold", "score", "t", "Alg. 2 / Alg. 1, 4d directions each", "Alg. 2 with 2d / Alg. 1 with 4d")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2g} to {values.max():.2g}"


def _robust(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["algorithms"].items():
        m = arrays.attrs["rank"]
        # The exact score's Jacobian is the same at all points, so one of them tells all; repetitions are the units.
        wrong = (
            np.abs(arrays["dimension"].sel(score="exact").isel(point=0) - m)
            .fillna(m)
            .transpose("rule", "probe", "t", "repeat")
        )
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
            f"{name} (m = {m}): Alg. 3 on Alg. 2 is nearer the truth than Stanczuk's rule on Alg. 1 in {better} of {len(rules) * arrays.sizes['t']} cases, "
            f"farther in {worse} (95% for all together)."
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


CLAIMS = (
    Claim(
        "networks-total-gap",
        "Trained on many samples, networks keep the total gap even at t = 1e-5.",
        "Sec. 6.2, Fig. 5",
        "share of points whose largest gap lies within one of d − m, by Alg. 2 and by the orthonormal probe: more than 90% for every N ≥ 5,000",
        ("fig5", "fig16"),
        _total_gap,
    ),
    Claim(
        "networks-low-gap",
        "At N = 250 to 500 the spectrum falls near the low-variance gap: the high-variance subspace is lost.",
        "Sec. 6.2, Fig. 5",
        "share of training points whose largest gap lies at d − m_low, by either probe at any t ≤ 0.03, more than half; and the share of the exact "
        "survival kept along the axes, low less high, above a hundredth at every t ≤ 0.03",
        ("fig5", "fig16"),
        _low_gap,
    ),
    Claim(
        "networks-high-gap",
        "At the smallest N the high-variance gap is there again.",
        "Sec. 6.2, Fig. 5",
        "share of training points whose largest gap lies within one of d − m_high at t = 1e-5, by either probe, more than half for N ≤ 100",
        ("fig5", "fig16"),
        _high_gap,
    ),
    Claim(
        "networks-agree",
        "Networks agree with the empirical score at moderate t and generalize beyond it at small t.",
        "Sec. 6.2, Supp. E",
        "sum of survival at training points: network less empirical below 0.5 at t ≥ 0.3; distance to the exact score smaller for the network, by its "
        "interval, at every t ≤ 0.01",
        ("fig5", "fig16"),
        _agree,
    ),
    Claim(
        "lost-first-networks",
        "Subspaces of higher variance are lost first: in trained networks.",
        "Sec. 6.2, Supp. E, Figs. 5 and 16",
        "share of the exact survival kept along the axes, low less high, paired over training points, where a tenth or more is lost; holds if it is "
        "somewhere positive and nowhere negative",
        ("fig5", "fig16"),
        _lost_first,
    ),
    Claim(
        "learned-first",
        "Subspaces of higher variance are learned first as N grows.",
        "Supp. E, Fig. 15",
        "distance of the survival along the axes from the exact one, low less high, paired over new points, at times at which the exact survival of "
        "both is above ½; holds if it is somewhere positive and nowhere negative",
        ("fig15",),
        _learned_first,
    ),
    Claim(
        "stable",
        "Alg. 2 is more stable than Alg. 1.",
        "Supp. B.1",
        "scatter of ln singular values over repetitions with fresh noise, below that of Alg. 1 in every case; and mean error under the exact score, "
        "smaller at every t; bootstrap over repetitions",
        ("algorithms",),
        _stable,
    ),
    Claim(
        "robust",
        "Alg. 3 is more robust than the rule of Stanczuk et al.",
        "Supp. B",
        "error of the dimension of linear manifolds under the exact score, Stanczuk's rule on Alg. 1 less Alg. 3 on Alg. 2 (no answer counts as an "
        "error of m), paired over repetitions; holds if it is somewhere positive and nowhere negative",
        ("algorithms",),
        _robust,
    ),
)
