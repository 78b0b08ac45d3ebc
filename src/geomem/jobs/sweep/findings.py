"""What a sweep says: whether models copy their training images, which dimensions they lose there, and up to which N."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from geomem.findings.finding import Finding, Findings
from geomem.intervals import Interval
from geomem.jobs.sweep.measure import NETWORK
from geomem.jobs.sweep.numbers import blind_times, reading_of, reference_time, values_of
from geomem.measure.observe import SETS, TRAINING
from geomem.page import Box

__all__ = ["ALG3", "COPIES", "DIMENSIONS", "box", "findings", "title"]

# Sections of the page that findings belong to.
DIMENSIONS, COPIES, ALG3 = "dimensions", "copies", "alg3"

_Row = Mapping[str, Any]


def findings(arrays: xr.Dataset, rows: Sequence[_Row]) -> Findings:
    """Sentences with their numbers, most important first.

    Keys: "lost" where images were screened, "gap", "copies.last" where samples are copies, "copies.unclear" where too few were compared, "copies.none" where there are
    no more copies than by chance; "dimension.first", "dimension.last"; "blind" where models leave weak noise alone; "alg3".
    """
    t, d = reference_time(arrays), arrays.sizes["direction"]
    at = [row for row in rows if row["t"] == t]
    first, last = at[0], at[-1]
    found = Findings()
    for finding in _copied(at):
        found.add(finding)
    lost = [row for row in at if row["screened"] is not None and row["screened"]["lost"] is not None]
    if lost:
        worst = max(lost, key=lambda row: row["screened"]["lost"].low)
        share = worst["screened"]["lost"]
        text = (
            f"At N = {worst['size']:,}, models have lost {100 * share.value:z.0f}% [{100 * share.low:z.0f}, {100 * share.high:z.0f}] of their "
            f"degrees of freedom at training images (t = {t:.3g}), the most of all sizes."
        )
        found.add(Finding("lost", DIMENSIONS, text, share))
    if last["gap"] is not None:
        found.add(Finding("gap", DIMENSIONS, _gap(last), last["gap"]))
    for key, row in (("first", first), ("last", last)) if first is not last else (("last", last),):
        resolved = row["dimension"][reading_of(arrays)][NETWORK][TRAINING]
        text = f"At N = {row['size']:,}, models resolve {_said(resolved)} of {d} dimensions at their training images (t = {t:.3g})."
        found.add(Finding(f"dimension.{key}", DIMENSIONS, text, resolved))
    blind = blind_times(arrays)
    if blind:
        listed = ", ".join(f"{time:.3g}" for time in blind)
        text = (
            f"At t = {listed}, the models of N = {last['size']:,} do not react to noise so weak: nearly all directions stay free, and dimensions "
            "say nothing of the data."
        )
        found.add(Finding("blind", DIMENSIONS, text))
    found.add(_alg3(arrays))
    return found


def title(at: Sequence[_Row], *, blind: bool) -> str:
    """The verdict in one sentence, from the rows at the reference t, at which models may be `blind`."""
    copied, lost = ([row["size"] for row in at if test(row)] for test in (_copies, _loses))
    first, last = at[0]["size"], at[-1]["size"]
    if copied and copied == lost:
        return f"Models copy their training images, and have fewer dimensions at them than at held-out ones, {_reach(copied, at)}"
    if copied and lost:
        return f"Models copy their training images {_reach(copied, at)}, and have fewer dimensions at them than at held-out ones {_reach(lost, at)}"
    if copied:
        return f"Models copy their training images {_reach(copied, at)}"
    if blind:
        return "No verdict: these models leave nearly all directions free"
    if lost:
        return f"Models have fewer dimensions at their training images {_reach(lost, at)}, but copy none"
    between = f"at N = {first:,}" if first == last else f"from N = {first:,} to {last:,}"
    return f"No sign of memorization {between}"


def box(arrays: xr.Dataset, at: Sequence[_Row], missing: int) -> Box:
    """The verdict, how sure it is, and what to do next; `missing` cells are not done."""
    seeds, points = arrays.sizes["seed"], arrays.sizes["point"]
    blind = reference_time(arrays) in blind_times(arrays)
    trainings = "one training" if seeds == 1 else f"{seeds} trainings"
    sure = [
        f"Each size has {trainings}; spectra at up to {points} training and {points} held-out images of each model.",
        "Intervals are 95%, over images"
        + (": how much trainings differ is not known." if seeds == 1 else " of all trainings, not over trainings."),
    ]
    unclear = [f"{row['size']:,}" for row in at if row["copying"] == "unclear"]
    if unclear:
        sure.append(f"Copies at N = {', '.join(unclear)}: too few images to tell.")
    return Box(title(at, blind=blind), " ".join(sure), _next(at, seeds, missing, unclear=bool(unclear), blind=blind))


def _next(at: Sequence[_Row], seeds: int, missing: int, *, unclear: bool, blind: bool) -> str:
    copied = [row["size"] for row in at if _copies(row)]
    last = max([row["size"] for row in at if _copies(row) or _loses(row)], default=0)
    free = [row["size"] for row in at if row["copying"] == "no" and row["size"] > last]
    if missing:
        what = "model is" if missing == 1 else "models are"
        return f"{missing} {what} missing: run the same command again."
    if blind:
        said = "Train longer (--steps), or measure at stronger noise (--times)."
    elif unclear:
        said = "Draw more samples (--samples) and hold out more images (--hold-out)."
    elif last and free:
        said = f"Train on {free[0]:,} images or more; sizes between {last:,} and {free[0]:,} would narrow the range."
    elif last:
        said = f"Train on more than {last:,} images to find where {'copying' if last in copied else 'the loss'} ends."
    else:
        said = "To see where memorization begins, add smaller sizes or train longer (--steps)."
    return said + (" Use --seeds 3 to see how much trainings differ." if seeds == 1 else "")


def _copies(row: _Row) -> bool:
    return bool(row["copying"] == "yes")


def _loses(row: _Row) -> bool:
    return row["gap"] is not None and row["gap"].low > 0


def _reach(sizes: Sequence[int], at: Sequence[_Row]) -> str:
    """Sizes in words: "up to" where all smaller ones belong to them."""
    if len(at) > 1 and list(sizes) == [row["size"] for row in at]:
        return f"at every N up to {sizes[-1]:,}"
    if len(sizes) > 1 and list(sizes) == [row["size"] for row in at][: len(sizes)]:
        return f"up to N = {sizes[-1]:,}"
    listed = [f"{size:,}" for size in sizes]
    return f"at N = {' and '.join([', '.join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)}"


def _copied(at: Sequence[_Row]) -> list[Finding]:
    """How often samples are copies: at the largest N where they are, where that is unclear, and where there are none."""
    found = []
    copied = [row for row in at if _copies(row)]
    if copied:
        row = copied[-1]
        text = (
            f"At N = {row['size']:,}, {row['copies']} of samples copy a training image; among held-out images "
            f"{100 * row['control'].value:.1f}% do by chance."
        )
        found.append(Finding("copies.last", COPIES, text, row["copies"]))
    unclear = [row for row in at if row["copying"] == "unclear"]
    if unclear:
        listed = ", ".join(f"{row['copies']} at N = {row['size']:,}" for row in unclear)
        text = f"Too few samples or held-out images to tell copies from chance: {listed}."
        found.append(Finding("copies.unclear", COPIES, text, unclear[-1]["copies"]))
    free = [f"{row['size']:,}" for row in at if row["copying"] == "no"]
    if free:
        text = f"Samples are copies no more often than held-out images at N = {', '.join(free)}."
        found.append(Finding("copies.none", COPIES, text))
    return found


def _gap(row: _Row) -> str:
    found: Interval = row["gap"]
    if found.low > 0:
        return f"At N = {row['size']:,}, training images have {found} dimensions fewer than held-out images."
    if found.high < 0:
        more = Interval(-found.value, -found.high, -found.low, found.n)
        return f"At N = {row['size']:,}, training images have {more} dimensions more than held-out images."
    spread = Interval(found.value + 0.0, found.low + 0.0, found.high + 0.0, found.n)
    return f"At N = {row['size']:,}, no difference is found between held-out and training images: {spread} dimensions."


def _alg3(arrays: xr.Dataset) -> Finding:
    """Median over points of the paper's reading at the smallest t."""
    t = float(arrays["t"].values[0])
    medians: dict[int, float] = {}
    for size in arrays["size"].values.tolist():
        of_sets = [values_of(arrays, size, t, where, NETWORK, "second_difference") for where in SETS]
        values = np.concatenate(of_sets)
        if np.isfinite(values).any():
            medians[size] = float(np.nanmedian(values))
    if not medians:
        return Finding("alg3", ALG3, f"Alg. 3 finds no kink in any spectrum at t = {t:.3g}, the smallest.")
    listed = ", ".join(f"{value:.0f} at N = {size:,}" for size, value in medians.items())
    text = f"Alg. 3 at t = {t:.3g}, the smallest, finds a dimension (median over images) of {listed}."
    return Finding("alg3", ALG3, text, list(medians.values())[-1])


def _said(found: Interval) -> str:
    """A mean with its interval, where it has one."""
    return f"{found}" if found.n else f"{found.value:.1f}"
