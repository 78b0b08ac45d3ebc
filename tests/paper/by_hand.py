"""Records made by hand, in the form that experiments give them, so that the verdict on a claim is known."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from geomem.paper.claims import CLAIMS, verdicts
from geomem.paper.curves import FORMS

Made = Mapping[str, Mapping[str, xr.Dataset]]
BY_KEY = {claim.key: claim for claim in CLAIMS}
D = 30
# Dimensions of variance 1 and 0.3 for the two manifolds of the figures.
PARTS = {7: (2, 5), 15: (5, 10)}
# Factors by time of a form that is off at small t, where the others are right; and at every time but the largest.
OFF = [3.0] * 6 + [1.0] * 7
MOSTLY = [3.0] * 12 + [1.0]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def around(values: np.ndarray | float, axis: int, count: int, spread: float = 0.01) -> np.ndarray:
    """`count` noisy copies of an array along a new axis."""
    centre = np.repeat(np.expand_dims(np.asarray(values, dtype=float), axis), count, axis)
    return centre + spread * rng().standard_normal(centre.shape)


def verdict(key: str, records: Made) -> str:
    (found,) = [v for v in verdicts(records) if v.claim.key == key]
    return found.evidence.verdict


def said(key: str, records: Made) -> str:
    (found,) = [v for v in verdicts(records) if v.claim.key == key]
    return " ".join(found.evidence.found)


def both(make: Callable[..., Made], *arguments, **options) -> Made:
    """The records of both manifolds."""
    return {**make(7, *arguments, **options), **make(15, *arguments, **options)}


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
    forms = [*FORMS, "exact"]
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
        coords={"probe": ["smoothed", "antithetic"], "variance": ("subspace", [1.0, 0.3]), **coords},
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
