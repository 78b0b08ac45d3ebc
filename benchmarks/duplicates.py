"""Time and memory of `geomem data --quick`, and of the search for near duplicates beside scikit-learn's neighbours.

    python benchmarks/duplicates.py [--rows N] [--type uint8] [--probed M] [--seed S]

The data are made by formula: images of 28x28 pixels in ten clusters, from 24 smooth patterns and noise. One in 500 is a near duplicate
of another. They are saved to a temporary folder, which is deleted afterwards, and mapped. The command runs on all cores. Its own memory is that
of all its processes, without pages of files. The search runs alone, too, on one thread, and so do its rivals, for some rows, scaled to all:

    brute force   NearestNeighbors(algorithm="brute"): rows within the threshold, in all 784 dimensions
    k-d tree      KDTree: the same, in the principal coordinates of the search; what it finds is yet to be compared in full

The result is printed as JSON.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.neighbors import KDTree, NearestNeighbors
from speed import processor

from geomem.data import DataSet, load
from geomem.data.distinct import distinct_rows
from geomem.data.duplicates import Search, joined, scale_of_search

SIDE, PATTERNS, CLUSTERS, TWINS = 28, 24, 10, 500
_BLOCK = 20_000
_POLL_SECONDS = 0.1


def make(path: Path, n: int, dtype: str, seed: int) -> None:
    """Save n images (n, 28, 28), block by block."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [rng.integers(0, 5, 2) for _ in range(PATTERNS)]
    phases = rng.uniform(0, 2 * np.pi, (PATTERNS, 2))
    patterns = np.stack(
        [
            (np.cos(np.pi * a * x + p) * np.cos(np.pi * b * y + q)).ravel() / np.sqrt(k + 1)
            for k, ((a, b), (p, q)) in enumerate(zip(waves, phases, strict=True))
        ]
    )
    centres = rng.normal(size=(CLUSTERS, PATTERNS))
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=(n, SIDE, SIDE))
    for start in range(0, n, _BLOCK):
        own, m = np.random.default_rng([seed, start]), min(_BLOCK, n - start)
        factors = centres[own.integers(0, CLUSTERS, m)] + 0.5 * own.normal(size=(m, PATTERNS))
        rows = factors @ patterns + 0.1 * own.normal(size=(m, SIDE**2))
        twins = m // TWINS
        rows[:twins] = rows[twins : 2 * twins] + 0.02 * own.normal(size=(twins, SIDE**2))
        rows /= 4
        if dtype == "uint8":
            rows = np.clip(rows * 127.5 + 127.5, 0, 255)
        out[start : start + m] = rows.reshape(m, SIDE, SIDE).astype(dtype)
    out.flush()


def own_memory(process: int) -> float:
    """GiB of a process and those that it started, without pages of files."""
    total, waiting = 0.0, [process]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        try:
            lines = (folder / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            for thread in (folder / "task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:  # it has ended
            continue
    return total / 2**20


def command(path: Path, out: Path) -> dict[str, Any]:
    """Seconds and own memory of `geomem data --quick`, and when each part was done."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    words = [sys.executable, "-m", "geomem", "data", str(path), "--quick", "--out", str(out)]
    begun, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while process.poll() is None:
        peak = max(peak, own_memory(process.pid))
        time.sleep(_POLL_SECONDS)
    seconds = time.perf_counter() - begun
    if process.returncode:
        assert process.stderr is not None
        sys.exit(process.stderr.read().decode())
    parts = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "seconds": seconds,
        # On a shared machine the processors' time says more: half of it on each of two cores.
        "processor_seconds": resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        + resource.getrusage(resource.RUSAGE_CHILDREN).ru_stime,
        "own_GiB": peak,
        # Parts of a stage say how long it has been at work, so the last one says how long all took.
        "stages": {part["part"].split("_")[0]: part["seconds"] for part in parts},
    }


def search(data: DataSet, probed: int) -> dict[str, Any]:
    """Seconds of the search on one thread, and of its rivals."""

    def timed(work: Callable[[], Any]) -> tuple[float, Any]:
        begun = time.perf_counter()
        result = work()
        return time.perf_counter() - begun, result

    equal, (kept, _) = timed(lambda: distinct_rows(data))
    begins, scale = timed(lambda: scale_of_search(data, kept, seed=0))
    opens, found = timed(lambda: Search(data, kept, scale))
    looks, pairs = timed(lambda: found.part(range(kept.size)))
    result = {
        "equal_rows": equal,
        "typical_distance_and_order": begins,
        "projection": opens,
        "near_duplicates": looks,
        "coordinates": int(scale.axes.columns.shape[1]),
        "pairs": len(joined(scale, [pairs]).pairs),
    }
    some, share = np.random.default_rng(0).permutation(kept)[:probed], kept.size / probed
    rows = data.rows(kept).numpy()
    brute = NearestNeighbors(algorithm="brute", radius=scale.threshold).fit(rows)
    result["brute_force"] = share * timed(lambda: brute.radius_neighbors(data.rows(some).numpy()))[0]
    del rows, brute
    z = np.concatenate([scale.axes.coordinates(data.rows(part)).numpy() for part in np.array_split(kept, 100)])
    tree_seconds, tree = timed(lambda: KDTree(z))
    asked = scale.axes.coordinates(data.rows(some)).numpy()
    result["kd_tree"] = tree_seconds + share * timed(lambda: tree.query_radius(asked, scale.threshold))[0]
    return result | {
        f"{rival}_over_search": result[rival] / (result["projection"] + result["near_duplicates"])
        for rival in ("brute_force", "kd_tree")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--type", choices=("uint8", "float32"), default="uint8")
    parser.add_argument("--probed", type=int, default=1000, help="rows that rivals look up; 0 runs the command alone")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        make(path, args.rows, args.type, args.seed)
        result = {
            "processor": processor(),
            "load": os.getloadavg()[0],
            "rows": args.rows,
            "type": args.type,
            "command": command(path, Path(folder) / "run"),
        }
        if args.probed:
            result["search"] = search(load(path), args.probed)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
