"""The rules of verdicts, on records made by hand: each claim holds where its statement is true of them, and fails where not."""

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import xarray as xr
from geomem.paper.claims_spectra import _FORMS, _opened
from scipy.stats import norm

from geomem.paper.claims import CLAIMS, judged, verdict_lines
from geomem.paper.verdict import FAILS, HOLDS, IN_PART, UNDECIDED, bootstrap, graded, interval

Made = Mapping[str, Mapping[str, xr.Dataset]]
BY_KEY = {claim.key: claim for claim in CLAIMS}
D = 30
# Dimensions of variance 1 and 0.3 for the two manifolds of the figures.
PARTS = {7: (2, 5), 15: (5, 10)}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def around(values: np.ndarray | float, axis: int, count: int, spread: float = 0.01) -> np.ndarray:
    """`count` noisy copies of an array along a new axis."""
    centre = np.repeat(np.expand_dims(np.asarray(values, dtype=float), axis), count, axis)
    return centre + spread * rng().standard_normal(centre.shape)


def verdict(key: str, records: Made) -> str:
    (found,) = [v for v in judged(records) if v.claim.key == key]
    return found.evidence.verdict


def said(key: str, records: Made) -> str:
    (found,) = [v for v in judged(records) if v.claim.key == key]
    return " ".join(found.evidence.found)


# --- records, in the form that experiments give them ---


def order(difference: np.ndarray, ahead: bool = True) -> Made:
    """Y(high) - Y(low) by time; whether theory puts the high-variance subspace first."""
    t = np.geomspace(1e-3, 10, len(difference))
    y = around(np.stack([0.5 + np.asarray(difference), np.full(len(t), 0.5)]), 0, 50)
    t_c = np.tile([2.0, 1.0] if ahead else [1.0, 2.0], (len(t), 1))
    arrays = xr.Dataset(
        {
            "participation": (("dataset", "subspace", "t"), y),
            "condensation_time": (("t", "subspace"), t_c),
            "expansion": (("t", "subspace"), 1.5 * t_c),
        },
        coords={"t": t, "variance": ("subspace", [1.0, 0.3])},
    )
    return {"order": {"m7": arrays, "m15": arrays}}


def plane(high: float, low: float) -> Made:
    """Share of the exact survival that each axis keeps at the largest beta; at the others both keep all."""
    betas, exact = [1.0, 10.0, 100.0], np.array([[0.8, 0.4], [0.97, 0.3], [0.99, 0.8]])
    kept = np.array([[1.0, 1.0], [1.0, 1.0], [high, low]])
    survival = around(around(exact * kept, 1, 8), 0, 20)
    arrays = xr.Dataset(
        {"survival": (("dataset", "beta", "point", "axis"), survival), "exact": (("beta", "axis"), exact)},
        coords={"beta": betas, "axis": ["x", "y"]},
    )
    return {"fig3": {"survival": arrays}}


def condensation(ratio: list[float], correlated: bool = True, spread: float = 1.0) -> Made:
    """Eq. 15 over the exact time by alpha; t_c of positions that follows omega^2, or not, over a range of exp(2 spread)."""
    exact = rng().uniform(1, 2, (40, 1, len(ratio)))
    loads = xr.Dataset(
        {"condensation_time": (("matrix", "form", "alpha"), np.concatenate([exact, exact * np.array(ratio)], 1))},
        coords={"form": ["exact", "expansion"], "alpha": np.geomspace(1e-3, 3, len(ratio))},
    )
    omega = rng().permutation(np.linspace(0, 1, 300))
    t_c = np.exp(2 * spread * (omega if correlated else np.linspace(0, 1, 300)))
    positions = xr.Dataset({"condensation_time": ("position", t_c), "variance_density": ("position", omega)})
    return {"fig8": {"loads": loads, "positions": positions}}


def curves(m: int, opens: tuple[float, float] = (1.0, 0.3), errors: Mapping[str, list[float]] | None = None) -> Made:
    """Simulation whose subspaces cross t x value = 1/2 at the times `opens`; theory off by factors by form and time."""
    t = np.geomspace(1e-3, 10, 13)
    high, low = PARTS[m]
    cross = np.repeat([0.0, opens[1], opens[0]], [D - m, low, high])
    truth = 1 / (cross + t[:, None])
    values = truth * np.exp(0.01 * rng().standard_normal((25, 1, t.size, 1)))
    s = np.array(opens)[:, None]
    survival = s / (s + t) * np.exp(0.01 * rng().standard_normal((25, 2, 1)))
    forms = [*_FORMS, "exact"]
    factors = np.array([(errors or {}).get(form, [1.0] * t.size) for form in forms])
    coords = {"t": t, "direction": np.arange(1, D + 1)}
    theory = xr.Dataset(
        {"singular_value": (("form", "t", "direction"), truth * factors[..., None])},
        coords={"form": forms, **coords},
        attrs={"condensation_time": 0.02, "dim": D, "rank": m},
    )
    simulation = xr.Dataset(
        {
            "singular_value": (("dataset", "probe", "t", "direction"), np.repeat(values, 2, 1)),
            "axis_survival": (("dataset", "subspace", "t"), survival),
        },
        coords={"probe": ["smoothed", "antithetic"], **coords},
    )
    return {"fig4" if m == 7 else "fig12": {"theory": theory, "simulation": simulation}}


