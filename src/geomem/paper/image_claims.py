"""Claims of Sec. 6.3, on networks trained on more and more images."""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import xarray as xr

from geomem.intervals import Interval, difference
from geomem.jobs.sweep.numbers import blind_times, copies, dimension, reading_of, reference_time, values_of
from geomem.measure.observe import SETS
from geomem.paper.verdict import Claim, Evidence, Runs, Table, graded

__all__ = ["CLAIMS"]

# The paper's data sets that are harder than MNIST, and those that stand for them at reduced scale.
_HARDER = ("cifar10", "celeba", "fashion-mnist", "emoji")
_RISE, _PEAK = 400, 4000
_WIDE = 0.5
# Dimensions within this fraction of each other (or within one) are alike; points that are needed.
_MARGIN, _FEW = 0.1, 8


def _sweeps(runs: Runs) -> Mapping[str, xr.Dataset]:
    return runs["fig6"]


def _listed(runs: Runs) -> str:
    names = list(_sweeps(runs))
    return f"{len(names)} data set{'s' if len(names) > 1 else ''} ({', '.join(names)})"


def _readings(arrays: xr.Dataset) -> tuple[tuple[str, str, float], ...]:
    """The readings that claims rest on: ours at the middle t, and the paper's at the smallest.

    Where images were screened, also degrees of freedom at the second smallest t: at the smallest, noise is too weak for a network.
    """
    smallest, second = (float(t) for t in arrays["t"].values[:2])
    screened = (("degrees of freedom", "squares", second),) if "squares" in arrays else ()
    return (
        ("resolved", reading_of(arrays), reference_time(arrays)),
        *screened,
        ("Alg. 3", "second_difference", smallest),
    )


def _change(
    arrays: xr.Dataset, first: int, last: int, t: float, reading: str, where: str, confidence: float = 0.95
) -> Interval | None:
    """Dimension at the last size less that at the first, of one set; None where fewer than two points have one.

    One set at a time: at the smallest sizes there are fewer training points, so their share in a mean over both would
    change with N.
    """
    a, b = (values_of(arrays, size, t, where, "network", reading) for size in (last, first))
    if min(np.isfinite(a).sum(), np.isfinite(b).sum()) < 2:
        return None
    return difference(a, b, confidence=confidence)


def _mean(arrays: xr.Dataset, size: int, t: float, reading: str) -> float:
    """Mean of both sets' means, over points that have a dimension; NaN where none has."""
    means = [
        v[np.isfinite(v)].mean()
        for where in SETS
        if np.isfinite(v := values_of(arrays, size, t, where, "network", reading)).any()
    ]
    return float(np.mean(means)) if means else float("nan")


def _described(name: str, arrays: xr.Dataset) -> str:
    a = arrays.attrs
    trainings = arrays.sizes["seed"]
    often = "" if trainings == 1 else f", {trainings} trainings of each size"
    return f"{name} ({a['network']}, {a['parameters']:,} parameters, {a['steps']:,} steps{often})"


