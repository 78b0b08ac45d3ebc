"""Claims about trained networks, and about the algorithms that measure them."""

import numpy as np
import xarray as xr

from geomem.audit.intervals import mean
from geomem.claims.verdict import Claim, Evidence, Records, Table, graded, interval

__all__ = ["CLAIMS"]

_BOTH = (("fig5", "m7"), ("fig16", "m15"))
_SMALL_T = 1e-5


def _arrays(records: Records) -> list[xr.Dataset]:
    return [records[figure][name] for figure, name in _BOTH if figure in records]


def _points(arrays: xr.Dataset, place: str) -> np.ndarray:
    return np.flatnonzero(arrays["where"].values == place)


def _kept(arrays: xr.Dataset, score: str, place: str) -> np.ndarray:
    """Axis survival over the exact s/(s+t), (size, t, point, group), of groups with variance."""
    s = arrays["variance"].values
    found = arrays["axis_survival"].sel(score=score).isel(point=_points(arrays, place))
    values = found.transpose("size", "t", "point", "group").values[..., s > 0].astype(np.float64)
    exact = s[s > 0] / (s[s > 0] + arrays["t"].values[:, None])
    return np.asarray(values / exact[:, None, :])


def _drop_shares(arrays: xr.Dataset, n: int, place: str) -> dict[str, float]:
    """Share of points whose largest gap lies nearest to the total, the low or the high gap, at the smallest t."""
    d, m = arrays.attrs["dim"], arrays.attrs["rank"]
    high, low = (int(c) for c in arrays["count"].values[:2])
    lines = {"total": d - m, "low": d - low, "high": d - high}
    gap = arrays["gap"].sel(score="network", probe="antithetic", size=n, t=_SMALL_T).values[_points(arrays, place)]
    nearest = [min(lines, key=lambda name: abs(lines[name] - k)) if k >= 0 else "none" for k in gap]
    return {name: nearest.count(name) / len(nearest) for name in (*lines, "none")}


def _dimension(arrays: xr.Dataset, n: int, place: str) -> str:
    """Dimension left after the largest gap: median and range over points."""
    gap = arrays["gap"].sel(score="network", probe="antithetic", size=n, t=_SMALL_T).values[_points(arrays, place)]
    left = (arrays.attrs["dim"] - gap)[gap >= 0]
    return f"{np.median(left):g} [{left.min()}, {left.max()}]" if left.size else "none"


def _total_gap(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(records):
        m = arrays.attrs["rank"]
        for n in arrays["size"].values:
            shares = {place: _drop_shares(arrays, n, place) for place in ("training", "held_out")}
            rows.append(
                (
                    f"{m}",
                    f"{n:,}",
                    *(_dimension(arrays, n, place) for place in shares),
                    *(f"{shares['training'][k]:.0%}" for k in ("total", "low", "high", "none")),
                )
            )
        large = [n for n in arrays["size"].values if n >= 5000]
        kept = [_drop_shares(arrays, n, p)["total"] for n in large for p in ("training", "held_out")]
        parts += [share > 0.9 for share in kept]
        found.append(
            f"m = {m}, {arrays.attrs['steps']:,} steps: the largest gap lies nearest the total one at {min(kept):.0%} to "
            f"{max(kept):.0%} of points for N = {', '.join(f'{n:,}' for n in large)}."
        )
    header = ("m", "N", "dimension, training", "dimension, new", "total", "low", "high", "none")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _low_gap(records: Records) -> Evidence:
    found, parts = [], []
    for arrays in _arrays(records):
        middle = [n for n in arrays["size"].values if 100 < n <= 500]
        for n in middle:
            share = _drop_shares(arrays, n, "training")
            kept = _kept(arrays, "network", "training")[list(arrays["size"].values).index(n), -1]
            pair = mean(kept[:, 1] - kept[:, 0])
            parts += [share["low"] > 0.5, pair.low > 0.01]
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}: the largest gap is nearest the low-variance one at {share['low']:.0%} of "
                f"training points (dimension {_dimension(arrays, n, 'training')}). Along the axes the network keeps "
                f"{mean(kept[:, 0]):.2f} of the high-variance subspace and {mean(kept[:, 1]):.2f} of the low-variance one, low "
                f"less high {pair:+.2f}."
            )
    return Evidence(graded(parts), tuple(found))


def _high_gap(records: Records) -> Evidence:
    found, parts = [], []
    for arrays in _arrays(records):
        for n in [n for n in arrays["size"].values if n <= 100]:
            share = _drop_shares(arrays, n, "training")
            parts.append(share["high"] > 0.5)
            found.append(
                f"m = {arrays.attrs['rank']}, N = {n:,}: the largest gap is nearest the high-variance one at {share['high']:.0%} of "
                f"training points (dimension {_dimension(arrays, n, 'training')})."
            )
    return Evidence(graded(parts), tuple(found))