def by_size(m: int, total: int, middle: int, sizes: tuple[int, ...] = (50, 100, 250, 1000, 10_000)) -> Made:
    """Spectra whose total gap is open from `total` samples on, and whose intermediate one from `middle` on."""
    t, high = np.array([0.1, 0.01]), PARTS[m][0]
    made = {}
    for n in sizes:
        steps = np.full(D - 1, 0.1)
        steps[D - m - 1] = 3.0 if n >= total else 0.0
        steps[D - m :] = 0.01
        steps[-1] = 0.02
        steps[D - high - 1] = 0.05 if n >= middle else 0.0
        values = 10 - np.concatenate([[0], np.cumsum(steps)])
        made[f"samples-{n}"] = xr.Dataset(
            {"smoothed": (("realization", "t", "direction"), np.tile(values, (6, t.size, 1)))},
            coords={"t": t, "direction": np.arange(1, D + 1)},
            attrs={"n_samples": n},
        )
    return {"fig9" if m == 7 else "fig10": made}


def scaling(by_rank: float, by_dim: float) -> Made:
    """ln N with these slopes over m and over d, and bootstrap draws about them."""

    def arrays(ranks: list[int], dims: list[int]) -> xr.Dataset:
        logs = 2 + by_rank * np.array(ranks) + by_dim * np.array(dims)
        draws = np.concatenate([logs[:, None], around(logs, 1, 200, 0.05)], 1)
        return xr.Dataset(
            {"half_condensed": (("case", "draw"), np.exp(draws)), "required_samples": ("case", np.exp(logs))},
            coords={"rank": ("case", ranks), "dim": ("case", dims)},
            attrs={"datasets": 100},
        )

    return {"scaling": {"ranks": arrays([4, 5, 6, 7], [16] * 4), "dims": arrays([4] * 4, [16, 32, 64, 128])}}


def latent(memorizing: int, circle: int, ellipse: int, away: float = 0.0) -> Made:
    """Numbers of distinct stable fixed points, from 40 starts, for 9 samples and two curves."""
    return {
        "fig1": {
            name: xr.Dataset(
                {
                    "sample": (("row", "axis"), np.zeros((9, 2))),
                    "point": (("start", "axis"), np.full((40, 2), away)),
                    "stable": ("start", np.ones(40, dtype=bool)),
                    "converged": ("start", np.ones(40, dtype=bool)),
                },
                attrs={"distinct": count, "t": 0.01},
            )
            for name, count in (("memorizing", memorizing), ("circle", circle), ("ellipse", ellipse))
        }
    }


def reverse(empirical: float, exact: float) -> Made:
    """Shares of the samples that end within sqrt t_min of a training point."""
    count = 200
    distance = np.ones((2, 2, count))
    for i, share in enumerate((exact, empirical)):
        distance[i, :, : round(share * count)] = 1e-3
    nearest = xr.Dataset(
        {"distance": (("score", "sampler", "sample"), distance), "new_distance": ("sample", np.ones(count))},
        coords={"score": ["exact", "empirical"], "sampler": ["reverse diffusion", "flow"]},
        attrs={"t_min": 1e-3},
    )
    steps = np.array([16, 32, 64])
    weak = xr.Dataset(
        {"error": (("sampler", "steps", "subspace"), np.stack([3.2 / steps, -12.0 / steps**2])[..., None])},
        coords={"sampler": ["reverse diffusion", "flow"], "steps": steps},
    )
    return {"reverse": {"nearest": nearest, "weak_error": weak}}


SIZES, TIMES, POINTS = (50, 250, 500, 5000, 100_000), (1.0, 0.3, 0.01, 1e-5), 10


def networks(
    m: int,
    gap: Callable[[int, str], int],
    astray: int = 0,
    high: Callable[[int, float], float] = lambda n, t: 1.0,
    low: Callable[[int, float], float] = lambda n, t: 1.0,
    beyond: Callable[[float], float] = lambda t: 0.0,
) -> xr.Dataset:
    """Networks' record: position of the largest gap by N and place (none at `astray` points of each), shares kept along
    axes by N and t, and how many dimensions they have beyond the empirical score by t.
    """
    s, count = np.array([1.0, 0.3, 0.0]), np.array([*PARTS[m], D - m])
    where = np.repeat(["origin", "training", "held_out"], [1, POINTS, POINTS])
    kept = np.array([[[high(n, t), low(n, t), 1.0] for t in TIMES] for n in SIZES])
    share = kept * s / (s + np.array(TIMES)[:, None])
    survival = np.stack([share, share - np.array([beyond(t) for t in TIMES])[:, None] / D], 1)
    survival = around(survival, 3, where.size, 1e-4)
    gaps = np.array([[gap(n, place) for place in where] for n in SIZES])
    gaps[:, 1 : 1 + astray] = gaps[:, 1 + POINTS : 1 + POINTS + astray] = -1
    gaps = np.broadcast_to(gaps[:, None, None, None], (len(SIZES), 2, 2, len(TIMES), where.size))
    return xr.Dataset(
        {
            "axis_survival": (("size", "score", "t", "point", "group"), survival),
            "gap": (("size", "score", "probe", "t", "point"), gaps),
        },
        coords={
            "score": ["network", "empirical"],
            "size": list(SIZES),
            "probe": ["antithetic", "orthonormal"],
            "t": list(TIMES),
            "where": ("point", where),
            "variance": ("group", s),
            "count": ("group", count),
        },
        attrs={"dim": D, "rank": m, "steps": 1000},
    )


