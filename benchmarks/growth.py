"""How the time of the empirical score grows with N, d, K and t, beside the model T = K N (4 d/peak + c).

    python benchmarks/growth.py [--data FOLDER] [--out FOLDER] [--stream N]

FOLDER holds Fashion-MNIST's or MNIST's files (Debian: dataset-fashion-mnist). Larger sets are its images with fresh noise of
standard deviation 0.1, other dimensions random pixels of it, repeated with noise beyond 784. `--stream N` instead writes N such images to
a file (3,136 bytes each), maps it and times one pass, one centre and its queries; give an N that does not fit into memory.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from speed import processor, scaled
from torch import Tensor

from geomem.data import load
from geomem.page import Column, Table
from geomem.scores import EmpiricalScore
from geomem.scores.kernel import accumulate, near
from geomem.terminal import print_table

BASE = {"N": 60_000, "d": 784, "K": 784, "t": 1.0}
GRID = {
    "N": (1_000, 3_000, 10_000, 30_000, 60_000, 200_000),
    "d": (16, 48, 128, 300, 784, 3072),
    "K": (8, 32, 128, 784, 3136),
    "t": (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
}
# Pairs of sample and query from which overhead of calls does not count.
LARGE = 10**7
# A point that is dense: where all samples count, so that both products are made in full.
DENSE = 30.0


def timed(work: Callable[[], object], rounds: int = 3) -> float:
    """Median seconds, after one run that is not counted."""
    work()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def samples(y: Tensor, n: int, d: int) -> Tensor:
    """n samples of d dimensions, from images."""
    g = torch.Generator().manual_seed(n + d)
    columns = torch.arange(d) if d == 784 else torch.randint(784, (d,), generator=g)
    out = y[:, columns][torch.arange(n) % len(y)]
    return out if n <= len(y) and d <= 784 else out + 0.1 * torch.randn(n, d, generator=g)


def peak(d: int) -> float:
    """Rate of the two products at this d, in operations a second."""
    a, z, share = torch.randn(784, d), torch.randn(1024, d), torch.randn(784, 1024)
    low, high = torch.empty(784, 1024), torch.empty(784, d)
    count = max(1, 20_000 // d)
    seconds = timed(lambda: [(torch.mm(a, z.T, out=low), torch.mm(share, z, out=high)) for _ in range(count)])
    return count * 4 * 784 * 1024 * d / seconds


def measure(y: Tensor, n: int, d: int, k: int, t: float) -> dict[str, float]:
    """Seconds of the dense kernel and of what is chosen, for an unseen centre, and the peak beside it."""
    data = samples(y, n + 1, d)
    score, x0 = EmpiricalScore(data[:n]), data[n]
    g = torch.Generator().manual_seed(0)
    p = math.sqrt(t) * torch.randn(k, d, generator=g)
    seen, whole = score.around(x0, chance=1e-6), near(data[:n], x0.double())
    wide = p.double()
    return {
        "N": n,
        "d": d,
        "K": k,
        "t": t,
        "dense": timed(lambda: accumulate(whole, wide, t, dtype=torch.float32, prune=False)),
        "chosen": timed(lambda: seen(x0 + p, t)),
        "distances": timed(lambda: near(data[:n], x0.double())),
        "peak": peak(d),
    }


def grow(y: Tensor, out: Path) -> None:
    """All grids, the fit of c, a table, JSON and a figure."""
    rows = []
    for name, values in GRID.items():
        for value in values:
            at = BASE | {"t": DENSE} | {name: value}
            rows.append({"over": name, **measure(y, int(at["N"]), int(at["d"]), int(at["K"]), float(at["t"]))})
            print(rows[-1], flush=True)
    dense = [r for r in rows if r["over"] != "t"]
    # The one constant: what a pair of sample and query costs beside products, over points where overhead of calls does not count.
    large = [r for r in dense if r["K"] * r["N"] > LARGE]
    c = statistics.median(r["dense"] / (r["K"] * r["N"]) - 4 * r["d"] / r["peak"] for r in large)
    for r in rows:
        r["model"] = r["K"] * r["N"] * (4 * r["d"] / r["peak"] + c)
    heads = ("over", "N", "d", "K", "t", "dense, s", "model, s", "dense/model", "chosen, s", "distances, s")
    cells = [
        (
            r["over"],
            f"{r['N']:,}",
            f"{r['d']}",
            f"{r['K']}",
            f"{r['t']:g}",
            f"{r['dense']:.3g}",
            f"{r['model']:.3g}",
            f"{r['dense'] / r['model']:.2f}",
            f"{r['chosen']:.3g}",
            f"{r['distances']:.3g}",
        )
        for r in rows
    ]
    print_table(Table("growth", [Column(head, "") for head in heads], cells))
    print(f"c = {c * 1e9:.2f} ns a pair")
    machine = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "flush_denormal": False,
    }
    (out / "growth.json").write_text(json.dumps({"machine": machine, "c": c, "rows": rows}, indent=1) + "\n")
    figure(rows, out / "growth.png")


def figure(rows: list[dict[str, float]], path: Path) -> None:
    """Measured times beside the model, one panel for each of N, d, K and t."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(13, 3.4), sharey=True, layout="constrained")
    for ax, name in zip(axes, GRID, strict=True):
        chosen = [r for r in rows if r["over"] == name]
        x = [r[name] for r in chosen]
        ax.loglog(x, [r["model"] for r in chosen], color="0.6", label="model K N (4d/peak + c)")
        ax.loglog(x, [r["dense"] for r in chosen], "o", color="C0", label="dense kernel")
        ax.loglog(x, [r["chosen"] for r in chosen], "s", color="C1", mfc="none", label="what is chosen")
        ax.set_xlabel({"N": "samples N", "d": "dimensions d", "K": "queries K", "t": "noise variance t"}[name])
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("seconds")
    axes[0].legend(fontsize=8)
    fig.savefig(path, dpi=110)


