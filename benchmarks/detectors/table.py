"""The table of detectors: how well each tells captions that copy their image from those that do not.

    python benchmarks/detectors/table.py CHOOSE STATE --out FOLDER

CHOOSE and STATE are models that readings.py has measured; of the same model, one half of the captions chooses and the other states. For each detector, start and number of draws, "one step" is the noise variance
with the largest AUC on CHOOSE, and "ten steps" the mean of its values over all noise variances. AUC and true positive rate at 1% false
positives are stated on STATE, with 95% intervals (DeLong; Clopper and Pearson), evaluations and seconds for each image.

The result is FOLDER/readings/STATE.csv, and the table as markdown.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geomem.intervals import Interval
from geomem.measure.membership import auc, known

COLUMNS = (
    "detector",
    "start",
    "draws",
    "steps",
    "t",
    "AUC",
    "AUC low",
    "AUC high",
    "TPR",
    "TPR low",
    "TPR high",
    "evaluations",
    "ms",
)


def stated(chosen: xr.Dataset, found: xr.Dataset) -> list[list[Any]]:
    """One line for each detector, start, number of draws and of steps."""
    rows: list[list[Any]] = []
    for name in found["detector"].values:
        for start in found["start"].values:
            for draws in found["draws"].values:
                at = {"detector": name, "start": start, "draws": draws}
                own, other = found.sel(at), chosen.sel(at)
                there = np.isfinite(own["value"].values).any(0)
                if not there.any():
                    continue
                levels = np.flatnonzero(there)
                by_level = [_auc(other["value"].values[:, i], other["label"].values).value for i in levels]
                best = int(levels[int(np.argmax(by_level))])
                for steps, values in (
                    ("one", own["value"].values[:, best]),
                    ("ten", own["value"].values[:, levels].mean(1)),
                ):
                    label = own["label"].values
                    area = _auc(values, label)
                    rate = known(-values[label == 1], -values[label == 0])[0]
                    count = 1 if steps == "one" else len(levels)
                    cost = [float(own[key]) * count for key in ("evaluations", "seconds")]
                    t = float(own["t"].values[best]) if steps == "one" else float("nan")
                    rows.append(
                        [
                            name,
                            start,
                            int(draws),
                            steps,
                            t,
                            area.value,
                            area.low,
                            area.high,
                            rate.value,
                            rate.low,
                            rate.high,
                            cost[0],
                            1000.0 * cost[1],
                        ]
                    )
    return sorted(rows, key=lambda row: -float(row[5]))


def _auc(values: np.ndarray, label: np.ndarray) -> Interval:
    return auc(-values[label == 1], -values[label == 0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("choose")
    parser.add_argument("state")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    chosen, found = (xr.load_dataset(given.out / "readings" / f"{name}.nc") for name in (given.choose, given.state))
    if given.choose == given.state:
        # Halves of those that copy and of those that do not.
        order = np.argsort(found["label"].values, kind="stable")
        chosen, found = found.isel(image=order[::2]), found.isel(image=order[1::2])
    rows = stated(chosen, found)
    with (given.out / "readings" / f"{given.state}.csv").open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    label = found["label"].values
    print(
        f"{int(label.sum())} captions that copy, {int((label == 0).sum())} that do not; steps chosen on {given.choose}, stated on {given.state}"
    )
    print(
        "| detector | start | draws | steps | t | AUC | TPR at 1% FPR | evaluations | ms |\n| --- | --- | --: | --- | --: | --- | --- | --: | --: |"
    )
    for name, start, draws, steps, t, a, low, high, r, bottom, top, cost, ms in rows:
        level = f"{t:.2g}" if steps == "one" else ""
        print(
            f"| {name} | {start} | {draws} | {steps} | {level} | {a:.3f} [{low:.3f}, {high:.3f}] | {r:.2f} [{bottom:.2f}, {top:.2f}] | "
            f"{cost:.0f} | {ms:.1f} |"
        )


if __name__ == "__main__":
    main()
