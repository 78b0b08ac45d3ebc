"""Leading survivals against whole Jacobians: cost, share of own algebra, and whether the count is exact, at d = 64, 784 and 3,072.

    python benchmarks/leading.py train OUT --fashion TRAIN-IMAGES --emoji EMOJI-32.npy
    python benchmarks/leading.py measure OUT

`train` trains U-Nets on digits (40 and 1,400 images), Fashion-MNIST (32 and 5,000) and color emoji at 32x32 (3,000); it takes up its work
where it stopped. `measure` compares, on one thread, and writes OUT/leading.json.
"""

import argparse
import json
import math
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timed import Timed
from torch import Tensor

from geomem.data import DataSet, load
from geomem.jobs.train.model import MODEL, accelerator_in, train_model
from geomem.models import opened
from geomem.precision import full_precision
from geomem.records import Run
from geomem.spectra import leading
from geomem.training.images import divided, shape_of, tensor_of
from geomem.training.presets import TrainSettings

# Data, images, steps, noise variances, points (of which the last are held out) and points with a whole Jacobian.
CASES: dict[str, tuple[str, int, int, tuple[float, ...], int, int]] = {
    "digits-40": ("digits", 40, 1500, (0.01, 0.1), 32, 32),
    "digits-1400": ("digits", 1400, 1500, (0.1, 0.3), 32, 32),
    "fashion-32": ("fashion", 32, 1500, (0.3,), 16, 16),
    "fashion-5000": ("fashion", 5000, 1500, (0.3, 1.0), 16, 16),
    "emoji-3000": ("emoji", 3000, 1500, (1.0,), 8, 2),
}
HELD_OUT = 100


def sources(fashion: Path | None, emoji: Path | None) -> dict[str, DataSet]:
    """The data that are there."""
    named = {"digits": "digits", "fashion": fashion, "emoji": emoji}
    return {name: load(source) for name, source in named.items() if source is not None}


def settings_of(name: str, data: DataSet) -> TrainSettings:
    """How a case's network is trained."""
    source, size, steps, *_ = CASES[name]
    return TrainSettings(
        data=(source, data.fingerprint()),
        rows=len(data),
        size=size,
        held_out=HELD_OUT,
        shape=shape_of(data),
        network="small-unet",
        noise_process="vp",
        steps=steps,
        batch_size=32,
        learning_rate=1e-3,
        warmup=100,
        ema_decay=0.995,
        precision="float32",
        seed=0,
        split_seed=0,
    )


def train(name: str, data: DataSet, out: Path) -> None:
    """Train a case's network, and save the points at which it is measured."""
    settings = settings_of(name, data)
    with Run.open(out / name, "leading", settings) as run:
        if (out / name / "points.npy").exists():
            return
        train_model(run, data, settings, accelerator_in(out / name), lambda share, words: None)
        rows, apart = divided(data, settings.size, settings.held_out, 0)
        half = CASES[name][4] // 2
        images = torch.cat([tensor_of(data, some[:half], settings.shape) for some in (rows, apart)])
        with run.writing("points.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, images.numpy())
    print(f"{name}: trained", flush=True)


def dense(score: Any, x: Tensor, t: float) -> Tensor:
    """The symmetric part of I + t J at one point, by one backward product for each dimension."""
    leaf = x[None].clone().requires_grad_(True)
    with torch.enable_grad(), full_precision():
        out = score(leaf, torch.tensor(t)).flatten()
        rows = [torch.autograd.grad(out[i], leaf, retain_graph=True)[0].flatten() for i in range(out.numel())]
    j = torch.stack(rows).to(torch.float64)
    return torch.eye(len(j), dtype=torch.float64) + t * (j + j.T) / 2


def measured(name: str, out: Path) -> list[dict[str, Any]]:
    """One row for each noise variance of a case."""
    _, _, _, times, _, whole = CASES[name]
    images = torch.from_numpy(np.load(out / name / "points.npy"))
    data = DataSet(name, "", images.numpy())
    model = opened(out / name / MODEL, data, scheduler=None, label=None, device="cpu")
    rows = []
    for asked in times:
        t = model.nearest(asked)
        x = images + math.sqrt(t) * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        timed, backward = Timed(model.score), torch.autograd.grad

        def grad(*given: Any, timed: Timed = timed, backward: Any = backward, **named: Any) -> Any:
            start = time.perf_counter()
            made = backward(*given, **named)
            timed.seconds += time.perf_counter() - start
            return made

        torch.autograd.grad = grad
        start = time.perf_counter()
        found = leading(timed, x, t)
        seconds = time.perf_counter() - start
        torch.autograd.grad = backward
        truth = [int((torch.linalg.eigvalsh(dense(model.score, row, t)) > 0.5).sum()) for row in x[:whole]]
        counts = found.count.tolist()
        d = x[0].numel()
        spent = found.evaluations.double()
        rows.append(
            {
                "case": name,
                "d": d,
                "t": t,
                "points": len(x),
                "m": float(found.count.double().mean()),
                "evaluations": float(spent.mean()),
                "allowed": float((6 * found.count + 60).double().mean()),
                "within": int((spent <= 6 * found.count + 60).sum()),
                "saved": 2 * d / float(spent.mean()),
                "complete": int(found.exact.sum()),
                "compared": len(truth),
                "exact": sum(a == b for a, b in zip(counts, truth, strict=False)),
                "above": sum(a > b for a, b in zip(counts, truth, strict=False)),
                "off": max((b - a for a, b in zip(counts, truth, strict=False)), default=0),
                "seconds": seconds,
                "algebra": 1 - timed.seconds / seconds,
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "measure"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--fashion", type=Path)
    parser.add_argument("--emoji", type=Path)
    parser.add_argument("--only")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = [name for name in CASES if asked.only in (None, name)]
    if asked.what == "train":
        data = sources(asked.fashion, asked.emoji)
        for name in names:
            if CASES[name][0] in data:
                train(name, data[CASES[name][0]], asked.out)
    else:
        rows = [
            row for name in names if (asked.out / name / "points.npy").exists() for row in measured(name, asked.out)
        ]
        found = {"processor": platform.processor(), "torch": torch.__version__, "threads": 1, "rows": rows}
        (asked.out / "leading.json").write_text(json.dumps(found, indent=1) + "\n")
