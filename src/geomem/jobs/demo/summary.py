"""The numbers that the demo's page states, computed from its arrays, and the findings in sentences."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from geomem.jobs.demo.measure import SETS, SOURCES
from geomem.jobs.demo.settings import DemoSettings
from geomem.measure import Interval, difference, mean, rate_of_copies

__all__ = ["listed", "summarise", "with_dimensions"]

_NOT_NEGATIVE = (0.0, np.inf)


def with_dimensions(points: xr.Dataset) -> xr.Dataset:
    """`points` with `resolved` (number of survivals above 1/2) and `degrees_of_freedom` (their sum), NaN where no point."""
    survival = points["survival"]
    resolved = (survival > 0.5).sum("direction").where(survival.notnull().all("direction"))
    return points.assign(
        resolved=resolved.assign_attrs(units="dimensions", long_name="resolved dimension"),
        degrees_of_freedom=survival.sum("direction", skipna=False).assign_attrs(
            units="dimensions", long_name="degrees of freedom"
        ),
    )


def summarise(arrays: Mapping[str, xr.Dataset], settings: DemoSettings) -> dict[str, Any]:
    """All statements of the page as numbers with intervals, and its findings as sentences.

    Returns:
        "title" and "findings" in words; "digits" and "manifold" (`rows` of resolved dimensions by size and source;
        `agreement` of theory and empirical score), "copies" by size, "origin" (errors of the closed forms).
    """
    cases = {
        "digits": _case(arrays["digits_points"], settings.digits.focus),
        "manifold": _case(arrays["manifold_points"], settings.manifold.focus),
    }
    copies = _copies(arrays["digits_samples"])
    origin = _origin(arrays["manifold_origin"])
    findings = {
        "digits": [
            *_network_findings(cases["digits"], "digits", "digit", 64),
            _copy_finding(copies),
            _empirical_finding(cases["digits"], "digits"),
            _agreement_finding(cases["digits"], "digits, with a Gaussian plug-in,"),
        ],
        "manifold": [
            *_network_findings(cases["manifold"], "the linear manifold", "point", 30),
            _empirical_finding(cases["manifold"], "points"),
            _agreement_finding(cases["manifold"], "the linear manifold, where the Gaussian is exact,"),
            _origin_finding(origin),
        ],
    }
    return {
        "title": _title(cases["digits"], copies),
        "quick": settings == DemoSettings.quick(settings.seed),
        "findings": findings,
        **cases,
        "copies": copies,
        "origin": origin,
    }


def _case(points: xr.Dataset, focus: float) -> dict[str, Any]:
    at = points.sel(t=focus)
    resolved = at["resolved"]
    rows, dim = [], points.sizes["direction"]
    for size in points["size"].values:
        for source in SOURCES:
            groups = [resolved.sel(size=size, source=source, set=s).values for s in SETS]
            rows.append(
                {
                    "size": int(size),
                    "source": source,
                    "training": mean(groups[0], bounds=(0, dim)),
                    "held_out": mean(groups[1], bounds=(0, dim)),
                    "difference": difference(groups[1], groups[0]),
                }
            )
    # Directions in which the Gaussian's variance exceeds t: what an exactly learned Gaussian would resolve.
    exact = int((points["variance"] > focus).sum())
    return {"t": focus, "gaussian": exact, "rows": rows, "agreement": _agreement(points)}


def _agreement(points: xr.Dataset) -> dict[str, Any]:
    """Resolved dimension of theory minus empirical score, over sizes and times, and where they are furthest apart.

    Not degrees of freedom: their mean below the condensation time hangs on rare points between two samples.
    """
    theory, empirical = points["resolved"].sel(source="theory"), points["resolved"].sel(source="empirical")
    gap = theory.mean("point") - empirical.mean("point")
    out: dict[str, Any] = {}
    for name in SETS:
        one = gap.sel(set=name)
        worst = one.isel(one.pipe(abs).argmax(...))
        at = {"size": int(worst["size"]), "t": float(worst["t"])}
        out[name] = {
            "mean_absolute": float(abs(one).mean()),
            "worst": {
                **at,
                "theory": mean(theory.sel(at).sel(set=name), bounds=_NOT_NEGATIVE),
                "empirical": mean(empirical.sel(at).sel(set=name), bounds=_NOT_NEGATIVE),
            },
        }
    return out


def _copies(samples: xr.Dataset) -> list[dict[str, Any]]:
    return [
        {
            "size": int(size),
            "generated": rate_of_copies(samples["distance"].sel(size=size).values),
            "control": rate_of_copies(samples["control"].sel(size=size).values),
        }
        for size in samples["size"].values
    ]


def _origin(origin: xr.Dataset) -> dict[str, Any]:
    """Median |ln(theory/simulation)| over the sorted values that the manifold moves, by time, at the paper's N."""
    size = int(origin["size"].sel(size=1000, method="nearest"))
    at = origin.sel(size=size)
    values = at["empirical"].values
    d = values.shape[-1]
    rank = int(np.sum(at["exact"].values[0] < at["exact"].values[0].max() * (1 - 1e-9)))
    moved = np.r_[:rank, d - rank : d]
    errors = {
        name: np.median(np.abs(np.log(at[name].values[:, moved] / values[:, moved])), axis=-1).tolist()
        for name in ("exact", "row", "correlated", "network")
    }
    t_c = float(at["condensation_time"])
    return {"size": size, "t": at["t"].values.tolist(), "errors": errors, "condensation_time": t_c}