def trained(*, total: int = 23, middle: int = 25, few: int = 28, m: int = 7, **options) -> Made:
    """Networks whose largest gap at N >= 5,000, at 250 and 500, and at 50 samples is after so many values."""

    def gap(n: int, place: str) -> int:
        return few if n <= 100 else middle if n <= 500 else total

    return {"fig5" if m == 7 else "fig16": {f"m{m}": networks(m, gap, **options)}}


def learned(high: float, low: float) -> Made:
    """Shares of the exact survival along the axes of either variance, at every N and t."""
    arrays = networks(7, lambda n, place: 23, high=lambda n, t: high, low=lambda n, t: low).sel(score=["network"])
    return {"fig15": {"high": arrays}}


def algorithms(
    ratio: float = 0.5, bias: float = 0.5, stanczuk: float = 3.0, ours: float = 0.0, scores: tuple[float, ...] = (1, 1)
) -> Made:
    """Alg. 2's scatter and bias over Alg. 1's, and the errors of the two rules' dimensions (NaN: no answer)."""
    probes, repeats, t = ["Alg. 1", "Alg. 2", "Alg. 2, half", "orthonormal"], 12, [0.1, 0.01]
    scatter = np.ones((2, 4, repeats, len(t), 3)) * np.exp(around(0.0, 0, repeats, 0.05))[:, None, None]
    scatter[:, 1:3] *= ratio * np.array(scores)[:, None, None, None, None]
    biases = around(np.array([1.0, bias, bias, 1e-3])[:, None], 2, 3, 1e-3).repeat(len(t), 1)
    rules = ["normal bundle", "Alg. 3, c = 10"]
    wrong = np.zeros((2, 2, 4, repeats, len(t), 3)) + 20.0
    wrong[0, 0, 0], wrong[1, 0, 1] = stanczuk, ours
    wrong += around(0.0, 0, repeats, 0.1)[:, None, None]
    arrays = xr.Dataset(
        {
            "deviation": (("score", "probe", "repeat", "t", "point"), scatter),
            "bias": (("probe", "t", "point"), biases),
            "dimension": (("rule", "score", "probe", "repeat", "t", "point"), 7 + wrong),
        },
        coords={"score": ["exact", "empirical"], "probe": probes, "t": t, "rule": rules},
        attrs={"dim": D, "rank": 7},
    )
    return {"algorithms": {"m7": arrays}}


def images(
    resolved: Callable[[int], float] = lambda n: 5 * math.log2(n),
    kink: Callable[[int], float] = lambda n: 4 * math.log2(n),
    *,
    apart: float = 0.0,
    gap: Callable[[int], float] = lambda n: 3.0,
    names: tuple[str, ...] = ("mnist", "fashion-mnist"),
    sizes: tuple[int, ...] = (2, 64, 400, 1000, 4000),
    few: bool = False,
    spread: float = 0.2,
) -> Made:
    """Networks over N: resolved dimension (held-out images have `apart` more), Alg. 3's, and whether there is a gap (NaN: none)."""
    rules, sets, t = (
        ["resolved", "degrees_of_freedom", "largest_gap", "second_difference"],
        ["training", "held-out"],
        [1e-4, 0.1],
    )
    values = np.zeros((4, 2, 2, 12, len(sizes), 1, 2))
    for i, n in enumerate(sizes):
        values[0, ..., i, 0, :], values[3, ..., i, 0, :], values[2, ..., i, 0, :] = resolved(n), kink(n), gap(n)
    values[0, :, 1] += apart
    values += around(0.0, 0, 12, spread)[:, None, None, None]
    if few:  # at the smallest size there are two training points
        values[:, :, 0, 2:, 0] = np.nan
    distance = np.array([[1.0, 1.1]] * 10)[None, None].repeat(len(sizes), 0)
    arrays = xr.Dataset(
        {
            "dimension": (("estimator", "score", "set", "point", "size", "seed", "t"), values),
            "scaled_value": (("direction",), np.zeros(784)),
            "sample_distance": (("size", "seed", "sample", "neighbour"), distance),
            "control_distance": (("size", "seed", "control", "neighbour"), distance),
        },
        coords={
            "estimator": rules,
            "score": ["network", "empirical"],
            "set": sets,
            "size": list(sizes),
            "seed": [0],
            "t": t,
        },
        attrs={"network": "mlp", "parameters": 100, "steps": 10},
    )
    return {"fig6": dict.fromkeys(names, arrays)}


def late(n: int) -> float:
    """Flat up to 400, rising from there to a peak at 4,000."""
    return 5.0 + 20 * math.log2(max(n, 400) / 400) if n <= 4000 else 40.0


