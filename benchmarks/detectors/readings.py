"""What every detector says of the emoji whose copies were counted.

    python benchmarks/detectors/readings.py MODEL --out FOLDER [--captions N] [--draws D] [--seed S]

MODEL is a part of train.py: `repeats` or `plain`, whose reference is the same network without the caption, or a LoRA, whose reference is
its base with the same caption. Positive are captions of which at least half of the draws were copies (truth.py), negative those of which
none was; captions in between are left out. At most N (default 60) of each are measured, drawn by the seed. For a LoRA its own images are
positive and as many held-out emoji negative: those it was trained on against those it was not.

Noise variances are ten of equal ratio. Detectors of few evaluations are measured at all of them, with one draw and with D (default 4), from
the noisy image and from noise alone. Detectors of derivatives are measured at four of them, `directions_lost` at one, from the noisy image
with one draw.

The result is FOLDER/readings/MODEL.nc, over (start, draws, detector, image, t), with the evaluations that each detector takes alone, and
the seconds that an evaluation took. Detectors that are measured together share evaluations. Rerun to resume.
"""

import argparse
import csv
import math
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from geomem.data import load as load_data
from geomem.data.captions import captioned
from geomem.measure.detection import detect
from geomem.measure.detectors import DETECTORS
from geomem.models import load, wrapped
from geomem.scores.pair import Pair, pair

LEVELS, LEAST, MOST = 10, 1e-2, 1e2
DERIVATIVES = ("curvature", "flipd", "flipd_reference", "flipd_guided", "lhsd")
DIRECTIONS = "directions_lost"
_SHARE = 0.5


def images_of(out: Path, model: str, count: int, seed: int) -> list[tuple[str, str, str, int]]:
    """Set, file, caption and label (1 for copied) of the images to measure."""
    lora = model.startswith("lora-")
    rng = np.random.default_rng(seed)
    if lora:
        own = [(model, *row, 1) for row in _captions(out, model)]
        others = [("held-out", *row, 0) for row in _captions(out, "held-out")]
        return own + [others[i] for i in rng.permutation(len(others))[:count]]
    with (out / "truth" / f"{model}-training.csv").open() as file:
        rows = list(csv.DictReader(file))
    by_label: dict[int, list[tuple[str, str, str, int]]] = {0: [], 1: []}
    for row in rows:
        share = float(row["share"])
        if share >= _SHARE or share == 0:
            by_label[int(share > 0)].append(("training", row["file"], row["caption"], int(share > 0)))
    return [by_label[k][i] for k in (1, 0) for i in rng.permutation(len(by_label[k]))[:count]]


def _captions(out: Path, name: str) -> list[tuple[str, str]]:
    data = captioned(load_data(out / "data" / name), out / "data" / name)
    return list(zip(data.files, data.captions, strict=True))


def opened(out: Path, model: str, rows: list[tuple[str, str, str, int]]) -> tuple[Pair, torch.Tensor]:
    """The pair of scores with the images' captions, and the images as latents."""
    lora = model.startswith("lora-")
    score = load(out / ("plain" if lora else model), adapter=out / model if lora else None)
    own = score.conditioned([caption for _, _, caption, _ in rows])
    parts = []
    for name in dict.fromkeys(row[0] for row in rows):
        data = load_data(out / "data" / name)
        place = {file: i for i, file in enumerate(data.files)}
        some = np.array([place[file] for where, file, _, _ in rows if where == name])
        parts.append(wrapped(score).encode(data, some))
    return pair(own, own.without_adapter() if lora else own.unconditional()), torch.cat(parts)


def groups(draws: int) -> list[tuple[str, int, list[str], slice]]:
    """What is measured together: start, draws, detectors, and which noise variances."""
    few = [name for name in DETECTORS if name not in (*DERIVATIVES, DIRECTIONS)]
    out = []
    for start in ("image", "unit noise"):
        names = [name for name in few if start in DETECTORS[name].starts]
        out += [(start, count, names, slice(None)) for count in (1, draws)]
    return [*out, ("image", 1, list(DERIVATIVES), slice(1, None, 3)), ("image", 1, [DIRECTIONS], slice(4, 5))]


def measured(
    both: Pair, images: torch.Tensor, times: np.ndarray, group: tuple[str, int, list[str], slice], seed: int
) -> xr.Dataset:
    """Values over (detector, image, t), evaluations and seconds of a group."""
    start, draws, names, some = group
    begun = time.perf_counter()
    found = detect(both, images, times[some].tolist(), names=names, start=start, draws=draws, seed=seed, batch_size=64)
    each = (time.perf_counter() - begun) / found.attrs["evaluations"]
    parts, d = [], math.prod(both.shape)
    for name in names:
        values = np.full((len(images), LEVELS), np.nan)
        # A detector that takes all levels together has one value.
        values[:, some] = found[name].values if found[name].ndim == 2 else found[name].values[:, None]
        one = xr.Dataset({"value": (("image", "t"), values)}, coords={"t": times})
        evaluations = DETECTORS[name].evaluations(d, draws, d // 2)
        if name == DIRECTIONS:
            evaluations = found.attrs["evaluations"] / len(images)
        at = {"detector": name, "start": start, "draws": draws}
        parts.append(
            one.assign(evaluations=evaluations, seconds=each * evaluations).assign_coords(at).expand_dims(list(at))
        )
    return xr.concat(parts, "detector")


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--captions", type=int, default=60)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = images_of(given.out, given.model, given.captions, given.seed)
    both, images = opened(given.out, given.model, rows)
    times = np.geomspace(LEAST, MOST, LEVELS)
    folder = given.out / "readings"
    folder.mkdir(exist_ok=True)
    parts = []
    for number, group in enumerate(groups(given.draws)):
        path = folder / f"{given.model}-{number}.nc"
        if not path.exists():
            found = measured(both, images, times, group, given.seed)
            found.to_netcdf(path)
            print(f"{group[0]}, {group[1]} draws: {', '.join(group[2])}", flush=True)
        parts.append(xr.load_dataset(path).drop_encoding())
    labels = {
        "label": ("image", [row[3] for row in rows]),
        "file": ("image", [row[1] for row in rows]),
        "caption": ("image", [row[2] for row in rows]),
    }
    joined = xr.merge(parts, join="outer", compat="no_conflicts").assign(labels)
    joined.to_netcdf(folder / f"{given.model}.nc")


if __name__ == "__main__":
    main()