def _title(case: dict[str, Any], copies: list[dict[str, Any]]) -> str:
    """The finding on digits in one sentence."""
    rows = [row for row in case["rows"] if row["source"] == "network"]
    first, last = rows[0], rows[-1]
    if first["held_out"].low > case["gaussian"]:
        return "These networks have hardly trained: they have not yet lost any dimension of the digits"
    lost = [row["size"] for row in rows if row["difference"].low > 0]
    copied = [c for c in copies if c["generated"].low > c["control"].high]
    parts = []
    if lost:
        parts.append(f"networks trained on {listed(lost)} digits have lost dimensions at their training images")
    if copied:
        worst = max(copied, key=lambda c: float(c["generated"].value))
        parts.append(f"{worst['generated'].value:.0%} of what the one of {worst['size']:,} draws are copies")
    if not parts:
        parts.append("no network has lost dimensions at its training images or copies them")
    parts.append(
        f"from {first['size']:,} to {last['size']:,} digits the dimension at held-out images goes from "
        f"{first['held_out'].value:.0f} to {last['held_out'].value:.0f} of 64"
    )
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:]


def listed(sizes: list[int]) -> str:
    """Numbers as people list them."""
    shown = [f"{n:,}" for n in sizes]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + f" and {shown[-1]}"


def _network_findings(case: dict[str, Any], name: str, unit: str, dim: int) -> list[str]:
    rows = [row for row in case["rows"] if row["source"] == "network"]
    first, last = rows[0], rows[-1]
    held_out = [row["held_out"].value for row in rows]
    steps = np.diff(np.round(held_out, 1))  # as the sentence shows them
    if np.all(steps > 0):
        trend = "The dimension at held-out points grows with every larger training set"
    elif np.all(steps >= 0) and np.any(steps > 0):
        trend = "The dimension at held-out points grows with the training set until it levels off"
    else:
        trend = "The dimension at held-out points does not grow with the training set throughout"
    course = ", ".join(f"{row['held_out'].value:.1f} at N = {row['size']:,}" for row in rows)
    return [
        f"On {name}, networks trained on N = {first['size']:,} samples keep {first['training']} of {dim} directions at a "
        f"training {unit} and {first['held_out']} at a held-out one (resolved at t = {case['t']:g}, 95% intervals over "
        f"points); with N = {last['size']:,} they keep {last['training']} and {last['held_out']}.",
        f"{trend} ({course}). {_gap_sentence(first)} {_gap_sentence(last)}",
    ]


def _gap_sentence(row: dict[str, Any]) -> str:
    gap: Interval = row["difference"]
    where = f"At N = {row['size']:,}"
    if gap.low > 0:
        return f"{where}, training points have lost {gap} dimensions against held-out points."
    if gap.high < 0:
        return f"{where}, training points have {Interval(-gap.value, -gap.high, -gap.low, gap.n)} dimensions more."
    return f"{where}, no difference shows between training and held-out points ({gap} dimensions)."


def _copy_finding(copies: list[dict[str, Any]]) -> str:
    parts = [f"{c['generated']} at N = {c['size']:,} (held-out control {c['control']})" for c in copies]
    return f"Of the digits that the networks draw, these are copies of a training image: {'; '.join(parts)}."


def _empirical_finding(case: dict[str, Any], name: str) -> str:
    last = max(row["size"] for row in case["rows"])
    by_source = {row["source"]: row for row in case["rows"] if row["size"] == last}
    # Like with like: the probe looks a step away from the point, where more than one sample can matter.
    network, exact, probed = (by_source[s] for s in ("network", "empirical", "empirical, same probe"))
    opening = (
        f"The empirical score, which a network without limits would learn, keeps {probed['training']} directions at "
        f"training and {probed['held_out']} at held-out {name} at the same t and N = {last:,}, seen by the same probe as "
        f"the network ({exact['training']} and {exact['held_out']} by its exact Jacobian at the point)"
    )
    if network["held_out"].low > case["gaussian"]:
        return (
            f"{opening}. The network keeps more than the {case['gaussian']} that a Gaussian of these data has, so it has "
            "not learned yet which directions to lose; train longer before reading its dimensions."
        )
    if network["held_out"].low > probed["held_out"].high:
        return (
            f"{opening}. The network keeps more, up to the {case['gaussian']} of a Gaussian of all the data: it "
            "generalizes, or has not trained long enough to memorize; one training length cannot tell the two apart."
        )
    return f"{opening}; the network keeps no more than that."


def _agreement_finding(case: dict[str, Any], name: str) -> str:
    parts = []
    for which in SETS:
        a = case["agreement"][which]
        worst = a["worst"]
        parts.append(
            f"{a['mean_absolute']:.2f} at {which} points (most at N = {worst['size']:,}, t = {worst['t']:g}: "
            f"{worst['theory']} predicted, {worst['empirical']} measured)"
        )
    return f"Theory against the empirical score on {name} differs in resolved dimensions by {' and '.join(parts)}, on average over N and t (held-out theory is a heuristic)."


def _origin_finding(origin: dict[str, Any]) -> str:
    t = np.asarray(origin["t"])
    below, above = t < origin["condensation_time"], t > 2 * origin["condensation_time"]
    parts = []
    for label, where in (("below the condensation time", below), ("above twice that", above)):
        errors = {k: float(np.median(np.asarray(v)[where])) for k, v in origin["errors"].items()}
        parts.append(
            f"{label} it is {errors['correlated']:.2g} for the correlated theory, {errors['row']:.2g} for the row form of "
            f"Eq. 18, and {errors['exact']:.2g} for the exact score's spectrum"
        )
    return (
        f"At the manifold's origin, N = {origin['size']:,}, theory's singular values of the empirical Jacobian differ from "
        f"the median over data sets by |ln ratio|: {'; '.join(parts)} (medians; t_c = {origin['condensation_time']:.3g})."
    )
