"""Claims about theory and the empirical score on linear manifolds."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.stats import norm

from geomem.audit.intervals import Interval, mean, resampled
from geomem.claims.verdict import Claim, Evidence, Records, Table, bootstrap, graded, interval

__all__ = ["CLAIMS"]

# Dimension of the high-variance subspace in the experiments of m = 7 and m = 15.
_HIGH = {7: 2, 15: 5}


def _opened(survival: np.ndarray, log_t: np.ndarray) -> float:
    """ln t at which the median over data sets (dataset, t) of a subspace's survival rises to 1/2 as t falls from above.

    Under the exact score s/(t+s) does at t = s. NaN where it never does.
    """
    curve = np.median(survival, 0)
    free = np.flatnonzero(curve >= 0.5)
    if free.size == 0 or free[-1] == curve.size - 1:
        return float("nan")
    last = free[-1]
    return float(np.interp(-0.5, -curve[last : last + 2], log_t[last : last + 2]))


def _when(t: Interval) -> str:
    return f"at t = {t:.2f}" if np.isfinite([t.value, t.low, t.high]).all() else "not in every bootstrap draw"


def _opening(records: Records) -> Evidence:
    found, parts = [], []
    for name, held in records.items():
        arrays, m = held["simulation"], held["theory"].attrs["rank"]
        survival, log_t = arrays["axis_survival"].values.astype(np.float64), np.log(arrays["t"].values)

        def opened(rows: np.ndarray, a: np.ndarray = survival, u: np.ndarray = log_t) -> np.ndarray:
            first, second = (_opened(a[rows, k], u) for k in (0, 1))
            return np.array([np.exp(first), np.exp(second), first - second])

        value, draws = bootstrap(opened, survival.shape[0])
        high, low = (resampled(float(value[k]), draws[:, k], survival.shape[0]) for k in range(2))
        # A subspace that never opens is later than one that does.
        parts.append(bool(np.mean(~(draws[:, 2] <= 0) & np.isfinite(draws[:, 0])) > 0.975))
        found.append(
            f"{name}, m = {m}: the survival of the axes of variance 1 rises to ½ {_when(high)}, of those of variance 0.3 {_when(low)} "
            "(exact score: at 1 and 0.3)."
        )
    return Evidence(graded(parts), tuple(found))


def _closing(records: Records) -> Evidence:
    found, parts, rows = [], [], []
    for name, m in {"fig9": 7, "fig10": 15}.items():
        if name not in records:
            continue
        by_size = list(records[name].values())
        sizes = np.array([part.attrs["n_samples"] for part in by_size])
        values = np.stack([part["smoothed"].values.astype(np.float64) for part in by_size])
        t = by_size[0]["t"].values
        d, high = values.shape[-1], _HIGH[m]
        for k, u in enumerate(t):
            if u > 0.3 or u < 0.01:
                continue
            steps = values[:, :, k, :-1] - values[:, :, k, 1:]
            # Open: wider than all others, of the whole spectrum or of its tangent part.
            total_open = steps.argmax(-1) == d - m - 1
            middle_open = steps[..., d - m :].argmax(-1) == m - high - 1

            def closes(rows: np.ndarray, opened: np.ndarray, sizes: np.ndarray = sizes) -> float:
                share = opened[:, rows].mean(1)
                below = np.flatnonzero(share < 0.5)
                if below.size == 0:
                    return float(sizes[0])  # open at every size: closes below the smallest
                last = below[-1]
                if last == sizes.size - 1:
                    return float(sizes[-1])  # closed at every size
                pair = slice(last, last + 2)
                return float(np.exp(np.interp(0.5, share[pair], np.log(sizes[pair]))))

            units = values.shape[1]
            total = interval(lambda r, a=total_open: closes(r, a), units)  # type: ignore[misc]
            middle = interval(lambda r, a=middle_open: closes(r, a), units)  # type: ignore[misc]
            if total.high < sizes[-1]:  # otherwise both are closed whatever N, and nothing can be told
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


def _condensed_first(records: Records, method: str) -> Evidence:
    found, parts = [], []
    for name, arrays in records["order"].items():
        t, t_c = arrays["t"].values, arrays[method].values
        near = t < 2 * t_c.max(1)
        first = (t_c[:, 0] > t_c[:, 1])[near]
        parts += list(first)
        found.append(
            f"{name.replace('m', 'm = ')}: t_c(e_j √t) is larger along variance 1 at {first.sum()} of the {near.sum()} times below 2 t_c."
        )
    return Evidence(graded(parts), tuple(found))


def _lost_in_simulation(records: Records) -> Evidence:
    rows, parts, found = [], [], []
    for name, arrays in records["order"].items():
        y, t = arrays["participation"].values, arrays["t"].values
        label, mean_y = name.replace("m", "m = "), y.mean((0, 1))
        # Nothing is lost where hundreds of samples share the weight; all times that are judged are judged together.
        judged = mean_y > 0.01
        signs = []
        for k, u in enumerate(t):
            pair = mean(y[:, 0, k] - y[:, 1, k], confidence=1 - 0.05 / max(1, judged.sum()))
            if judged[k]:
                signs.append(int(pair.low > 0) - int(pair.high < 0))
            rows.append((label, f"{u:.3g}", f"{mean_y[k]:.3f}", f"{pair:+.2g}", "" if judged[k] else "not judged"))
        above, below = signs.count(1), signs.count(-1)
        parts += [above > 0, below == 0] if signs else []
        found.append(
            f"{label}: of the {len(signs)} times with mean Y above 0.01, the high-variance subspace is the more condensed at {above}, the "
            f"low-variance one at {below} (intervals at 95% for all together, {y.shape[0]} data sets). At t ≥ 1, where Y ≤ 0.003 and "
            "nothing is lost, the sign is the other one; by the annealed theory it changes at t = √(2 s_1 s_2) = 0.77."
        )
    table = Table(("", "t", "mean Y", "Y(variance 1) − Y(variance 0.3)", ""), tuple(rows))
    return Evidence(graded(parts), tuple(found), table)


def _plane(records: Records) -> Evidence:
    arrays = records["fig3"]["survival"]
    rows, parts = [], []
    for beta in arrays["beta"].values:
        ratio = (arrays["survival"] / arrays["exact"]).sel(beta=beta)
        cells, pairs = [], []  # of the largest beta, in the end
        # A few points between two samples have survivals far above 1, so the mean and the typical point may differ.
        for kept in (ratio.mean("point"), (ratio > 0.5).mean("point")):
            x, y = (kept.sel(axis=axis).values for axis in ("x", "y"))
            pairs.append(mean(x - y))
            cells += [f"{mean(x):.2f}", f"{mean(y):.2f}", f"{pairs[-1]:+.2f}"]
        parts = [pair.high < 0 for pair in pairs]
        rows.append((f"{beta:g}", *cells))
    last = rows[-1]
    text = (
        f"At β = {last[0]}, along the high-variance axis and the other: mean share of the exact survival {last[1]} and {last[2]} "
        f"(difference {last[3]}); share of points with more than half of it {last[4]} and {last[5]} (difference {last[6]})."
    )
    header = ("β", "mean kept, high", "low", "difference", "points that keep half, high", "low", "difference")
    return Evidence(graded(parts), (text,), Table(header, tuple(rows)))


def _expansion(records: Records) -> Evidence:
    loads = records["fig8"]["loads"]["condensation_time"]
    ratio = (loads.sel(form="expansion") / loads.sel(form="exact")).values
    alpha = loads["alpha"].values
    rows = []
    for wanted in (1e-3, 1e-2, 0.1, 0.15, 0.3, 1.0, 3.0):
        k = int(np.argmin(np.abs(np.log(alpha / wanted))))
        low, middle, high = np.quantile(ratio[:, k], [0.025, 0.5, 0.975])
        rows.append((f"{alpha[k]:.3g}", f"{middle:.3g} [{low:.3g}, {high:.3g}]"))
    good = alpha[np.abs(np.log(np.median(ratio, 0))) < np.log(1.1)]
    reach = f"up to α = {good.max():.2g}" if good.size else "nowhere"
    text = (
        f"Over {ratio.shape[0]} random F and x, Eq. 15 is within 10% of the exact time {reach}; it is never below it "
        f"(smallest ratio {ratio.min():.4f}), and {np.median(ratio[:, -1]):.3g} times too large at α = {alpha[-1]:g}."
    )
    table = Table(("α", "Eq. 15 / exact, median and 95% of F, x"), tuple(rows))
    return Evidence(graded([good.size == alpha.size, good.size > alpha.size / 2]), (text,), table)


def _position(records: Records) -> Evidence:
    from scipy.stats import spearmanr

    arrays = records["fig8"]["positions"]
    x, y = arrays["variance_density"].values, arrays["condensation_time"].values
    rank = interval(lambda rows: float(spearmanr(x[rows], y[rows]).statistic), x.size)
    spread = np.quantile(y, [0.025, 0.975])
    text = (
        f"Rank correlation of exact t_c with ω²: {rank:.3f}, over {x.size:,} positions; t_c itself spans {spread[0]:.3g} to "
        f"{spread[1]:.3g} (95% of positions) around a median of {np.median(y):.3g}."
    )
    strong = bool(spread[1] / spread[0] > 1.25)
    return Evidence(graded([strong, strong and rank.low > 0.5]), (text,))


_FORMS = {
    "eq19": "19",
    "eq43": "43",
    "eq18 samples": "18 drawn",
    "eq41 samples": "41 drawn",
    "column": "column",
    "row": "row",
    "corrected samples": "18 corr.",
    "correlated": "correlated",
}


def _errors(theory: xr.Dataset, scaled: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Median |ln(theory/median of data sets)| over the m last and over the m first values, (2, form, t).

    The last are the tangent ones, where the gaps are; the first are 1/t unless the noise is larger. One median over both
    would see only the easier half.
    """
    m = theory.attrs["rank"]
    simulated = np.median(scaled[rows], 0)
    forms = theory["singular_value"].sel(form=list(_FORMS)).values
    wrong = np.abs(np.log(forms / simulated))
    return np.stack([np.median(wrong[..., -m:], -1), np.median(wrong[..., :m], -1)])


