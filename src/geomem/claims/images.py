"""Claims of Sec. 6.3, about networks trained on more and more images."""

from itertools import pairwise

import numpy as np
import xarray as xr

from geomem.claims.verdict import Claim, Evidence, Records, Table, graded
from geomem.intervals import Interval, difference
from geomem.sweep.summary import blind_times, copies, dimension, spoken_time, values_of

__all__ = ["CLAIMS"]

_SETS = ("training", "held-out")
# The paper's data sets that are harder than MNIST, and those that stand for them at reduced scale.
_HARDER = ("cifar10", "celeba", "fashion-mnist", "emoji")
_RISE, _PEAK = 400, 4000
_WIDE = 0.5


def _sweeps(records: Records) -> dict[str, xr.Dataset]:
    return dict(records["fig6"])


def _listed(records: Records) -> str:
    names = list(_sweeps(records))
    return f"{len(names)} data set{'s' if len(names) > 1 else ''} ({', '.join(names)})"


def _readings(arrays: xr.Dataset) -> tuple[tuple[str, str, float], ...]:
    """The two readings that claims rest on: ours at the middle t, and the paper's at the smallest."""
    return (
        ("resolved", "resolved", spoken_time(arrays)),
        ("Alg. 3", "second_difference", float(arrays["t"].values[0])),
    )


def _pooled(arrays: xr.Dataset, size: int, t: float, reading: str) -> np.ndarray:
    """Dimensions at training and held-out points together, as the paper averages them."""
    return np.concatenate([values_of(arrays, size, t, where, "network", reading) for where in _SETS])


def _change(arrays: xr.Dataset, first: int, last: int, t: float, reading: str) -> Interval | None:
    """Dimension at the last size less that at the first; None where fewer than two points have one."""
    a, b = (_pooled(arrays, size, t, reading) for size in (last, first))
    if min(np.isfinite(a).sum(), np.isfinite(b).sum()) < 2:
        return None
    return difference(a, b)


def _described(name: str, arrays: xr.Dataset) -> str:
    a = arrays.attrs
    trainings = arrays.sizes["seed"]
    often = "" if trainings == 1 else f", {trainings} trainings of each size"
    return f"{name} ({a['network']}, {a['parameters']:,} parameters, {a['steps']:,} steps{often})"


