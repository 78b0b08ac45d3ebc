"""Time and error of the empirical score and of spectra beside what else there is, each floor in one process.

    python benchmarks/speed.py [--data FOLDER] [--out FOLDER] [--rounds 3] [--only dense around ...]

60,000 images of 784 pixels (FOLDER with the usual files; Debian: dataset-fashion-mnist) and 784 Gaussian perturbations of one
image. Contestants take turns, times are medians over rounds, errors are the largest over perturbations against float64 products around
the image. The dense rows leave out the pass that finds the distances from it, which the sums of times count. Dense is all samples, of which those that
cannot have weight are screened away in bfloat16 or not averaged; "every product" leaves none out, and is what is compared with the peak. Run it on a quiet core: OMP_NUM_THREADS=1 (the default here). pykeops, faiss-cpu: `pip install -e '.[bench]'`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from geomem.data import load
from geomem.page import Column, Table
from geomem.scores import EmpiricalScore
from geomem.scores.around import Around
from geomem.scores.kernel import accumulate, near
from geomem.spectra.singular import singular_values
from geomem.terminal import print_table

K, TRAINING, TEST = 784, 7, 3
TIMES = (1e-3, 1e-2, 0.1, 0.3, 1.0, 10.0)
CHANCE = 1e-6
Contestants = dict[str, Callable[[], object]]


def in_turn(contestants: Contestants, rounds: int) -> dict[str, float]:
    """Median seconds of each, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, work in contestants.items():
            start = time.perf_counter()
            work()
            if round_ > 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


class Bench:
    """The data, one row of results after another, and where they go."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.rounds = rounds
        self.y = scaled(load(folder / "train-images-idx3-ubyte.gz").values)
        self.unseen = scaled(load(folder / "t10k-images-idx3-ubyte.gz").values)
        self.score = EmpiricalScore(self.y)
        self.eps = torch.randn(K, self.y.shape[1], generator=torch.Generator().manual_seed(0))
        self.centres = {"training": self.y[TRAINING], "test": self.unseen[TEST]}
        self.rows: list[dict[str, object]] = []
        self._truth: dict[tuple[str, float], tuple[Tensor, Tensor]] = {}

    def add(
        self,
        floor: str,
        what: str,
        seconds: dict[str, float],
        errors: dict[str, tuple[float, ...]] | None = None,
        **more: object,
    ) -> None:
        mine = next(iter(seconds.values()))
        for name, value in seconds.items():
            row = {"floor": floor, "what": what, "contestant": name, "seconds": value, "ratio": value / mine, **more}
            row["errors"] = (errors or {}).get(name)
            self.rows.append(row)
        heads = ("", what, "seconds", "times geomem's", "error of score, effective samples")
        cells = [(floor, n, f"{v:.4g}", f"{v / mine:.3g}", shown((errors or {}).get(n))) for n, v in seconds.items()]
        print_table(Table("times", [Column(head, "") for head in heads], cells))
        for name, value in more.items():
            print(f"   {name}: {value:.4g}" if isinstance(value, float) else f"   {name}: {value}")

    def queries(self, centre: str, t: float) -> Tensor:
        return self.centres[centre] + math.sqrt(t) * self.eps

    def truth(self, centre: str, t: float) -> tuple[Tensor, Tensor]:
        """Score and effective samples in float64, distances from direct differences."""
        if (centre, t) not in self._truth:
            x = self.queries(centre, t).double()
            middle = self.centres[centre].double()
            z = self.y.double() - middle
            squares, p = z.square().sum(1), x - middle
            score, effective = torch.empty_like(x), torch.empty(K, dtype=torch.float64)
            for part in torch.arange(K).split(98):
                w = torch.softmax((p[part] @ z.T - squares / 2) / t, 1)
                score[part], effective[part] = (w @ z - p[part]) / t, 1 / w.square().sum(1)
            self._truth[centre, t] = score, effective
        return self._truth[centre, t]

    def errors(self, centre: str, t: float, score: Tensor, effective: Tensor | None = None) -> tuple[float, ...]:
        """Largest relative errors over queries."""
        s, n = self.truth(centre, t)
        rows = s[: score.shape[0]]
        first = float(((score.double() - rows).norm(dim=1) / rows.norm(dim=1)).max())
        return (
            (first,)
            if effective is None
            else (first, float((effective.double() / n[: len(effective)] - 1).abs().max()))
        )


def scaled(values: np.ndarray) -> Tensor:
    """Pixels in [-1, 1], one row an image."""
    return torch.from_numpy(np.asarray(values).reshape(len(values), -1).astype(np.float32) / 127.5 - 1)


def shown(errors: tuple[float, ...] | None) -> str:
    return "" if errors is None else ", ".join(f"{e:.1e}" for e in errors)


# Rivals: what a PyTorch user writes today, all float32.


def by_cdist(y: Tensor, x: Tensor, t: float) -> Tensor:
    return (torch.softmax(torch.cdist(x, y).square_().div_(-2 * t), 1) @ y - x) / t


def by_attention(y: Tensor, x: Tensor, t: float) -> Tensor:
    """softmax(x.y/t - |y|^2/2t) y as attention of the queries x/t to keys and values y."""
    bias = (y.square().sum(1) / (-2 * t)).expand(x.shape[0], -1)
    mean = functional.scaled_dot_product_attention(
        (x / t)[None, None], y[None, None], y[None, None], attn_mask=bias[None, None], scale=1.0
    )
    return (mean[0, 0] - x) / t


def by_broadcasting(y: Tensor, x: Tensor, t: float) -> Tensor:
    squares = torch.stack([(y - point).square().sum(1) for point in x])
    return (torch.softmax(squares / (-2 * t), 1) @ y - x) / t


def by_keops(y: Tensor, x: Tensor, t: float) -> Tensor:
    from pykeops.torch import LazyTensor

    squares = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
    mean: Tensor = (-squares / (2 * t)).sumsoftmaxweight(LazyTensor(y[None, :, :]), axis=1)
    return (mean - x) / t


def by_faiss(y: Tensor, neighbours: int = 100) -> Callable[[Tensor, float], Tensor]:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatL2(y.shape[1])
    index.add(y.numpy())

    def score(x: Tensor, t: float) -> Tensor:
        squares, found = index.search(x.contiguous().numpy(), neighbours)
        w = torch.softmax(torch.from_numpy(squares) / (-2 * t), 1)
        return (torch.einsum("kn,knd->kd", w, y[torch.from_numpy(found)]) - x) / t

    return score


def dense(bench: Bench, centre: str, t: float, *, skip: bool = True) -> Callable[[], Tensor]:
    """geomem's kernel over all samples, nothing pruned; with `skip` False no product is left out either."""
    seen = near(bench.y, bench.centres[centre].double())
    p = (math.sqrt(t) * bench.eps).double()

    def score() -> Tensor:
        (sums,) = accumulate(seen, p, t, dtype=torch.float32, prune=False, skip=skip)
        return (sums.shift / sums.weight[:, None].float() - p.float()) / t

    return score


