"""How well an audit tells models that copy, from the record of benchmarks/calibration.py: python docs/calibration.py [--check]

writes docs/calibration.md and docs/calibration.png. With --check it fails where the page says something else than the record.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from geomem.figures.style import style
from geomem.intervals import Rate
from geomem.measure.membership import auc
from geomem.records import Run

HERE = Path(__file__).parent
# What is compared, in the order of the table; all are larger where a model memorizes.
STATISTICS = {
    "lost": "degrees of freedom lost, tr AᵀA",
    "trace_lost": "degrees of freedom lost, tr A",
    "error_gap": "denoising error, share by which it is lower at training images",
    "auc": "membership AUC",
    "calibration": "calibration ratio at held-out images (no training images)",
    "flipd": "FLIPD, held-out less training",
    "count_lost": "resolved dimensions lost, at most 8 random pairs",
}
WORDS = ("memorizing", "losing dimensions", "overfitting", "generalizing", "undecided")


def copying(found: xr.Dataset) -> np.ndarray:
    """Whether each model copies: the interval of its rate lies above that of held-out images."""
    rates = [
        [Rate.of(int(k), int(n)) for k, n in zip(found[a].values, found[b].values, strict=True)]
        for a, b in (("copies", "samples"), ("control", "controls"))
    ]
    return np.array([ours.low > control.high for ours, control in zip(*rates, strict=True)])


def threshold(values: np.ndarray, truth: np.ndarray) -> float:
    """The threshold with the largest sum of true positive and true negative rates, in the middle between two values."""
    ordered = np.unique(values)
    middles = np.concatenate([[ordered[0] - 1], (ordered[1:] + ordered[:-1]) / 2])
    scores = [np.mean(values[truth] > m) + np.mean(values[~truth] <= m) for m in middles]
    best = np.flatnonzero(np.isclose(scores, max(scores)))
    return float(middles[best[len(best) // 2]])


def page(found: xr.Dataset) -> str:
    """docs/calibration.md."""
    return "\n".join(lines(found)) + "\n"


def lines(found: xr.Dataset) -> Iterator[str]:
    """Its lines."""
    truth, n = copying(found), found.sizes["model"]
    halves = np.arange(n) % 2 == 0
    yield "# How well an audit tells models that copy"
    yield ""
    yield (
        f"{n} small U-Nets were trained on digits (8×8), MNIST (14×14) and color emoji (16×16), on {int(found['size'].min())} to "
        f"{int(found['size'].max()):,} images, for {int(found['steps'].min())} to {int(found['steps'].max()):,} steps, one seed each. The truth is the "
        f"rate of copies among {int(found['samples'][0]):,} samples of each. A model *copies* if the 95% interval of its rate lies above that of "
        f"held-out images. {int(truth.sum())} models copy. The audits did not look at samples. They took {float(found['seconds'].median()):.0f} s each in "
        f"the median, and {int(found['evaluations'].median()):,} evaluations."
    )
    yield ""
    yield "This page is made from docs/gallery/calibration by `python docs/calibration.py`; the models by benchmarks/calibration.py."
    yield ""
    yield "## The words"
    yield ""
    yield "| verdict | models | of these copy | rate of copies, median | largest |"
    yield "|---|---|---|---|---|"
    for word in WORDS:
        some = found["word"].values == word
        if some.any():
            rate = (found["copies"] / found["samples"]).values[some]
            yield f"| {word} | {some.sum()} | {truth[some].sum()} | {100 * np.median(rate):.1f}% | {100 * rate.max():.1f}% |"
    yield ""
    yield "## The statistics"
    yield ""
    yield (
        "ROC: how often a model that copies has the larger value than one that does not, with DeLong's interval. The threshold was chosen on "
        f"{halves.sum()} models drawn at random, and tried on the {(~halves).sum()} others. The first three and the calibration ratio are read at the audit's reference t, the AUC at its own best level, both "
        "chosen on one half of the images; FLIPD at t = 0.01 around clean images; resolved dimensions where the closer look was taken."
    )
    yield ""
    yield "| statistic | ROC, all models | threshold | copying models found, others | false alarms, others |"
    yield "|---|---|---|---|---|"
    for name, words in STATISTICS.items():
        values = found[name].values
        fine = np.isfinite(values)
        area = auc(-values[fine & truth], -values[fine & ~truth])
        limit = threshold(values[halves & fine], truth[halves & fine])
        found_, false = (values[~halves & fine & side] > limit for side in (truth, ~truth))
        yield f"| {words} | {area:.3f} | {limit:.3g} | {found_.sum()} of {found_.size} | {false.sum()} of {false.size} |"
    yield ""
    yield "![ROC curves, and the share lost against the rate of copies](calibration.png)"
    yield ""
    yield "## Every model"
    yield ""
    yield "| data | images | steps | copies | verdict | lost | AUC | calibration ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    order = np.lexsort([found["steps"].values, found["size"].values, found["data"].values])
    for i in order:
        at = found.isel(model=int(i))
        lost = (
            f"{100 * float(at['lost']):z.0f}% [{100 * float(at['lost_low']):z.0f}, {100 * float(at['lost_high']):z.0f}]"
        )
        yield (
            f"| {at['data'].item()} | {int(at['size']):,} | {int(at['steps']):,} | {100 * float(at['copies'] / at['samples']):.1f}% | "
            f"{at['word'].item()} | {lost} | {float(at['auc']):.2f} | {float(at['calibration']):.2f} |"
        )


def figure(found: xr.Dataset) -> Figure:
    """ROC curves, and the share lost against the rate of copies."""
    truth = copying(found)
    with style():
        drawn = Figure(figsize=(9, 4), layout="constrained")
        left, right = drawn.subplots(1, 2)
        for name, words in STATISTICS.items():
            values = found[name].values
            fine = np.isfinite(values)
            limits = np.concatenate([[np.inf], np.unique(values[fine])[::-1], [-np.inf]])
            hits = [[np.mean(values[fine & side] >= limit) for limit in limits] for side in (~truth, truth)]
            left.plot(*hits, lw=1.3, label=words.split(",")[0] if name != "trace_lost" else "the same, tr A")
        left.set(xlabel="false alarms", ylabel="copying models found", title="ROC")
        left.legend(fontsize=6.5, loc="lower right")
        for word in WORDS:
            some = found["word"].values == word
            if some.any():
                rate = 100 * (found["copies"] / found["samples"]).values[some]
                right.plot(100 * found["lost"].values[some], rate, "o", ms=4, label=word)
        right.set(xlabel="degrees of freedom lost (%)", ylabel="copies among samples (%)", title="every model")
        right.set_yscale("symlog", linthresh=1)
        right.legend(fontsize=7, title="verdict", title_fontsize=7)
    return drawn


if __name__ == "__main__":
    record = Run.existing(HERE / "gallery" / "calibration").load("calibration")
    if "--check" in sys.argv:
        sys.exit(
            page(record) != (HERE / "calibration.md").read_text(encoding="utf-8")
            and "docs/calibration.md does not say what the record does"
        )
    (HERE / "calibration.md").write_text(page(record), encoding="utf-8")
    figure(record).savefig(HERE / "calibration.png", dpi=110)