def both(make: Callable[..., Made], *arguments, **options) -> Made:
    """The record of both manifolds."""
    return {**make(7, *arguments, **options), **make(15, *arguments, **options)}


# Factors by time of a form that is off at small t, where the others are right; and at every time but the largest.
OFF = [3.0] * 6 + [1.0] * 7
MOSTLY = [3.0] * 12 + [1.0]
AHEAD = {"high": lambda n, t: 0.9, "low": lambda n, t: 0.5}
BEHIND = {"high": lambda n, t: 0.5, "low": lambda n, t: 0.9}
# The second manifold's gaps: total after 15 values, 20 with the low, 25 with the high variance alone.
WIDE = {"m": 15, "total": 15, "middle": 20, "few": 25}

# Claim, the verdict that it must have, and records, made by hand so that the verdict is known.
CASES: list[tuple[str, str, str, Callable[[], Made]]] = [
    ("latent-manifold", HOLDS, "all distinct", lambda: latent(9, 40, 40)),
    ("latent-manifold", IN_PART, "fewer attractors than samples", lambda: latent(5, 40, 40)),
    ("latent-manifold", IN_PART, "attractors that are no samples", lambda: latent(9, 40, 40, away=0.1)),
    ("latent-manifold", IN_PART, "ellipse condenses", lambda: latent(9, 40, 2)),
    ("latent-manifold", FAILS, "circle condenses too", lambda: latent(12, 39, 2)),
    ("memorizing-limit", HOLDS, "all end on samples", lambda: reverse(0.96, 0.04)),
    ("memorizing-limit", IN_PART, "the exact score's too", lambda: reverse(1.0, 1.0)),
    ("memorizing-limit", FAILS, "half of either", lambda: reverse(0.5, 0.5)),
    ("opening", HOLDS, "both manifolds", lambda: both(curves)),
    ("opening", HOLDS, "low variance never", lambda: curves(7, (0.5, 0.0))),
    ("opening", IN_PART, "one manifold", lambda: {**curves(7), **curves(15, (0.3, 1.0))}),
    ("opening", FAILS, "the other way round", lambda: both(curves, (0.3, 1.0))),
    ("opening", FAILS, "together", lambda: both(curves, (0.5, 0.5))),
    ("opening", FAILS, "earlier by less than its error", lambda: both(curves, (0.5002, 0.5))),
    ("closing", HOLDS, "intermediate first", lambda: both(by_size, 100, 1000)),
    ("closing", IN_PART, "one manifold", lambda: {**by_size(7, 100, 1000), **by_size(15, 1000, 100)}),
    ("closing", FAILS, "total first", lambda: both(by_size, 1000, 100)),
    ("closing", FAILS, "together", lambda: both(by_size, 250, 250)),
    ("lost-first-exact", HOLDS, "always ahead", lambda: order(np.zeros(9))),
    ("lost-first-exact", FAILS, "never ahead", lambda: order(np.zeros(9), ahead=False)),
    ("lost-first-expansion", HOLDS, "always ahead", lambda: order(np.zeros(9))),
    ("lost-first-expansion", FAILS, "never ahead", lambda: order(np.zeros(9), ahead=False)),
    ("lost-first-simulation", HOLDS, "nowhere negative", lambda: order(np.linspace(0.0, 0.3, 9))),
    ("lost-first-simulation", IN_PART, "once negative", lambda: order(np.array([0.1, 0.1, 0.1, -0.05]))),
    ("lost-first-simulation", FAILS, "negative", lambda: order(np.full(9, -0.05))),
    ("plane", HOLDS, "high lost", lambda: plane(0.1, 0.9)),
    ("plane", HOLDS, "as shares of the exact survival", lambda: plane(0.45, 0.55)),
    ("plane", IN_PART, "less of it, but most", lambda: plane(0.7, 0.95)),
    ("plane", HOLDS, "less of it, about half", lambda: plane(0.505, 0.95)),
    ("plane", FAILS, "low lost", lambda: plane(0.9, 0.1)),
    ("plane", FAILS, "neither lost", lambda: plane(1.0, 0.9)),
    ("expansion", HOLDS, "within 10%", lambda: condensation([1.0, 1.02, 1.09])),
    ("expansion", IN_PART, "at small loads", lambda: condensation([1.0, 1.05, 1.2])),
    ("expansion", FAILS, "nowhere", lambda: condensation([1.15, 1.5, 3.0])),
    ("position", HOLDS, "strongly", lambda: condensation([1.0])),
    ("position", FAILS, "of no account", lambda: condensation([1.0], spread=0.05)),
    ("position", IN_PART, "through something else", lambda: condensation([1.0], correlated=False)),
    ("position", FAILS, "not at all", lambda: condensation([1.0], correlated=False, spread=0.05)),
    ("spectra", HOLDS, "all right", lambda: both(curves)),
    ("spectra", HOLDS, "other forms off", lambda: curves(7, errors={"row": MOSTLY, "correlated": MOSTLY})),
    ("spectra", HOLDS, "within 25%", lambda: curves(7, errors={"eq43": [1.2] * 13})),
    ("spectra", IN_PART, "Eq. 19 off", lambda: curves(7, errors={"eq19": OFF})),
    ("spectra", IN_PART, "Eq. 43 off", lambda: curves(7, errors={"eq43": MOSTLY})),
    ("spectra", IN_PART, "Eq. 18 too small", lambda: curves(7, errors={"eq18 samples": [0.7, *[1.0] * 12]})),
    ("closer", HOLDS, "at small t", lambda: curves(7, errors={"eq41 samples": OFF})),
    ("closer", HOLDS, "one manifold", lambda: {**curves(7), **curves(15, errors={"eq41 samples": OFF})}),
    ("closer", FAILS, "alike", lambda: both(curves, errors={"eq41 samples": OFF, "eq43": OFF})),
    ("closer", FAILS, "farther", lambda: both(curves, errors={"eq43": OFF})),
    ("scaling", HOLDS, "with m", lambda: scaling(0.9, 0.0)),
    ("scaling", IN_PART, "with both", lambda: scaling(0.9, 0.02)),
    ("scaling", IN_PART, "against d", lambda: scaling(0.9, -0.02)),
    ("scaling", IN_PART, "with neither", lambda: scaling(0.0, 0.0)),
    ("scaling", FAILS, "with d", lambda: scaling(0.0, 0.02)),
    ("networks-total-gap", HOLDS, "both manifolds", lambda: {**trained(), **trained(**WIDE)}),
    ("networks-total-gap", HOLDS, "nearest to it", lambda: trained(total=22)),
    ("networks-total-gap", IN_PART, "one manifold", lambda: {**trained(total=28), **trained(**WIDE)}),
    ("networks-total-gap", FAILS, "the low gap", lambda: trained(total=25)),
    ("networks-total-gap", FAILS, "no gap", lambda: trained(total=-1)),
    ("networks-total-gap", FAILS, "at four points of five", lambda: trained(astray=2)),
    ("networks-low-gap", HOLDS, "and the axes say so", lambda: {**trained(**BEHIND), **trained(**BEHIND, **WIDE)}),
    (
        "networks-low-gap",
        HOLDS,
        "at the smallest t",
        lambda: trained(high=lambda n, t: 0.5 + 0.4 * (t > 0.1), low=lambda n, t: 0.8),
    ),
    ("networks-low-gap", HOLDS, "at three points of five", lambda: trained(astray=4, **BEHIND)),
    ("networks-low-gap", IN_PART, "at half of the points", lambda: trained(astray=5, **BEHIND)),
    ("networks-low-gap", IN_PART, "but the axes do not", lambda: trained(**AHEAD)),
    ("networks-low-gap", IN_PART, "the axes alone", lambda: trained(middle=23, **BEHIND)),
    ("networks-low-gap", FAILS, "the total gap", lambda: trained(middle=23, **AHEAD)),
    ("networks-high-gap", HOLDS, "both manifolds", lambda: {**trained(), **trained(**WIDE)}),
    ("networks-high-gap", FAILS, "the low gap", lambda: {**trained(few=25), **trained(**WIDE | {"few": 20})}),
    ("networks-high-gap", HOLDS, "at three points of five", lambda: trained(astray=4)),
    ("networks-high-gap", FAILS, "at half of the points", lambda: trained(astray=5)),
    ("networks-high-gap", FAILS, "no gap", lambda: trained(few=-1)),
    ("networks-agree", HOLDS, "beyond at small t", lambda: trained(beyond=lambda t: 2.0 * (t < 0.1))),
    ("networks-agree", IN_PART, "beyond nowhere", lambda: trained()),
    ("networks-agree", IN_PART, "beyond at 1e-5 alone", lambda: trained(beyond=lambda t: 2.0 * (t < 1e-3))),
    ("networks-agree", IN_PART, "beyond everywhere", lambda: trained(beyond=lambda t: 2.0)),
    ("networks-agree", IN_PART, "behind at large t", lambda: trained(beyond=lambda t: 2.0 if t < 0.1 else -1.0)),
    ("networks-agree", FAILS, "beyond at large t", lambda: trained(beyond=lambda t: 2.0 * (t > 0.1))),
    ("lost-first-networks", HOLDS, "both manifolds", lambda: {**trained(**BEHIND), **trained(**BEHIND, **WIDE)}),
    (
        "lost-first-networks",
        HOLDS,
        "where anything is lost",
        lambda: trained(high=lambda n, t: 0.4 if t < 0.1 else 1.0, low=lambda n, t: 0.9 if t < 0.1 else 0.995),
    ),
    ("lost-first-networks", HOLDS, "low variance kept whole", lambda: trained(high=lambda n, t: 0.5)),
    (
        "lost-first-networks",
        IN_PART,
        "but for the smallest network",
        lambda: trained(high=lambda n, t: 0.9 if n == 50 else 0.5, low=lambda n, t: 0.8),
    ),
    ("lost-first-networks", FAILS, "low variance", lambda: trained(**AHEAD)),
    ("learned-first", HOLDS, "the lower lacks half", lambda: learned(1.0, 0.5)),
    ("learned-first", HOLDS, "the lower has too much", lambda: learned(1.1, 1.5)),
    ("learned-first", FAILS, "the higher lacks half", lambda: learned(0.5, 1.0)),
    ("learned-first", FAILS, "the higher has too much", lambda: learned(1.5, 1.1)),
    ("stable", HOLDS, "less scatter and bias", lambda: algorithms(0.9, 0.9)),
    ("stable", IN_PART, "more bias", lambda: algorithms(0.5, 2.0)),
    ("stable", IN_PART, "one score alone", lambda: algorithms(0.5, scores=(1, 4))),
    ("stable", FAILS, "more of both", lambda: algorithms(1.1, 1.1)),
    ("robust", HOLDS, "smaller errors", lambda: algorithms(stanczuk=3, ours=-1)),
    ("robust", HOLDS, "no answer is nearer than 10", lambda: algorithms(stanczuk=10, ours=math.nan)),
    ("robust", FAILS, "no answer is farther than 3", lambda: algorithms(stanczuk=3, ours=math.nan)),
    ("robust", FAILS, "larger errors", lambda: algorithms(stanczuk=-1, ours=3)),
    ("robust", FAILS, "larger errors below", lambda: algorithms(stanczuk=1, ours=-3)),
    ("images-grow", HOLDS, "by both readings", lambda: images()),
    ("images-grow", IN_PART, "not by Alg. 3", lambda: images(kink=lambda n: 100.0)),
    ("images-grow", IN_PART, "Alg. 3 has no answer", lambda: images(kink=lambda n: math.nan)),
    ("images-grow", FAILS, "falls", lambda: images(lambda n: -5 * math.log2(n), lambda n: 9.0)),
    ("images-grow", FAILS, "falls on the way", lambda: images(lambda n: 99.0 if n == 64 else n / 100, lambda n: 9.0)),
    ("images-grow", FAILS, "sets of unequal size", lambda: images(lambda n: 9.0, lambda n: 9.0, apart=-5.0, few=True)),
    ("images-mnist", IN_PART, "no peak is reached", lambda: images(late, late)),
    ("images-mnist", HOLDS, "peak seen", lambda: images(late, late, sizes=(2, 400, 4000, 16_000))),
    ("images-mnist", IN_PART, "no gaps", lambda: images(late, late, gap=lambda n: math.nan)),
    ("images-mnist", IN_PART, "no peak", lambda: images(late, lambda n: n / 1000, sizes=(2, 400, 4000, 16_000))),
    (
        "images-mnist",
        FAILS,
        "early rise, no gaps",
        lambda: images(*[lambda n: min(n, 64.0)] * 2, gap=lambda n: math.nan),
    ),
    ("images-mnist", UNDECIDED, "no MNIST", lambda: images(names=("digits",))),
    ("images-no-saturation", HOLDS, "still rising", lambda: images()),
    ("images-no-saturation", FAILS, "flat", lambda: images(*[lambda n: min(n, 64.0)] * 2)),
    ("images-no-saturation", IN_PART, "flat by Alg. 3", lambda: images(kink=lambda n: 5.0)),
    ("images-no-saturation", UNDECIDED, "no harder data", lambda: images(names=("mnist",))),
    ("images-alike", HOLDS, "no difference", lambda: images()),
    ("images-alike", HOLDS, "a difference within the margin", lambda: images(lambda n: 40.0, apart=2.0)),
    ("images-alike", FAILS, "more at held-out images", lambda: images(apart=12.0)),
    ("images-alike", FAILS, "fewer at held-out images", lambda: images(apart=-12.0)),
    ("images-alike", IN_PART, "where there are many", lambda: images(apart=4.0)),
    ("images-alike", UNDECIDED, "scatter", lambda: images(spread=30.0, sizes=(2, 64))),
]