def _spectra(records: Records) -> Evidence:
    rows, found, parts = [], [], []
    for name, held in records.items():
        theory, simulation = held["theory"], held["simulation"]
        values = simulation["singular_value"].sel(probe="smoothed").values.astype(np.float64)
        error, draws = bootstrap(lambda r, a=theory, b=values: _errors(a, b, r), values.shape[0], draws=100)  # type: ignore[misc]
        t, t_c, spread = theory["t"].values, theory.attrs["condensation_time"], draws.std(0)
        for k, u in enumerate(t):
            for part, label in enumerate(("tangent", "largest")):
                cells = [
                    f"{error[part, f, k]:.2g}" + (f" ± {spread[part, f, k]:.1g}" if spread[part, f, k] > 5e-5 else "")
                    for f in range(len(_FORMS))
                ]
                rows.append((f"{theory.attrs['rank']}", f"{u:.3g}", label, *cells))
        worst = error.max(0)
        printed = worst[[list(_FORMS).index(form) for form in ("eq19", "eq43", "eq18 samples")]]
        correlated = worst[list(_FORMS).index("correlated")]
        fine = (printed < np.log(1.25)).all(0)
        parts += list(fine)
        found.append(
            f"{name}, m = {theory.attrs['rank']} (t_c = {t_c:.3g}): the printed 18, 19 and 43 are all within 25% of the simulation at "
            f"{fine.sum()} of {t.size} times ({_range(t[fine])}); worst {np.exp(printed.max()):.2g} times. The correlated theory is at "
            f"{(correlated < np.log(1.25)).sum()}; worst {np.exp(correlated.max()):.2g} times, at t = {t[correlated.argmax()]:.2g}."
        )
    table = Table(("m", "t", "values", *_FORMS.values()), tuple(rows))
    return Evidence(graded(parts), tuple(found), table)