def _agree(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(records):
        counts = arrays["count"].values
        total = (arrays["axis_survival"] * xr.DataArray(counts, dims="group")).sum("group")
        total = total.isel(point=_points(arrays, "training"))
        difference = (total.sel(score="network") - total.sel(score="empirical")).transpose("size", "t", "point").values
        t, sizes = arrays["t"].values, arrays["size"].values
        for i, n in enumerate(sizes):
            rows.append(
                (f"{arrays.attrs['rank']}", f"{n:,}", *(f"{mean(difference[i, k]):+.2f}" for k in range(t.size)))
            )
        moderate = np.abs(difference[:, t >= 0.3].mean(-1)).max()
        small = difference[:, t <= 0.01].mean(-1)
        beyond = [mean(d).low > 0 for d in difference[:, t <= 0.01].reshape(-1, difference.shape[-1])]
        parts += [bool(moderate < 0.5), all(beyond)]
        found.append(
            f"m = {arrays.attrs['rank']}: at t ≥ 0.3 the two differ by {moderate:.2f} dimensions at most (means over training points); "
            f"at t ≤ 0.01 the network has {small.min():.1f} to {small.max():.1f} more."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in t))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _lost_first(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for arrays in _arrays(records):
        kept = _kept(arrays, "network", "training")
        signs = []
        for i, n in enumerate(arrays["size"].values):
            cells = []
            for k in range(arrays.sizes["t"]):
                pair = mean(kept[i, k, :, 1] - kept[i, k, :, 0])
                # Where both are kept to a percent, nothing is lost whose order could be told.
                if min(kept[i, k].mean(0)) < 0.99:
                    signs.append(int(pair.low > 0) - int(pair.high < 0))
                cells.append(f"{pair:+.2f}")
            rows.append((f"{arrays.attrs['rank']}", f"{n:,}", *cells))
        parts += [signs.count(1) > 0, signs.count(-1) == 0]
        found.append(
            f"m = {arrays.attrs['rank']}: of {len(signs)} pairs of N and t at which a percent or more is lost, the network keeps less of the "
            f"high-variance subspace at {signs.count(1)}, less of the low-variance one at {signs.count(-1)} (training points)."
        )
    header = ("m", "N", *(f"t = {u:g}" for u in arrays["t"].values))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _learned_first(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["fig15"].items():
        kept = _kept(arrays, "network", "held_out")
        s = arrays["variance"].values
        s = s[s > 0]
        high, low = int(s.argmax()), int(s.argmin())
        signs = []
        for i, n in enumerate(arrays["size"].values):
            cells = []
            for k in range(arrays.sizes["t"]):
                # Distance from the exact survival, over it: too much is as wrong as too little.
                wrong = np.abs(kept[i, k] - 1)
                pair = mean(wrong[:, low] - wrong[:, high])
                signs.append(int(pair.low > 0) - int(pair.high < 0))
                cells.append(f"{pair:+.2f}")
            rows.append((name, f"{n:,}", *cells))
        parts += [signs.count(1) > 0, signs.count(-1) == 0]
        found.append(
            f"{name} (variances {s[high]:.2g} and {s[low]:.2g} on average): of {len(signs)} pairs of N and t the higher variance is closer to "
            f"the exact score at {signs.count(1)}, the lower at {signs.count(-1)} (new points, {arrays.attrs['steps']:,} steps)."
        )
    header = ("variances", "N", *(f"t = {u:g}" for u in arrays["t"].values))
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _stable(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["algorithms"].items():
        for score in arrays["score"].values:
            ratios = []
            for u in arrays["t"].values:
                scatter = arrays["scatter"].sel(score=score, t=u)
                one, two = (scatter.sel(probe=p).values for p in ("score-matrix", "antithetic"))
                ratio = interval(lambda r, a=one, b=two: float(np.exp(np.mean(np.log(b[r] / a[r])))), one.size)  # type: ignore[misc]
                ratios.append(ratio)
                orthonormal = scatter.sel(probe="orthonormal").values.mean()
                rows.append(
                    (
                        name,
                        str(score),
                        f"{u:g}",
                        f"{one.mean():.3g}",
                        f"{two.mean():.3g}",
                        f"{orthonormal:.2g}",
                        f"{ratio:.3f}",
                    )
                )
            parts += [r.high < 1 for r in ratios]
            found.append(
                f"{name}, {score} score: the scatter of Alg. 2 is {min(r.value for r in ratios):.2f} to {max(r.value for r in ratios):.2f} of "
                f"Alg. 1's."
            )
        bias = {
            p: arrays["bias"].sel(probe=p).mean("point").values for p in ("score-matrix", "antithetic", "orthonormal")
        }
        parts.append(bool((bias["antithetic"] < bias["score-matrix"]).all()))
        found.append(
            f"{name}: mean error of ln singular value under the exact score {_span(bias['score-matrix'])} by Alg. 1, "
            f"{_span(bias['antithetic'])} by Alg. 2, {_span(bias['orthonormal'])} by the orthonormal probe."
        )
    header = ("manifold", "score", "t", "Alg. 1", "Alg. 2", "orthonormal", "Alg. 2 / Alg. 1")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _span(values: np.ndarray) -> str:
    return f"{values.min():.2g} to {values.max():.2g}"


def _robust(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["algorithms"].items():
        m = arrays.attrs["rank"]
        # The exact score's dimension is m at every t at which the manifold's gap is open; below that nothing is lost.
        wrong = np.abs(arrays["dimension"].sel(score="exact") - m)
        stanczuk = wrong.sel(rule="normal bundle", probe="score-matrix").mean("repeat").transpose("t", "point").values
        better = worse = 0
        for rule in [r for r in arrays["rule"].values if r != "normal bundle"]:
            ours = wrong.sel(rule=rule, probe="antithetic").fillna(m).mean("repeat").transpose("t", "point").values
            for k, u in enumerate(arrays["t"].values):
                pair = mean(stanczuk[k] - ours[k])
                better, worse = better + (pair.low > 0), worse + (pair.high < 0)
                rows.append(
                    (name, str(rule), f"{u:g}", f"{stanczuk[k].mean():.2f}", f"{ours[k].mean():.2f}", f"{pair:+.2f}")
                )
        parts += [better > 0, worse == 0]
        found.append(
            f"{name} (m = {m}): Alg. 3 is nearer the truth in {better} of {better + worse} cases that tell them apart."
        )
    header = ("manifold", "rule", "t", "error, Stanczuk et al.", "error, Alg. 3", "difference")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


CLAIMS = (
    Claim(
        "networks-total-gap",
        "Trained on many samples, networks keep the total gap even at t = 1e-5.",
        "Sec. 6.2, Fig. 5",
        "share of points whose largest gap (Alg. 2) lies nearest the total one, more than 90% for every N ≥ 5,000",
        ("fig5", "fig16"),
        _total_gap,
    ),
    Claim(
        "networks-low-gap",
        "At N = 250 to 500 the spectrum falls near the low-variance gap: the high-variance subspace is lost.",
        "Sec. 6.2, Fig. 5",
        "share of training points whose largest gap lies nearest d − m_low at t = 1e-5, more than half; and survival along the axes over "
        "the exact one, low less high, above a hundredth",
        ("fig5", "fig16"),
        _low_gap,
    ),
    Claim(
        "networks-high-gap",
        "At the smallest N the high-variance gap is there again.",
        "Sec. 6.2, Fig. 5",
        "share of training points whose largest gap lies nearest d − m_high at t = 1e-5, more than half for N ≤ 100",
        ("fig5", "fig16"),
        _high_gap,
    ),
    Claim(
        "networks-agree",
        "Networks agree with the empirical score at moderate t and generalize beyond it at small t.",
        "Sec. 6.2, Supp. E",
        "difference of the sum of survival at training points, network less empirical: below 0.5 at t ≥ 0.3, above 0 by its interval "
        "at t ≤ 0.01",
        ("fig5", "fig16"),
        _agree,
    ),
    Claim(
        "lost-first-networks",
        "Subspaces of higher variance are lost first: in trained networks.",
        "Sec. 6.2, Supp. E, Figs. 5 and 16",
        "survival along the axes over the exact one, low less high, paired over training points; holds if it is nowhere negative",
        ("fig5", "fig16"),
        _lost_first,
    ),
    Claim(
        "learned-first",
        "Subspaces of higher variance are learned first as N grows.",
        "Supp. E, Fig. 15",
        "distance of the survival along the axes from the exact one, over it, low less high, paired over new points; holds if it is nowhere "
        "negative",
        ("fig15",),
        _learned_first,
    ),
    Claim(
        "stable",
        "Alg. 2 is more stable than Alg. 1.",
        "Supp. B.1",
        "scatter of ln singular values over repetitions with fresh noise, ratio Alg. 2 / Alg. 1, bootstrap over points; holds if it is "
        "below 1 in every case",
        ("algorithms",),
        _stable,
    ),
    Claim(
        "robust",
        "Alg. 3 is more robust than the rule of Stanczuk et al.",
        "Supp. B",
        "error of the dimension of linear manifolds under the exact score, Stanczuk's rule on Alg. 1 less Alg. 3 on Alg. 2 (no answer counts "
        "as an error of m), paired over points",
        ("algorithms",),
        _robust,
    ),
)
