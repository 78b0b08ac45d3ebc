"""Claims about condensation: when, where, which subspace first, and how many samples prevent it."""

import numpy as np
from scipy.stats import spearmanr

from geomem.intervals import mean, resampled
from geomem.paper.verdict import Claim, Evidence, Records, Table, graded, interval

__all__ = ["CLAIMS"]


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
        signs: list[int] = []
        others: list[int] = []
        for k, u in enumerate(t):
            pair = mean(y[:, 0, k] - y[:, 1, k], confidence=1 - 0.05 / max(1, judged.sum()))
            (signs if judged[k] else others).append(int(pair.low > 0) - int(pair.high < 0))
            rows.append((label, f"{u:.3g}", f"{mean_y[k]:.3f}", f"{pair:+.2g}", "" if judged[k] else "not judged"))
        above, below = signs.count(1), signs.count(-1)
        parts += [above > 0, below == 0] if signs else []
        found.append(
            f"{label}: of the {len(signs)} times with mean Y above 0.01, the high-variance subspace is the more condensed at {above}, the "
            f"low-variance one at {below} (intervals at 95% for all together, {y.shape[0]} data sets); at the others, where nothing is lost, the "
            f"high one at {others.count(1)}, the low one at {others.count(-1)}. By the annealed theory the sign changes at t = √(2 s_1 s_2) = "
            f"{np.sqrt(2 * np.prod(arrays['variance'].values)):.2f}."
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
        f"Over {ratio.shape[0]} random F and x, Eq. 15 is within 10% of the exact time {reach}; its ratio to it is {ratio.min():.4f} at the least, "
        f"and {np.median(ratio[:, -1]):.3g} in the middle at α = {alpha[-1]:g}."
    )
    table = Table(("α", "Eq. 15 / exact, median and 95% of F, x"), tuple(rows))
    return Evidence(graded([good.size == alpha.size, good.size > alpha.size / 2]), (text,), table)


def _position(records: Records) -> Evidence:
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


CLAIMS = (
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
        "scaling",
        "The samples needed to avoid condensation grow exponentially with the dimension of the manifold, not of the space.",
        "Supp. C",
        "N at which the mean Y at the origin is ½: slope of ln N over m above 0 and nearer a line in m than in ln m; slope over d not different "
        "from 0",
        ("scaling",),
        _scaling,
    ),
)