def _closer(records: Records) -> Evidence:
    found, parts = [], []
    eq43, eq41 = list(_FORMS).index("eq43"), list(_FORMS).index("eq41 samples")
    for name, held in records.items():
        theory = held["theory"]
        values = held["simulation"]["singular_value"].sel(probe="smoothed").values.astype(np.float64)

        def advantage(rows: np.ndarray, theory: xr.Dataset = theory, values: np.ndarray = values) -> np.ndarray:
            error = _errors(theory, values, rows)[0]
            return np.asarray(error[eq41] - error[eq43])

        value, draws = bootstrap(advantage, values.shape[0], draws=200)
        t, s_e = theory["t"].values, np.maximum(draws.std(0), 1e-9)
        limit = norm.ppf(1 - 0.025 / t.size)
        better, worse = t[value > limit * s_e], t[value < -limit * s_e]
        parts.append(better.size > 0)
        k = int(value.argmax())
        found.append(
            f"{name}, m = {theory.attrs['rank']}: over the tangent values Eq. 43 is closer at {better.size} of {t.size} times "
            f"({_range(better)}), Eq. 41's spectrum at {worse.size} ({_range(worse)}); largest advantage {value[k]:.2g} ± {s_e[k]:.1g} in ln, at "
            f"t = {t[k]:.2g}."
        )
    return Evidence(graded([any(parts)]), tuple(found))