@pytest.mark.parametrize(
    ("key", "expected", "made"), [(k, v, m) for k, v, _, m in CASES], ids=[f"{k}: {w}" for k, _, w, _ in CASES]
)
def test_verdict(key: str, expected: str, made: Callable[[], Made]) -> None:
    evidence = BY_KEY[key].judge(made())
    assert evidence.verdict == expected, evidence.found
    assert evidence.found
    if evidence.table is not None:
        assert {len(row) for row in evidence.table.rows} == {len(evidence.table.header)}


def test_every_claim_is_seen_to_hold_and_to_fail() -> None:
    """Where Eqs. 18, 19 and 43 are right at no time has its own test."""
    for wanted in (HOLDS, FAILS):
        assert set(BY_KEY) - {key for key, verdict, _, _ in CASES if verdict == wanted} <= {"spectra"}


# --- numbers in the sentences and tables ---


def test_openings_are_the_times_at_which_survival_crosses_one_half() -> None:
    """On a grid of thirteen times, interpolated in ln t: a subspace of variance s opens at t = s."""
    text = said("opening", curves(7))
    assert "at t = 1.0" in text
    assert "variance 0.3 at t = 0.3" in text
    log_t = np.linspace(-3, 3, 13)
    curve = np.tile(0.5 - (log_t - 1.25) / 10, (4, 1))
    assert _opened(curve, log_t) == pytest.approx(1.25)
    assert math.isnan(_opened(curve - 1, log_t))
    # Survival that is lost again at small t, where data sets condense, opened where it rose first.
    assert _opened(np.where(log_t < -2, 0.1, curve), log_t) == pytest.approx(1.25)


