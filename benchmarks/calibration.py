"""Small diffusion models whose copies are counted: the known truth on which the verdict of an audit is calibrated.

    python benchmarks/calibration.py train OUT --mnist TRAIN-IMAGES --emoji EMOJI.npy
    python benchmarks/calibration.py audit OUT
    python benchmarks/calibration.py record OUT docs/gallery/calibration

`train` trains U-Nets on digits (8x8), MNIST (14x14) and colour emoji (16x16, see docs/emoji.py), on 16 to 4,000 images and for 200 to
6,000 steps, draws 1,000 samples of each and counts the copies among them; `audit` audits each with `geomem audit`'s defaults, but
for a budget of 20 seconds and no look at samples. Both take up their work where it stopped. `record` joins what was found in one record,
from which `docs/calibration.py` makes the page and the figure.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import nn

from geomem.data import DataSet, load
from geomem.data.layout import channels_first
from geomem.errors import OutputError
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run
from geomem.jobs.train.model import MODEL, accelerator_in, train_model
from geomem.measure.copies import neighbour_distances, rate_of_copies
from geomem.models import drawn, opened
from geomem.records import Run
from geomem.seeds import derived_seed
from geomem.spectra.products import products
from geomem.training.images import divided, shape_of, tensor_of
from geomem.training.presets import TrainSettings

# Numbers of training images and of held-out images, and the side to which images are resized, by data set.
SIZES = {"digits": (16, 40, 120, 400, 1000), "mnist": (16, 50, 150, 500, 1500, 4000), "emoji": (16, 50, 150, 500, 1500)}
HELD_OUT = {"digits": 400, "mnist": 1000, "emoji": 400}
SIDES = {"digits": None, "mnist": 14, "emoji": None}
STEPS = (200, 600, 2000, 6000)
SAMPLES, LEVELS, BATCH = 1000, 20, 100
# Seconds of an audit; FLIPD's noise variance, points of each kind and random directions.
BUDGET, FLIPD_T, FLIPD_POINTS, FLIPD_PROBES = 20.0, 0.01, 64, 32
# Images that are looked at, and the share of the median distance within which two are near duplicates.
FIRST, NEAR = 8000, 0.3


@dataclass(frozen=True, kw_only=True)
class SmallSettings(TrainSettings):
    """A U-Net of two resolutions and 16 and 32 channels, which trains in a minute or two."""

    def build(self) -> nn.Module:
        """See `Settings`."""
        from diffusers import UNet2DModel

        return UNet2DModel(
            sample_size=self.shape[1],
            in_channels=self.shape[0],
            out_channels=self.shape[0],
            layers_per_block=1,
            block_out_channels=(16, 32),
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            add_attention=False,
        )


def plan(data: dict[str, DataSet]) -> Iterator[tuple[str, SmallSettings]]:
    """Name and settings of each model, in an order that mixes sizes and lengths."""
    models = [(name, size, steps) for name in data for size in SIZES[name] for steps in STEPS]
    for i in np.random.default_rng(0).permutation(len(models)):
        name, size, steps = models[i]
        seed = derived_seed(0, f"calibration {name}", (size, steps)) % 2**31
        yield (
            f"{name}-{size:04d}-{steps:04d}",
            SmallSettings(
                data=(name, data[name].fingerprint()),
                rows=len(data[name]),
                size=size,
                held_out=HELD_OUT[name],
                shape=shape_of(data[name]),
                network="16-32",
                noise_process="vp",
                steps=steps,
                batch_size=32,
                learning_rate=1e-3,
                warmup=100,
                ema_decay=0.995,
                precision="float32",
                seed=seed,
                split_seed=seed,
            ),
        )


def sources(mnist: Path, emoji: Path) -> dict[str, DataSet]:
    """The data sets, without near duplicates: two of them in the training images would hide a copy, one held out would be known."""
    out = {}
    for name, source in {"digits": "digits", "mnist": mnist, "emoji": emoji}.items():
        data = load(source, size=SIDES[name])
        data = replace(data, values=np.ascontiguousarray(data.values[:FIRST]))
        rows = apart(data.rows(slice(None)))
        out[name] = replace(data, values=np.ascontiguousarray(data.values[rows]), files=())
    return out


def apart(rows: torch.Tensor) -> NDArray[np.int64]:
    """Rows in order, without those that lie near an earlier one."""
    distance = torch.cdist(rows.float(), rows.float())
    near = distance <= NEAR * distance[: len(rows) // 2, len(rows) // 2 :].median()
    free, kept = torch.ones(len(rows), dtype=torch.bool), []
    for i in range(len(rows)):
        if free[i]:
            kept.append(i)
            free &= ~near[i]
    return np.array(kept)


def trained(folder: Path, settings: SmallSettings, data: DataSet) -> None:
    """Train a model, draw its samples, and save distances of samples and held-out images to the training images."""
    with Run.open(folder, "calibration", settings) as run:
        if (folder / "samples.npy").exists():
            return
        train_model(run, data, settings, accelerator_in(folder), lambda share, words: None)
        rows, _ = divided(data, settings.size, settings.held_out, settings.split_seed)
        model = opened(folder / MODEL, data, scheduler=None, label=None, device="cpu")
        mean = tensor_of(data, rows, settings.shape).flatten(1).double().mean(0)
        parts = [range(i, i + BATCH) for i in range(0, SAMPLES, BATCH)]
        samples = torch.cat([drawn(model, mean, LEVELS, part, seed=settings.seed) for part in parts])
        with run.writing("samples.npy") as temporary, temporary.open("wb") as stream:
            np.save(stream, samples.numpy())
    print(f"{folder.name}: {SAMPLES} samples", flush=True)


def audited(folder: Path, out: Path) -> dict[str, Any]:
    """The audit of a model, without looking at its samples; and the truth, from its samples."""
    asked = AuditRequest(
        model=folder / MODEL,
        trained_on=str(folder / "training.npy"),
        held_out=str(folder / "held-out.npy"),
        draws=0,
        budget=BUDGET,
    )
    result = run(asked, out=out / "audits" / folder.name, workers=1)
    found = result.summary
    data = load(folder / "training.npy")
    known, other = (load(folder / f"{name}.npy").rows(slice(None)).numpy() for name in ("training", "held-out"))
    samples = np.load(folder / "samples.npy").reshape(SAMPLES, -1)
    if data.image_shape is not None and len(data.image_shape) == 3:  # samples have channels first, data last
        samples = np.moveaxis(samples.reshape(SAMPLES, 3, *data.image_shape[:2]), 1, 3).reshape(SAMPLES, -1)
    copies, control = (rate_of_copies(neighbour_distances(rows, known)[0]) for rows in (samples, other))
    name, size, steps = folder.name.rsplit("-", 2)
    return {
        "data": name,
        "size": int(size),
        "steps": int(steps),
        "copies": copies.count,
        "samples": copies.total,
        "control": control.count,
        "controls": control.total,
        "word": found["verdict"]["word"],
        "reason": found["verdict"]["reason"],
        "reference_t": found["reference_t"],
        **statistics(found),
        "flipd": flipd_gap(folder, data, known, other),
        "evaluations": found["cost"]["evaluations"],
        "seconds": found["cost"]["seconds"],
    }


def statistics(found: dict[str, Any]) -> dict[str, float]:
    """The statistics of a model that are compared, at the reference t."""
    here = next(row for row in found["screening"]["levels"] if row["t"] == found["reference_t"])
    closer = found["closer"]["lost"]
    return {
        "lost": found["lost"]["fraction"]["value"],
        "lost_low": found["lost"]["fraction"]["low"],
        "lost_high": found["lost"]["fraction"]["high"],
        "trace_lost": here["freedom"]["lost"]["value"],
        "error_gap": 1 - here["error"]["training"]["value"] / here["error"]["held_out"]["value"],
        "auc": found["membership"]["auc"]["value"],
        "auc_low": found["membership"]["auc"]["low"],
        "rate": found["membership"]["rate"]["value"],
        "calibration": found["calibration"]["held_out"]["value"],
        "count_lost": np.nan if closer is None else closer["fraction"]["value"],
    }


def flipd_gap(folder: Path, data: DataSet, known: NDArray[Any], other: NDArray[Any]) -> float:
    """FLIPD at held-out images less that at training images, at the images themselves and the least noise of condensation, in data
    dimensions: d + t (tr J + |s|^2), the trace from random directions.
    """
    model = opened(folder / MODEL, data, scheduler=None, label=None, device="cpu")
    t = model.nearest(FLIPD_T)
    means = []
    for rows in (known[:FLIPD_POINTS], other[:FLIPD_POINTS]):
        points = channels_first(torch.from_numpy(rows), data.shape, model.shape)
        generator = torch.Generator().manual_seed(0)
        total = torch.zeros(len(points), dtype=torch.float64)
        at = products(model.score, points, t)
        for _ in range(FLIPD_PROBES):
            v = torch.randn(len(points), points[0].numel(), generator=generator, dtype=torch.float64)
            total += (v * at.transposed(v)).sum(1) / FLIPD_PROBES
        with torch.no_grad():
            pull = t * model.score(points, t).flatten(1).double().square().sum(1)
        means.append(float((total + pull).mean()))
    return means[1] - means[0]


def recorded(out: Path, gallery: Path) -> None:
    """All rows as one record, in a random order, of which the even ones choose thresholds and the odd ones try them."""
    rows = [json.loads(path.read_text()) for path in sorted((out / "rows").glob("*.json"))]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    with Run.open(gallery, "calibration", {"steps": STEPS, "sizes": SIZES, "budget": BUDGET}) as run:
        run.save("calibration", xr.Dataset({key: ("model", [row[key] for row in rows]) for key in rows[0]}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "audit", "record"))
    parser.add_argument("out", type=Path)
    parser.add_argument("gallery", type=Path, nargs="?")
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--emoji", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    (asked.out / "models").mkdir(parents=True, exist_ok=True)
    if asked.what == "train":
        data = sources(asked.mnist, asked.emoji)
        for name, settings in plan(data):
            try:
                trained(asked.out / "models" / name, settings, data[settings.data[0]])
            except OutputError:  # another process trains it
                continue
    elif asked.what == "record":
        recorded(asked.out, asked.gallery)
    else:
        (asked.out / "rows").mkdir(exist_ok=True)
        for samples in sorted((asked.out / "models").glob("*/samples.npy")):
            row = asked.out / "rows" / f"{samples.parent.name}.json"
            if not row.exists():
                row.write_text(json.dumps(audited(samples.parent, asked.out)))
                print(row.read_text(), flush=True)