def _range(t: Sequence[float]) -> str:
    return f"t = {min(t):.2g} to {max(t):.2g}" if len(t) else "at none"


def _scaling(records: Records) -> Evidence:
    held = records["scaling"]
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
        f"{m[0]:g} to {sizes[-1]:,.0f} at m = {m[-1]:g}; ln N is nearer a line in m than in ln m in {exponential:.0%} of bootstrap draws.",
        f"By {flat:.5f} for each ambient dimension: at the origin Y does not depend on d at all, as an identity, so this only repeats it "
        "with other samples.",
    )
    return Evidence(graded([slope.low > 0 and exponential > 0.95, flat.low <= 0 <= flat.high]), text)


def _latent(records: Records) -> Evidence:
    held = records["fig1"]
    counts = {name: int(arrays.attrs["distinct"]) for name, arrays in held.items()}
    starts, few = held["circle"].sizes["start"], held["memorizing"].sizes["row"]
    arrays = held["memorizing"]
    kept = arrays["point"].values[(arrays["stable"] & arrays["converged"]).values]
    away = np.linalg.norm(kept[:, None] - arrays["sample"].values, axis=-1).min(1).max() / np.sqrt(arrays.attrs["t"])
    text = (
        f"{few} samples at t = {arrays.attrs['t']:g}: {counts['memorizing']} fixed points from {starts} starts, none farther than {away:.2f} √t from a "
        "sample.",
        f"From as many starts the search ends at {counts['circle']} distinct points of a circle and, although the density along it is uniform, at "
        f"only {counts['ellipse']} of an ellipse: smoothing keeps the density uniform along a curve only where the curvature is constant, and "
        "there alone the set of Eq. 3 is the manifold.",
    )
    parts = [counts["circle"] == starts, counts["memorizing"] == few and away < 0.5, counts["ellipse"] == starts]
    return Evidence(graded(parts), text)


def _reverse(records: Records) -> Evidence:
    arrays = records["reverse"]["nearest"]
    width = float(np.sqrt(arrays.attrs["t_min"]))
    found, parts = [], []
    for sampler in arrays["sampler"].values:
        near = {
            s: (arrays["distance"].sel(score=s, sampler=sampler).values < width).mean() for s in ("empirical", "exact")
        }
        parts += [near["empirical"] > 0.95, near["exact"] < 0.05]
        found.append(
            f"{sampler}: {near['empirical']:.1%} of the samples of the empirical score end within √t_min = {width:.3g} of a "
            f"training point, {near['exact']:.1%} of those of the exact score ({arrays.sizes['sample']:,} samples each; new "
            f"points: {(arrays['new_distance'].values < width).mean():.1%})."
        )
    weak = records["reverse"]["weak_error"]
    for sampler in weak["sampler"].values:
        error = np.abs(weak["error"].sel(sampler=sampler).isel(subspace=0).values)
        order = -np.polyfit(np.log(weak["steps"].values), np.log(error), 1)[0]
        found.append(
            f"{sampler}, exact score: the error of a variance falls as steps^-{order:.2f} (from {error[0]:.2g} to {error[-1]:.2g})."
        )
    return Evidence(graded(parts), tuple(found))