def test_gaps_close_half_way_between_sizes_in_logarithms() -> None:
    table = BY_KEY["closing"].judge(by_size(7, 100, 1000)).table
    assert table.rows == (("7", "0.1", "500 [500, 500]", "71 [71, 71]"), ("7", "0.01", "500 [500, 500]", "71 [71, 71]"))
    table = BY_KEY["closing"].judge(by_size(7, 1, 10**9)).table
    assert table.rows[0] == ("7", "0.1", "above 10,000", "below 50")


def test_the_sign_of_participation_is_counted_by_time() -> None:
    text = said("lost-first-simulation", order(np.array([0.2, 0.1, -0.1, -0.2, -0.3])))
    assert "of the 5 times with mean Y above 0.01, the high-variance subspace is the more condensed at 2" in text
    assert "the low-variance one at 3" in text


def test_what_is_not_condensed_is_not_judged() -> None:
    records = order(np.array([0.2, 0.1, 0.1, -0.3]))
    late = records["order"]["m7"]["participation"].values[..., -1]
    late[:] = late / 1000
    assert verdict("lost-first-simulation", records) == HOLDS


def test_theory_counts_only_the_times_near_condensation() -> None:
    """Far above t_c nothing is condensed, so the order there is of no account."""
    arrays = order(np.zeros(9))["order"]["m7"]
    far = arrays["t"].values >= 4  # twice the larger t_c
    assert 0 < far.sum() < 9
    for method in ("condensation_time", "expansion"):
        late = far if method == "condensation_time" else arrays["t"].values >= 6
        arrays[method].values[late] = arrays[method].values[late][:, ::-1]
    assert verdict("lost-first-exact", {"order": {"m7": arrays}}) == HOLDS
    arrays["condensation_time"].values[0] = [1.0, 2.0]
    assert verdict("lost-first-exact", {"order": {"m7": arrays}}) == IN_PART