def time_dense(bench: Bench) -> None:
    """The dense kernel against each rival, at the test centre."""
    y, part = bench.y, 16
    faiss = by_faiss(y)
    a, b = torch.randn(K, 784), torch.randn(1024, 784)
    out = torch.empty(K, 1024)
    for t in (1e-3, 1.0, 10.0):
        x = bench.queries("test", t)
        mine, every, few = dense(bench, "test", t), dense(bench, "test", t, skip=False), x[:part].contiguous()
        work: Contestants = {
            "geomem, dense float32": mine,
            "geomem, every product": every,
            "torch.cdist + softmax": lambda: by_cdist(y, x, t),
            "scaled_dot_product_attention": lambda: by_attention(y, x, t),
            "faiss, nearest 100": lambda: faiss(x, t),
            f"pykeops, {part} of {K}": lambda: by_keops(y, few, t),
            f"broadcasting, {part} of {K}": lambda: by_broadcasting(y, few, t),
            "products at peak": lambda: [torch.mm(a, b.T, out=out) for _ in range(2 * 59)],
        }
        seconds = in_turn(work, bench.rounds)
        peak = 2 * 59 * 2 * K * 784 * 1024 / seconds.pop("products at peak") / 1e9
        for name in list(seconds):
            if name.endswith(f"of {K}"):
                seconds[name] *= K / part
        (sums,) = accumulate(
            near(y, bench.centres["test"].double()),
            (math.sqrt(t) * bench.eps).double(),
            t,
            dtype=torch.float32,
            prune=False,
        )
        effective = sums.weight**2 / sums.square
        errors = {
            "geomem, dense float32": bench.errors("test", t, mine(), effective),
            "geomem, every product": bench.errors("test", t, every()),
            "torch.cdist + softmax": bench.errors("test", t, by_cdist(y, x, t)),
            "scaled_dot_product_attention": bench.errors("test", t, by_attention(y, x, t)),
            "faiss, nearest 100": bench.errors("test", t, faiss(x, t)),
            f"pykeops, {part} of {K}": bench.errors("test", t, by_keops(y, few, t)),
            f"broadcasting, {part} of {K}": bench.errors("test", t, by_broadcasting(y, few, t)),
        }
        rate = 4 * len(y) * K * 784 / seconds["geomem, every product"] / 1e9
        bench.add(
            "dense", f"dense, t = {t:g}", seconds, errors, gemm_peak_gflops=peak, gflops=rate, share_of_peak=rate / peak
        )