def stream(y: Tensor, n: int, out: Path) -> None:
    """Scores of n images that lie in a file."""
    path, block, seconds = out / "streamed.npy", 20_000, {}
    start = time.perf_counter()
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, y.shape[1]))
    g = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(block + 1000, y.shape[1], generator=g)
    for first in range(0, n, block):
        rows = torch.arange(first, min(n, first + block))
        shift = int(torch.randint(1000, (), generator=g))
        mapped[first : first + len(rows)] = (y[rows % len(y)] + noise[shift : shift + len(rows)]).numpy()
    mapped.flush()
    del mapped
    try:
        seconds["write"] = time.perf_counter() - start
        with warnings.catch_warnings():  # PyTorch says that such an array cannot be written to; nothing does
            warnings.simplefilter("ignore")
            data = torch.from_numpy(np.load(path, mmap_mode="r"))
        x0 = y[5] + 0.1 * torch.randn(y.shape[1], generator=g)

        def noted(name: str, work: Callable[[], object]) -> object:
            start = time.perf_counter()
            result = work()
            seconds[name] = time.perf_counter() - start
            print(f"{name}: {seconds[name]:.1f} s", flush=True)
            return result

        score = noted("open: mean, norms", lambda: EmpiricalScore(data))
        seen = score.around(x0, chance=1e-6)
        eps = torch.randn(256, y.shape[1], generator=g)
        noted("centre: one pass", lambda: seen(x0 + 0.1 * eps[:1], 0.01))
        noted("256 queries, t = 0.01", lambda: seen(x0 + 0.1 * eps, 0.01))
        noted("256 queries, t = 0.1", lambda: seen(x0 + math.sqrt(0.1) * eps, 0.1))
        proven = noted("256 queries, t = 10, all samples", lambda: seen(x0 + math.sqrt(10) * eps, 10.0))
        direct = noted("4 of them in float64", lambda: score((x0 + math.sqrt(10) * eps[:4]).double(), 10.0))
        difference = float(((proven[:4] - direct).norm(dim=1) / direct.norm(dim=1)).max())
        # Pages of the file that the system keeps count as resident, but are given back when memory is needed.
        private = next(
            int(line.split()[1])
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("RssAnon")
        )
        result = {
            "N": n,
            "file_GiB": path.stat().st_size / 2**30,
            "memory_GiB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
            "anonymous_GiB": private / 2**20,
            "peak_resident_GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            "difference_from_float64": difference,
            "seconds": seconds,
        }
        print(json.dumps(result, indent=1))
        (out / "stream.json").write_text(json.dumps(result, indent=1) + "\n")
    finally:
        path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("geomem-bench"))
    parser.add_argument("--stream", type=int, metavar="N")
    args = parser.parse_args()
    if not (args.data / "train-images-idx3-ubyte.gz").exists():
        sys.exit(
            f"{args.data}: has no train-images-idx3-ubyte.gz. Install dataset-fashion-mnist (Debian), or give MNIST's files with --data."
        )
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    args.out.mkdir(parents=True, exist_ok=True)
    y = scaled(load(args.data / "train-images-idx3-ubyte.gz").values)
    if args.stream:
        stream(y, args.stream, args.out)
    else:
        grow(y, args.out)


if __name__ == "__main__":
    main()