def test_slopes_are_those_of_ln_n() -> None:
    text = said("scaling", scaling(0.75, 0.0))
    assert "ln N grows by 0.750 [" in text
    assert "(theory, h(t): 0.750)" in text
    assert "By 0.00000 [" in text or "By -0.00000 [" in text
    assert "nearer a line in m than in ln m in" in text


def test_orders_of_the_samplers_are_those_of_their_errors() -> None:
    text = said("memorizing-limit", reverse(1.0, 0.0))
    assert "reverse diffusion, exact score: the error of a variance falls as steps^-1.00 (from 0.2 to 0.05)" in text
    assert "flow, exact score: the error of a variance falls as steps^-2.00" in text
    assert "100.0% of the samples of the empirical score" in text


def test_errors_of_spectra_are_those_of_the_tangent_and_of_the_largest_values() -> None:
    """An error of the tangent values alone is not hidden by the largest ones, nor the other way round."""
    for where, row in ((slice(D - 7, D), 0), (slice(0, 7), 1)):
        records = curves(7)
        values = records["fig4"]["theory"]["singular_value"].values
        values[list(_FORMS).index("eq19"), 0, where] *= 2
        evidence = BY_KEY["spectra"].judge(records)
        assert evidence.verdict == IN_PART
        assert float(evidence.table.rows[row][3].split(" ± ")[0]) == pytest.approx(math.log(2), abs=0.02)
        assert float(evidence.table.rows[1 - row][3].split(" ± ")[0]) < 0.02
    records = curves(7)
    records["fig4"]["theory"]["singular_value"].values[..., 7 : D - 7] *= 100
    assert verdict("spectra", records) == HOLDS


def test_networks_sentences_say_what_was_counted() -> None:
    text = said("networks-total-gap", trained())
    assert "m = 7, 1,000 steps" in text
    assert "100% to 100% of points for N = 5,000, 100,000" in text
    text = said("networks-low-gap", trained(**BEHIND))
    assert "N = 250" in text
    assert "N = 500" in text
    assert "N = 5,000" not in text
    assert "the largest gap is the low-variance one at 100% of training points" in text
    assert "by +0.40 [+0.40, +0.40] (t = 0.01)" in text
    text = said("networks-agree", trained(beyond=lambda t: 2.0 * (t < 0.1)))
    assert "at t ≥ 0.3 the two differ by 0.00 dimensions at most" in text
    assert "nearer the exact score by 2.0 to 2.0 dimensions, its interval above 0 in 10 of 10 cases" in text
    text = said("stable", algorithms(0.25, 0.5))
    assert "0.25 to 0.25 for Alg. 2 with as many directions" in text


def reversed_at(place: str, records: Made) -> Made:
    """The two subspaces' survival exchanged at the points of one place."""
    ((name, parts),) = records.items()
    ((part, arrays),) = parts.items()
    changed = arrays.copy(deep=True)
    at = changed["where"].values == place
    s = changed["variance"].values[:2] / (changed["variance"].values[:2] + changed["t"].values[:, None])
    values = changed["axis_survival"].values
    values[..., at, :2] = values[..., at, 1::-1] / s[:, None, ::-1] * s[:, None]
    return {name: {part: changed}}