def _grows(records: Records) -> Evidence:
    found, parts, rows = [], [], []
    for name, arrays in _sweeps(records).items():
        sizes = arrays["size"].values.tolist()
        for words, reading, t in _readings(arrays):
            change = _change(arrays, sizes[0], sizes[-1], t, reading)
            if change is None:
                parts.append(False)
                found.append(
                    f"{_described(name, arrays)}: {words} at t = {t:.3g} has no answer at N = {sizes[0]:,} or {sizes[-1]:,}."
                )
                continue
            steps = [_change(arrays, a, b, t, reading) for a, b in pairwise(sizes)]
            falls = [b for b, step in zip(sizes[1:], steps, strict=True) if step is not None and step.high < 0]
            parts.append(change.low > 0 and not falls)
            fell = f"; it falls at N = {', '.join(f'{n:,}' for n in falls)}" if falls else "; it falls nowhere"
            found.append(
                f"{_described(name, arrays)}: {words} at t = {t:.3g}, N = {sizes[-1]:,} less N = {sizes[0]:,}: {change}{fell}."
            )
        blind = ", ".join(f"{t:.3g}" for t in blind_times(arrays))
        if blind:
            found.append(
                f"{name}: at t = {blind} survival is above ½ in nearly all directions at the largest N: no dimension of the data."
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
    t, smallest = spoken_time(arrays), float(arrays["t"].values[0])

    def cell(found: Interval) -> str:
        return f"{found}" if found.n else (f"{found.value:.1f}" if np.isfinite(found.value) else "none")

    rows = []
    for n in arrays["size"].values.tolist():
        dimensions = [dimension(arrays, n, t, where) for where in _SETS]
        empirical = dimension(arrays, n, t, "held-out", score="empirical")
        kinks = _pooled(arrays, n, smallest, "second_difference")
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


def _mnist(records: Records) -> Evidence:
    arrays = _sweeps(records).get("mnist")
    if arrays is None:
        return Evidence(graded(()), (f"Of {_listed(records)} none is MNIST.",))
    sizes = arrays["size"].values.tolist()
    smallest = float(arrays["t"].values[0])
    found, parts, rows = [], [], []
    shares = {}
    for n in sizes:
        gaps = _pooled(arrays, n, smallest, "largest_gap")
        shares[n] = float(np.mean(np.isfinite(gaps)))
        rows.append((f"{n:,}", f"{shares[n]:.0%}"))
    large = [shares[n] for n in sizes if n >= _RISE]
    if large:
        parts.append(min(large) > _WIDE)
        found.append(
            f"A gap wider than a tenth of the largest singular value is there at t = {smallest:.3g} at {min(large):.0%} to "
            f"{max(large):.0%} of points for N ≥ {_RISE}."
        )
    for words, reading, t in _readings(arrays):
        means = np.array(
            [np.nanmean(v) if np.isfinite(v := _pooled(arrays, n, t, reading)).any() else np.nan for n in sizes]
        )
        slope = np.diff(means) / np.diff(np.log2(sizes))
        if np.isfinite(slope).any():
            i = int(np.nanargmax(slope))
            parts.append(sizes[i] >= _RISE // 2 and sizes[i] < _PEAK)
            found.append(
                f"{words} at t = {t:.3g} rises most, by {slope[i]:.1f} for each doubling of N, from N = {sizes[i]:,} to {sizes[i + 1]:,}."
            )
        if np.isfinite(means).any():
            top = sizes[int(np.nanargmax(means))]
            beyond = "" if sizes[-1] > _PEAK else f" Sizes end at {sizes[-1]:,}: whether it falls beyond is not seen."
            found.append(f"{words} at t = {t:.3g} is largest at N = {top:,}.{beyond}")
            if sizes[-1] > _PEAK:
                parts.append(_PEAK / 2 <= top <= 2 * _PEAK)
    header = ("N", f"points with a gap wider than a tenth of the largest value, t = {smallest:.3g}")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


def _saturates(records: Records) -> Evidence:
    found, parts = [], []
    for name, arrays in _sweeps(records).items():
        if name not in _HARDER:
            continue
        before, last = arrays["size"].values.tolist()[-2:]
        for words, reading, t in _readings(arrays):
            change = _change(arrays, before, last, t, reading)
            parts.append(change is not None and change.low > 0)
            said = f"{change}" if change is not None else "no answer"
            found.append(
                f"{_described(name, arrays)}: {words} at t = {t:.3g}, N = {last:,} less N = {before:,}: {said}."
            )
    if not found:
        found.append(f"Of {_listed(records)} none is harder than MNIST.")
    return Evidence(graded(parts), tuple(found))


def _alike(records: Records) -> Evidence:
    found, parts, rows = [], [], []
    for name, arrays in _sweeps(records).items():
        t = spoken_time(arrays)
        differ = []
        for n in arrays["size"].values.tolist():
            a, b = (values_of(arrays, n, t, where, "network", "resolved") for where in reversed(_SETS))
            if min(np.isfinite(a).sum(), np.isfinite(b).sum()) < 2:
                continue
            gap = difference(a, b)
            parts.append(gap.low <= 0 <= gap.high)
            if not parts[-1]:
                differ.append(f"{gap} at N = {n:,}")
            rows.append((name, f"{n:,}", f"{t:.3g}", str(gap)))
        said = ", ".join(differ) if differ else "no difference that its interval tells from 0"
        found.append(f"{_described(name, arrays)}: held-out less training at t = {t:.3g}: {said}.")
    header = ("data", "N", "t", "resolved dimension, held-out less training")
    return Evidence(graded(parts), tuple(found), Table(header, tuple(rows)))


_POINTS = "difference of means over points of all trainings, 95% interval"
CLAIMS = (
    Claim(
        "images-grow",
        "The dimension of networks trained on images grows with the number of training images.",
        "Sec. 6.3, Fig. 6",
        "dimension at training and held-out points together, largest N less smallest N above 0 and no significant fall between neighbouring sizes, "
        f"on each data set, by the resolved dimension at the middle t and by Alg. 3 at the smallest; {_POINTS}",
        ("fig6",),
        _grows,
    ),
    Claim(
        "images-mnist",
        "On MNIST gaps are sharp, and the dimension rises from about 400 images to a peak near 4,000.",
        "Sec. 6.3, Fig. 6",
        "a gap wider than a tenth of the largest singular value at more than half of points for every N ≥ 400; steepest rise per doubling between 200 "
        "and 4,000; largest dimension between 2,000 and 8,000, where sizes reach beyond 4,000",
        ("fig6",),
        _mnist,
    ),
    Claim(
        "images-no-saturation",
        "On harder data the dimension does not saturate at the largest number of images.",
        "Sec. 6.3",
        f"dimension at the largest N less that at the size before, above 0, by both readings on each such data set; {_POINTS}",
        ("fig6",),
        _saturates,
    ),
    Claim(
        "images-alike",
        "Training and test images can be averaged: the network has the same dimension at both.",
        "Sec. 6.3 (Fig. 6 averages over both)",
        f"resolved dimension at held-out less training points at the middle t: 0 within its interval at every N; {_POINTS}",
        ("fig6",),
        _alike,
    ),
)