def _grows(runs: Runs) -> Evidence:
    found, parts, rows = [], [], []
    for name, arrays in _sweeps(runs).items():
        sizes = arrays["size"].values.tolist()
        for words, reading, t in _readings(arrays):
            said = []
            for where in SETS:
                change = _change(arrays, sizes[0], sizes[-1], t, reading, where)
                level = 1 - 0.05 / (len(sizes) - 1)
                steps = [_change(arrays, a, b, t, reading, where, level) for a, b in pairwise(sizes)]
                falls = [
                    f"{b:,}" for b, step in zip(sizes[1:], steps, strict=True) if step is not None and step.high < 0
                ]
                parts.append(change is not None and change.low > 0 and not falls)
                fell = f" (it falls at N = {', '.join(falls)})" if falls else ""
                said.append(f"{change if change is not None else 'no answer'}{fell} at {where} images")
            found.append(
                f"{_described(name, arrays)}: from N = {sizes[0]:,} to {sizes[-1]:,} the dimension ({words}, t = {t:.3g}) changes "
                f"by {' and by '.join(said)}."
            )
        blind = ", ".join(f"{t:.3g}" for t in blind_times(arrays))
        if blind:
            found.append(
                f"{name}: at t = {blind} survival is above ½ in nearly all directions at the largest N, so the network resolves "
                "no dimension of the data there."
            )
        rows += _rows(name, arrays)
    header = (
        "data",
        "N",
        "t",
        "training",
        "held-out",
        "empirical score, held-out",
        "Alg. 3 at the smallest t",
        "copies",
    )
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _rows(name: str, arrays: xr.Dataset) -> list[tuple[str, ...]]:
    t, smallest = reference_time(arrays), float(arrays["t"].values[0])

    def cell(found: Interval) -> str:
        return f"{found}" if found.n else (f"{found.value:.1f}" if np.isfinite(found.value) else "none")

    rows = []
    for n in arrays["size"].values.tolist():
        dimensions = [dimension(arrays, n, t, where) for where in SETS]
        empirical = dimension(arrays, n, t, "held-out", score="empirical")
        kinks = np.concatenate(
            [values_of(arrays, n, smallest, where, "network", "second_difference") for where in SETS]
        )
        answered = kinks[np.isfinite(kinks)]
        median = f"{np.median(answered):.0f} ({answered.size} of {kinks.size} points)" if answered.size else "none"
        rows.append(
            (
                name,
                f"{n:,}",
                f"{t:.3g}",
                *(cell(f) for f in (*dimensions, empirical)),
                median,
                str(copies(arrays, n)[0]),
            )
        )
    return rows


def _mnist(runs: Runs) -> Evidence:
    arrays = _sweeps(runs).get("mnist")
    if arrays is None:
        return Evidence(graded(()), (f"None of {_listed(runs)} is MNIST.",))
    sizes = arrays["size"].values.tolist()
    smallest = float(arrays["t"].values[0])
    found, parts, rows = [], [], []
    shares = {}
    for n in sizes:
        gaps = [values_of(arrays, n, smallest, where, "network", "largest_gap") for where in SETS]
        shares[n] = float(np.mean([np.isfinite(g).mean() for g in gaps]))
        rows.append((f"{n:,}", f"{shares[n]:.0%}"))
    large = [shares[n] for n in sizes if n >= _RISE]
    if large:
        parts.append(min(large) > _WIDE)
        found.append(
            f"At t = {smallest:.3g} the spectrum has a gap wider than a tenth of the largest singular value at {min(large):.0%} to "
            f"{max(large):.0%} of points for N ≥ {_RISE}."
        )
    for words, reading, t in _readings(arrays):
        means = np.array([_mean(arrays, n, t, reading) for n in sizes])
        slope = np.diff(means) / np.diff(np.log2(sizes))
        if not np.isfinite(slope).any():
            continue
        i, top = int(np.nanargmax(slope)), sizes[int(np.nanargmax(means))]
        parts.append(sizes[i] >= _RISE // 2 and sizes[i + 1] <= _PEAK)
        parts.append(sizes[-1] > _PEAK and _PEAK / 2 <= top <= 2 * _PEAK)
        beyond = "" if sizes[-1] > _PEAK else f" Sizes end at {sizes[-1]:,}, so a peak would not be seen."
        found.append(
            f"The dimension ({words}, t = {t:.3g}, mean of both sets, without intervals) rises most, by {slope[i]:.1f} for each "
            f"doubling of N, from N = {sizes[i]:,} to {sizes[i + 1]:,}, and is largest at N = {top:,}.{beyond}"
        )
    header = ("N", f"points with a gap wider than a tenth of the largest value, t = {smallest:.3g}")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _saturates(runs: Runs) -> Evidence:
    found, parts = [], []
    for name, arrays in _sweeps(runs).items():
        if name not in _HARDER:
            continue
        before, last = arrays["size"].values.tolist()[-2:]
        for words, reading, t in _readings(arrays):
            changes = [_change(arrays, before, last, t, reading, where) for where in SETS]
            parts += [change is not None and change.low > 0 for change in changes]
            said = (
                f"{'no answer' if c is None else c} at {where} images" for c, where in zip(changes, SETS, strict=True)
            )
            found.append(
                f"{_described(name, arrays)}: from N = {before:,} to {last:,} the dimension ({words}, t = {t:.3g}) changes by "
                f"{' and by '.join(said)}."
            )
    if not found:
        found.append(f"None of {_listed(runs)} is harder than MNIST.")
    return Evidence(graded(parts), tuple(found))


def _alike(runs: Runs) -> Evidence:
    found, parts, rows = [], [], []
    for name, arrays in _sweeps(runs).items():
        t = reference_time(arrays)
        sizes = arrays["size"].values.tolist()
        by_words: dict[str, list[str]] = {"alike": [], "different": [], "not decided": []}
        for n in sizes:
            a, b = (values_of(arrays, n, t, where, "network", reading_of(arrays)) for where in reversed(SETS))
            a, b = a[np.isfinite(a)], b[np.isfinite(b)]
            if min(a.size, b.size) < _FEW:
                continue
            gap, margin = difference(a, b, confidence=1 - 0.05 / len(sizes)), max(1.0, _MARGIN * float(a.mean()))
            if -margin <= gap.low and gap.high <= margin:
                word = "alike"
            else:
                word = "not decided" if gap.low <= 0 <= gap.high else "different"
            if word != "not decided":
                parts.append(word == "alike")
            by_words[word].append(f"{n:,}")
            rows.append((name, f"{n:,}", f"{t:.3g}", str(gap), f"{margin:.1f}", word))
        said = "; ".join(f"{word} at N = {', '.join(ns)}" for word, ns in by_words.items() if ns)
        found.append(
            f"{_described(name, arrays)}, t = {t:.3g}: {said or f'fewer than {_FEW} training points everywhere'}."
        )
    header = ("data", "N", "t", "resolved dimension, held-out less training", "margin", "verdict")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)) if rows else None)