def test_training_and_new_points_are_told_apart() -> None:
    """The total gap must be kept at both; the other gaps, what is lost first and agreement are of training points, and
    what is learned first of new ones.
    """

    def gap(n: int, place: str) -> int:
        return {"origin": -1, "training": 28 if n <= 100 else 25 if n <= 500 else 23, "held_out": 23}[place]

    records = {"fig5": {"m7": networks(7, gap, **BEHIND)}}
    for key in ("networks-total-gap", "networks-low-gap", "networks-high-gap"):
        assert verdict(key, records) == HOLDS, key
    other = {"fig5": {"m7": networks(7, lambda n, place: 28 if place == "held_out" else 23, **BEHIND)}}
    assert verdict("networks-total-gap", other) == IN_PART
    assert verdict("lost-first-networks", reversed_at("held_out", records)) == HOLDS
    assert verdict("lost-first-networks", reversed_at("training", records)) == FAILS
    assert verdict("learned-first", reversed_at("training", learned(1.0, 0.5))) == HOLDS
    assert verdict("learned-first", reversed_at("held_out", learned(1.0, 0.5))) == FAILS
    agree = trained(beyond=lambda t: 2.0 * (t < 0.1))["fig5"]["m7"]
    agree["axis_survival"].loc[{"score": "empirical", "point": agree["where"].values == "held_out"}] = 0.0
    assert verdict("networks-agree", {"fig5": {"m7": agree}}) == HOLDS


# --- what verdicts are made of ---


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([True], HOLDS),
        ([True, True], HOLDS),
        ([False, True], IN_PART),
        ([True, False], IN_PART),
        ([False], FAILS),
        ([False, False], FAILS),
        ([np.True_, np.False_], IN_PART),
    ],
)
def test_graded(parts: list[bool], expected: str) -> None:
    assert graded(parts) == expected


def test_bootstrap_resamples_units_with_replacement() -> None:
    """The identity first; the spread of a mean is its standard error, within 4 of its own at 2,000 draws."""
    x = rng().standard_normal(50) ** 3
    seen: list[np.ndarray] = []
    value, draws = bootstrap(lambda rows: (seen.append(rows), x[rows].mean())[1], 50, draws=2000)
    assert value == x.mean()
    assert seen[0].tolist() == list(range(50))
    assert draws.shape == (2000,)
    assert all(rows.shape == (50,) and set(rows) <= set(range(50)) for rows in seen)
    assert np.mean([len(set(rows)) for rows in seen[1:]]) / 50 == pytest.approx(1 - 0.98**50, abs=0.01)
    assert draws.std() / (x.std() / math.sqrt(50)) == pytest.approx(1, abs=4 / math.sqrt(4000))
    again = bootstrap(lambda rows: x[rows].mean(), 50, draws=2000)[1]
    assert np.array_equal(again, draws)
    assert not np.array_equal(bootstrap(lambda rows: x[rows].mean(), 50, draws=2000, seed="other")[1], draws)
    pair, spread = bootstrap(lambda rows: np.array([x[rows].sum(), 1.0]), 50, draws=7)
    assert (pair.shape, spread.shape) == ((2,), (7, 2))


def test_interval_holds_ninety_five_percent_of_the_draws() -> None:
    """Of the mean of Gaussian units it is 1.96 standard errors to either side; of a constant it is that number."""
    x = rng().standard_normal(400)
    found = interval(lambda rows: float(x[rows].mean()), 400, draws=4000)
    error = norm.ppf(0.975) * x.std() / 20
    assert found.value == x.mean()
    assert (found.high - found.value, found.value - found.low) == pytest.approx((error, error), rel=0.1)
    assert found.n == 400
    constant = interval(lambda rows: 3.0, 10)
    assert (constant.value, constant.low, constant.high, constant.n) == (3.0, 3.0, 3.0, 10)


def test_claims_are_judged_on_those_of_their_experiments_that_are_there() -> None:
    assert judged({}) == []
    found = judged({**condensation([1.0, 1.02, 1.09]), **scaling(0.9, 0.0), "fig2": {}})
    assert [v.claim.key for v in found] == ["expansion", "position", "scaling"]
    assert [set(v.plain()) for v in found] == [{"claim", "place", "statement", "verdict", "found"}] * 3
    line = verdict_lines(found)[0]
    assert line.startswith(f"{BY_KEY['expansion'].statement} (Supp. C, Fig. 8, Eq. 15): holds. ")
    assert line.endswith(found[0].evidence.found[0])


# --- where records say nothing, or the contrary ---


def test_a_statement_of_which_nothing_could_be_told_does_not_hold() -> None:
    assert graded([]) == UNDECIDED
    assert verdict("closing", both(by_size, 10**9, 10**9)) == UNDECIDED


def test_an_expansion_far_too_small_does_not_hold() -> None:
    assert verdict("expansion", condensation([0.5, 0.5, 0.5])) == FAILS


def test_spectra_that_agree_at_no_time_are_judged() -> None:
    assert BY_KEY["spectra"].judge(curves(7, errors={"eq19": [3.0] * 13})).verdict == FAILS


def test_networks_of_few_samples_alone_are_judged() -> None:
    arrays = trained()["fig5"]["m7"].sel(size=[50, 250])
    assert BY_KEY["networks-total-gap"].judge({"fig5": {"m7": arrays}}).verdict != HOLDS
