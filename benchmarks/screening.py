"""What a hundred evaluations buy: the t statistic of a loss by screening and by whole spectra, and the share of time outside the network.

    python docs/train_digits.py 40 FEW && python benchmarks/screening.py FEW

compares, on one thread, the statistics of screening with the dimension of pairs measured by mirrored orthonormal probes.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from timed import Timed

from geomem.data import load
from geomem.measure.observe import observe
from geomem.measure.screening import STATISTICS, screen
from geomem.models import opened

TIMES = (0.01, 0.1, 0.3)
PAIRS = 40


def bought(difference: np.ndarray, evaluations: int) -> float:
    """The t statistic of a mean difference, scaled to 100 evaluations."""
    return float(
        difference.mean() / (difference.std(ddof=1) / math.sqrt(len(difference))) * math.sqrt(100 / evaluations)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data, other = (load(asked.folder / f"{name}.npy") for name in ("training", "held-out"))
    model = opened(asked.folder / "model", data, scheduler=None, label=None, device="cpu")
    rng = np.random.default_rng(0)
    known = model.encode(data)[:PAIRS]
    unseen = model.encode(other, rng.permutation(len(other))[: len(known)])
    cost = torch.cdist(known.flatten(1).double(), unseen.flatten(1).double()).square()
    unseen = unseen[linear_sum_assignment(cost.numpy())[1]]
    times = [model.nearest(t) for t in TIMES]
    timed = Timed(model.score)
    start = time.perf_counter()
    sides = [screen(timed, images, times, batch_size=64) for images in (known, unseen)]
    outside = 1 - timed.seconds / (time.perf_counter() - start)
    dim = known[0].numel()
    spectra = observe({"model": model.score}, {"training": known, "held-out": unseen}, times)
    resolved = spectra["dimension"].sel(score="model", reading="resolved").transpose("set", "point", "t").values
    for j, t in enumerate(times):
        row = {kind: bought((sides[1][kind] - sides[0][kind]).values[:, j], 4 * len(known)) for kind in STATISTICS}
        row["whole spectra"] = bought(resolved[1, :, j] - resolved[0, :, j], 4 * dim * len(known))
        row["times as much, squares"] = row["squares"] / row["whole spectra"]
        row["times as much, error"] = row["error"] / row["whole spectra"]
        print(json.dumps({"t": round(t, 4), **{k: round(v, 2) for k, v in row.items()}}))
    print(json.dumps({"share of time outside the network": round(outside, 3)}))