CLAIMS = (
    Claim(
        "latent-manifold",
        "For a uniform distribution on a manifold, the stable fixed points of the score form a manifold; with few samples they are "
        "those samples.",
        "Sec. 4, Eq. 3, Fig. 1",
        "distinct stable fixed points reached from starts all around, and their distance to the samples",
        ("fig1",),
        _latent,
    ),
    Claim(
        "memorizing-limit",
        "As t → 0 the empirical score always memorizes: the reverse diffusion ends on training points.",
        "Sec. 5.2, Eq. 2",
        "share of final samples within √t_min of a training point; more than 95% for the empirical score, less than 5% for the exact",
        ("reverse",),
        _reverse,
    ),
    Claim(
        "opening",
        "Subspaces of larger variance emerge earlier in the reverse process.",
        "Sec. 5.1",
        "t at which the median over data sets of the survival of a subspace's axes, 1 + t J_jj, rises to ½; paired bootstrap over data sets",
        ("fig4", "fig12"),
        _opening,
    ),
    Claim(
        "closing",
        "As N falls, the intermediate gap closes before the total one.",
        "Sec. 5.4, Figs. 9 and 10",
        "N at which half of the data sets have a gap open, interpolated; open is wider than every other step of the sorted smoothed spectrum at "
        "the origin (total), or of its tangent part (intermediate); bootstrap over data sets",
        ("fig9", "fig10"),
        _closing,
    ),
    Claim(
        "lost-first-expansion",
        "Subspaces of higher variance are lost first: by Eq. 15.",
        "Sec. 5.4",
        "sign of the difference of t_c(e_j √t) between the subspaces by Eq. 15, at times below 2 t_c; it holds by construction, ω² being "
        "t σ_j²/d",
        ("order",),
        lambda records: _condensed_first(records, "expansion"),
    ),
    Claim(
        "lost-first-exact",
        "Subspaces of higher variance are lost first: by the exact condensation time.",
        "Supp. C",
        "the same by the exact t_c",
        ("order",),
        lambda records: _condensed_first(records, "condensation_time"),
    ),
    Claim(
        "lost-first-simulation",
        "Subspaces of higher variance are lost first: in the empirical score.",
        "Sec. 5.4",
        "paired difference of Y = Σw² at e_j √t between the subspaces where mean Y > 0.01; holds if it is somewhere positive and nowhere negative",
        ("order",),
        _lost_in_simulation,
    ),
    Claim(
        "plane",
        "In two dimensions of unequal variance the dimension of higher variance is lost.",
        "Fig. 3",
        "empirical over exact survival along each axis at points of p_t: its mean, and the share of points above ½; paired difference at the "
        "largest β",
        ("fig3",),
        _plane,
    ),
    Claim(
        "expansion",
        "The expansion of the condensation time agrees well with the exact one at all α.",
        "Supp. C, Fig. 8, Eq. 15",
        "ratio to the exact time; good is within 10%: at all α, or in part at more than half of them",
        ("fig8",),
        _expansion,
    ),
    Claim(
        "position",
        "The condensation time depends strongly on the position, through ω².",
        "Supp. C, Fig. 8",
        "spread of t_c over 95% of the positions, more than a quarter; and then its rank correlation with ω², above 0.5",
        ("fig8",),
        _position,
    ),
    Claim(
        "spectra",
        "Eqs. 18, 19 and 43 are consistent with the spectra of the empirical score.",
        "Sec. 6.1, Supp. D.1, Figs. 4, 11, 12",
        "median of |ln(theory/simulation)| over the m last values (the tangent ones) and over the m first, ± bootstrap s.e. over data sets; "
        "consistent is within 25% in both",
        ("fig4", "fig12"),
        _spectra,
    ),
    Claim(
        "closer",
        "In some regimes Eq. 43 is closer to the simulation than the spectrum of Eq. 41.",
        "Supp. D",
        "difference of the two errors over the tangent values by t, 95% for all times together, bootstrap over data sets",
        ("fig4", "fig12"),
        _closer,
    ),
    Claim(
        "scaling",
        "The samples needed to avoid condensation grow exponentially with the dimension of the manifold, not of the space.",
        "Supp. C",
        "N at which the mean Y at the origin is ½: slope of ln N over m above 0 and nearer a line in m than in ln m; slope over d not different "
        "from 0",
        ("scaling",),
        _scaling,
    ),
)