_POINTS = "difference of means over points of all trainings, 95% interval"
CLAIMS = (
    Claim(
        "images-grow",
        "The dimension of networks trained on images grows with the number of training images.",
        "Sec. 6.3, Fig. 6",
        "dimension at the largest N less that at the smallest above 0, and no significant fall between neighboring sizes (level divided by their "
        f"number), at training and at held-out points, on each data set, by the resolved dimension at the middle t (at noisy points where they were measured), by Alg. 3 at the smallest, and where images were screened by degrees of freedom at the second smallest; {_POINTS}",
        _grows,
    ),
    Claim(
        "images-mnist",
        "On MNIST gaps are sharp, and the dimension rises from about 400 images to a peak near 4,000.",
        "Sec. 6.3, Fig. 6",
        "a gap wider than a tenth of the largest singular value at more than half of points for every N ≥ 400; by each reading the steepest rise per "
        "doubling within 200 to 4,000, and the largest dimension between 2,000 and 8,000 with sizes beyond 4,000 (a peak that sizes do not reach is not "
        "seen, and counts as no part that holds)",
        _mnist,
    ),
    Claim(
        "images-no-saturation",
        "On harder data the dimension does not saturate at the largest number of images.",
        "Sec. 6.3",
        f"dimension at the largest N less that at the size before, above 0, at training and at held-out points by both readings on each such data set; {_POINTS}",
        _saturates,
    ),
    Claim(
        "images-alike",
        "Training and test images can be averaged: the network has the same dimension at both.",
        "Sec. 6.3 (Fig. 6 averages over both)",
        "resolved dimension at held-out less training points at the middle t, at every N with eight points of each: alike where the interval lies within a "
        "tenth of the dimension (or one), different where it lies beyond 0 and not within that, else not decided and left out; level divided by the number "
        "of sizes",
        _alike,
    ),
)