def time_around(bench: Bench) -> None:
    """Six times around one centre, the distances from it included; each time alone; all of t <= 0.3."""
    for centre, x0 in bench.centres.items():
        seen = bench.score.around(x0, chance=CHANCE)
        proven = bench.score.around(x0)
        totals: dict[str, float] = {}
        for t in TIMES:
            x = bench.queries(centre, t)
            seconds = in_turn(
                {
                    "geomem, around": lambda: seen(x, t),
                    "geomem, around, proven for any x": lambda: proven(x, t),
                    "geomem, called with the queries": lambda: bench.score(x, t),
                    "torch.cdist + softmax": lambda: by_cdist(bench.y, x, t),
                },
                bench.rounds,
            )
            both = {
                name: bench.errors(centre, t, f(x, t), f.effective_samples(x, t))
                for name, f in (
                    ("geomem, around", seen),
                    ("geomem, around, proven for any x", proven),
                    ("geomem, called with the queries", bench.score),
                )
            }
            both["torch.cdist + softmax"] = bench.errors(centre, t, by_cdist(bench.y, x, t))
            bench.add(
                "around, t = 1" if (t, centre) == (1.0, "test") else "around",
                f"{centre} centre, t = {t:g}",
                seconds,
                both,
            )
            totals |= {f"{name} {t:g}": value for name, value in seconds.items()}
        distances = in_turn({"near": lambda: near(bench.y, x0.double())}, bench.rounds)["near"]
        for floor, times in (("around, small t", [t for t in TIMES if t <= 0.3]), ("around", list(TIMES))):
            sums = {name: sum(totals[f"{name} {t:g}"] for t in times) for name in seconds}
            sums = {
                "geomem, around": distances + sums["geomem, around"],
                "the same, centre known": sums["geomem, around"],
                **{n: v for n, v in sums.items() if n != "geomem, around"},
            }
            bench.add(floor, f"{centre} centre, sum of {len(times)} times", sums, distances_ms=1e3 * distances)


def time_mirrored(bench: Bench) -> None:
    """Mirrored pairs together, against two calls."""
    for t in (1e-3, 0.3, 1.0, 10.0):
        for prune in (True, False):
            seen = bench.score.around(bench.centres["test"], chance=CHANCE)
            p = (math.sqrt(t) * bench.eps).double()
            if prune:
                work: Contestants = {
                    "geomem, mirrored": lambda: seen.mirrored(p, t, torch.float32),
                    "two calls": lambda: (seen.moved(p, t, torch.float32), seen.moved(-p, t, torch.float32)),
                }
            else:
                work = {
                    "geomem, mirrored": lambda: halves(seen, p, t),
                    "two calls": lambda: [
                        accumulate(seen._near, q, t, dtype=torch.float32, prune=False) for q in (p, -p)
                    ],
                }
            bench.add(
                "mirrored",
                f"Alg. 2 at the test centre, t = {t:g}, {'pruned' if prune else 'dense'}",
                in_turn(work, bench.rounds),
            )


def halves(seen: Around, p: Tensor, t: float) -> Tensor:
    """Alg. 2's rows by the dense kernel."""
    plus, minus = accumulate(seen._near, p, t, signs=(1, -1), dtype=torch.float32, prune=False)
    return (plus.shift / plus.weight[:, None].float() - minus.shift / minus.weight[:, None].float()) / (
        2 * t
    ) - p.float() / t


def time_singular(bench: Bench) -> None:
    """Singular values of 784 x 3136 matrices of a known spectrum."""
    g = torch.Generator().manual_seed(2)
    u = torch.linalg.qr(torch.randn(784, 784, generator=g, dtype=torch.float64))[0]
    v = torch.linalg.qr(torch.randn(3136, 784, generator=g, dtype=torch.float64))[0]
    for power in (2, 5, 8):
        truth = torch.logspace(0, -power, 784, dtype=torch.float64)
        a = (u * truth) @ v.T
        work: dict[str, Callable[[], Tensor]] = {
            "geomem": lambda: singular_values(a),
            "torch.linalg.svdvals": lambda: torch.linalg.svdvals(a),
            "numpy.linalg.svd": lambda: torch.from_numpy(np.linalg.svd(a.numpy(), compute_uv=False)),
        }
        errors = {name: (float((f() / truth - 1).abs().max()),) for name, f in work.items()}
        bench.add(
            "singular values",
            f"784 x 3136, values over a range of 1e{power}",
            in_turn(dict(work), bench.rounds),
            errors,
        )


