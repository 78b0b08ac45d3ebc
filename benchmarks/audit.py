"""Wall time and memory of the default audit of the paper's U-Nets, on one core. The weights are random: only the cost is measured.

    python benchmarks/audit.py OUT --mnist TRAIN-IMAGES --mnist-test TEST-IMAGES --faces IMAGES.npy [--only mnist]

Faces stand for CelebA: any 64x64 colour images (python docs/emoji.py FONT IMAGES.npy 64).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geomem.data import load
from geomem.training.noise_processes import NOISE_PROCESSES
from geomem.training.unet import SHAPES, build


def model(name: str, folder: Path) -> Path:
    """A pipeline of the paper's network with random weights."""
    torch.manual_seed(0)
    if not folder.exists():
        NOISE_PROCESSES["vp"](SHAPES[name]).pipeline(build(name)).save_pretrained(folder)
    return folder


def audited(name: str, folder: Path, training: Path, held_out: Path) -> dict[str, Any]:
    """Run one audit and return what it took."""
    geomem = str(Path(sys.executable).parent / "geomem")
    command = [
        geomem,
        "audit",
        str(folder),
        "--trained-on",
        str(training),
        "--held-out",
        str(held_out),
        "--workers",
        "1",
    ]
    out = folder.parent / f"{name}-audit"
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(out), "--force"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    found = json.loads((out / "summary.json").read_text())
    return {
        "model": name,
        "exit": os.waitstatus_to_exitcode(status),
        "minutes": round(wall / 60, 2),
        "cpu_minutes": round((usage.ru_utime + usage.ru_stime) / 60, 2),
        "gigabytes": round(usage.ru_maxrss / 2**20, 2),
        "parameters": found["model"]["parameters"],
        "evaluations": found["cost"]["evaluations"],
        "screened": [found["screening"]["training"], found["screening"]["held_out"]],
        "looked_at": len(found["closer"]["images"]),
        "samples": 0 if found["copies"] is None else found["copies"]["generated"]["n"],
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--mnist-test", type=Path)
    parser.add_argument("--faces", type=Path)
    parser.add_argument("--only")
    asked = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.mnist and asked.only in (None, "mnist"):
        print(
            json.dumps(audited("mnist", model("mnist", asked.out / "mnist"), asked.mnist, asked.mnist_test)), flush=True
        )
    if asked.faces and asked.only in (None, "celeba"):
        images = np.unique(np.asarray(load(asked.faces).values), axis=0)  # an image once, so that none is on both sides
        images = np.random.default_rng(0).permutation(images)
        parts = {"training": images[: len(images) * 3 // 4], "held-out": images[len(images) * 3 // 4 :]}
        for name, rows in parts.items():
            np.save(asked.out / f"faces-{name}.npy", rows)
        files = (asked.out / f"faces-{name}.npy" for name in parts)
        print(json.dumps(audited("celeba", model("celeba", asked.out / "celeba"), *files)), flush=True)