def time_exact_spectrum(bench: Bench) -> None:
    """The exact Jacobian's spectrum at the test centre, against Alg. 2 with 4d probes by the dense kernel."""
    x0 = bench.centres["test"]
    seen = bench.score.around(x0)
    g = torch.Generator().manual_seed(3)
    for t in (0.01, 0.1, 0.3):
        p = math.sqrt(t) * torch.randn(4 * 784, 784, generator=g, dtype=torch.float64)
        seconds = in_turn(
            {
                "geomem, exact": lambda: seen.survival(x0, t),
                "Alg. 2, 3,136 probes, dense": lambda: singular_values(halves(seen, p, t)),
            },
            bench.rounds,
        )
        bench.add("exact spectrum", f"spectrum at the test centre, t = {t:g}, centre known", seconds)


# What is aimed at: rows, the contestant or quantity in question, the least ratio or share, in words.
AIMS: tuple[tuple[str, str, str, float], ...] = (
    *(("dense", f"dense, t = {t:g}", "share_of_peak", 0.85) for t in (1e-3, 1.0, 10.0)),
    *(("dense", f"dense, t = {t:g}", "torch.cdist + softmax", 2.0) for t in (1e-3, 1.0, 10.0)),
    *(("dense", f"dense, t = {t:g}", "scaled_dot_product_attention", 1.4) for t in (1e-3, 1.0, 10.0)),
    ("around", "training centre, sum of 6 times", "torch.cdist + softmax", 8.0),
    ("around", "test centre, sum of 6 times", "torch.cdist + softmax", 5.0),
    ("around, small t", "training centre, sum of 4 times", "torch.cdist + softmax", 200.0),
    ("around, small t", "test centre, sum of 4 times", "torch.cdist + softmax", 100.0),
    *(("around", f"training centre, t = {t:g}", "torch.cdist + softmax", 200.0) for t in TIMES if t <= 0.3),
    *(("around", f"test centre, t = {t:g}", "torch.cdist + softmax", 100.0) for t in TIMES if t <= 0.3),
    ("around, t = 1", "test centre, t = 1", "torch.cdist + softmax", 8.0),
    *(
        ("mirrored", f"Alg. 2 at the test centre, t = {t:g}, {kind}", "two calls", 1.5)
        for t in (1e-3, 0.3, 1.0, 10.0)
        for kind in ("pruned", "dense")
    ),
    ("singular values", "784 x 3136, values over a range of 1e5", "torch.linalg.svdvals", 8.0),
    *(
        (
            "exact spectrum",
            f"spectrum at the test centre, t = {t:g}, centre known",
            "Alg. 2, 3,136 probes, dense",
            500.0,
        )
        for t in (0.01, 0.1, 0.3)
    ),
)


def judged(rows: list[dict[str, object]]) -> list[tuple[str, ...]]:
    """Each aim with what was measured; and the largest errors of geomem's own float32 rows."""
    out = []
    for floor, what, against, least in AIMS:
        chosen = [r for r in rows if r["what"] == what and (r["contestant"] == against or against in r)]
        if chosen:
            value = float(chosen[0][against] if against in chosen[0] else chosen[0]["ratio"])  # type: ignore[arg-type]
            out.append((floor, what, against, f"{least:g}", f"{value:.3g}", "met" if value >= least else "missed"))
    own = [
        r for r in rows if str(r["contestant"]).startswith("geomem") and r["floor"] != "singular values" and r["errors"]
    ]
    for i, (name, most) in enumerate((("score", 1e-6), ("effective samples", 1e-5))):
        worst = max((r["errors"][i] for r in own if len(r["errors"]) > i), default=0.0)  # type: ignore[arg-type, index]
        out.append(
            (
                "errors",
                "float32, largest error",
                name,
                f"{most:g}",
                f"{worst:.2g}",
                "met" if worst <= most else "missed",
            )
        )
    return out


FLOORS = {
    "dense": time_dense,
    "around": time_around,
    "mirrored": time_mirrored,
    "singular values": time_singular,
    "exact spectrum": time_exact_spectrum,
}


def processor() -> str:
    """The processor's name, where the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--out", type=Path, default=Path("geomem-bench"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=FLOORS, default=list(FLOORS))
    args = parser.parse_args()
    if not (args.data / "train-images-idx3-ubyte.gz").exists():
        sys.exit(
            f"{args.data}: has no train-images-idx3-ubyte.gz. Install dataset-fashion-mnist (Debian), or give MNIST's files with --data."
        )
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    flush = os.environ.get("GEOMEM_FLUSH_DENORMAL") == "1"
    torch.set_flush_denormal(flush)
    bench = Bench(args.data, args.rounds)
    machine = {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "flush_denormal": flush,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "rounds": args.rounds,
        "capability": torch.backends.cpu.get_cpu_capability(),
    }
    print(json.dumps(machine))
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        FLOORS[name](bench)
        aims = judged(bench.rows)
        (args.out / "speed.json").write_text(
            json.dumps({"machine": machine, "aims": aims, "rows": bench.rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
