"""How often captions return their training images: the truth for detectors of memorization.

    python benchmarks/detectors/truth.py MODEL --out FOLDER [--set SET] [--first N] [--draws D] [--guidance W] [--steps K] [--seed S]

MODEL is a part of train.py; a LoRA is loaded into `plain`. SET is the set whose captions are drawn: by default a LoRA's own set, and
`training` for the others. DDIM draws D images a caption from the pipeline, by default 16 at guidance 1, which is the model's own
conditional distribution.

A draw is a copy if, of all emoji in all sets, its caption's own image is the nearest, at a distance below 0.1 and below half of the
distance to the second nearest. Distances are RMS over pixels in [0, 1], to images as the autoencoder returns them: the pipeline
cannot draw an image any better than that. No two emoji are nearer than 0.09 before it (see emoji.py).

The result is FOLDER/truth/MODEL-SET.csv, a line a caption, most repeated first: draws, copies, their share, the mean and the smallest
distance to the own image, and the distance between that image and the one that the autoencoder returns. Rerun to resume.
"""

import argparse
import csv
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import StableDiffusionPipeline
from emoji import LORAS, SETS, read
from torch import Tensor

from geomem.seeds import derived_generator

DISTANCE, RATIO = 0.1, 0.5
_CAPTIONS_AT_ONCE = 8
_REPEATS = (1, 2, 10, 22, 46, 101)


def load(out: Path, model: str) -> Any:
    """The pipeline of a part."""
    pipeline = StableDiffusionPipeline.from_pretrained(out / ("plain" if model.startswith("lora-") else model))
    if model.startswith("lora-"):
        pipeline.load_lora_weights(str(out / model))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: Any, texts: list[str], latents: Tensor, guidance: float, steps: int) -> Tensor:
    """Images (n, 3, side, side) in [0, 1] from latents, one for each text."""
    images: Tensor = pipeline(
        texts, latents=latents, guidance_scale=guidance, num_inference_steps=steps, output_type="pt"
    ).images
    return images.float()


def judged(draws: Tensor, own: int, images: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of draws to image `own` of all images, and whether they are copies of it."""
    distances = torch.cdist(draws.flatten(1), images.flatten(1)) / images[0].numel() ** 0.5
    nearest, order = distances.topk(2, largest=False)
    copies = (order[:, 0] == own) & (nearest[:, 0] < DISTANCE) & (nearest[:, 0] < RATIO * nearest[:, 1])
    return distances[:, own], copies


def returned(pipeline: Any, images: Tensor) -> Tensor:
    """Images as the autoencoder returns them."""
    vae = pipeline.vae
    with torch.no_grad():
        parts = [vae.decode(vae.encode(part * 2 - 1).latent_dist.mean).sample for part in images.split(100)]
    return (torch.cat(parts) / 2 + 0.5).clamp(0, 1)


def summary(rows: list[dict[str, str]]) -> None:
    """Print the share of copies by repeats."""
    for low, high in pairwise(_REPEATS):
        some = [row for row in rows if low <= int(row["repeats"]) < high]
        if some:
            shares = [float(row["share"]) for row in some]
            often = sum(share >= 0.5 for share in shares)
            print(
                f"repeats {low:3} to {high - 1:3}: {len(some):4} captions, {sum(shares) / len(some):6.1%} of draws are copies; "
                f"{sum(share > 0 for share in shares):4} captions copy, {often:4} in half of their draws"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("repeats", "plain", *(f"lora-{n}" for n in LORAS)))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", choices=SETS)
    parser.add_argument("--first", type=int, help="number of captions, most repeated first (default: all)")
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()

    chosen = args.set or (args.model if args.model.startswith("lora-") else "training")
    sets = {name: read(args.out / "data" / name) for name in SETS}
    everything = torch.cat([images for images, _ in sets.values()])
    before = sum(len(sets[name][1]) for name in SETS[: SETS.index(chosen)])
    lines = sets[chosen][1]
    order = sorted(range(len(lines)), key=lambda i: -lines[i].get("repeats", 1))[: args.first]

    path = args.out / "truth" / f"{args.model}-{chosen}.csv"
    path.parent.mkdir(exist_ok=True)
    rows = list(csv.DictReader(path.open(newline=""))) if path.exists() else []
    done = {row["file"] for row in rows}
    left = [i for i in order if lines[i]["file_name"] not in done]
    pipeline = load(args.out, args.model)
    reachable = returned(pipeline, everything)
    errors = (reachable - everything).square().flatten(1).mean(1).sqrt()
    shape = (args.draws, 4, pipeline.unet.config.sample_size, pipeline.unet.config.sample_size)
    for part in (left[i : i + _CAPTIONS_AT_ONCE] for i in range(0, len(left), _CAPTIONS_AT_ONCE)):
        # The same noise for all models, whatever else is drawn.
        noise = [torch.randn(shape, generator=derived_generator(args.seed, chosen, i)) for i in part]
        texts = [lines[i]["text"] for i in part for _ in range(args.draws)]
        draws = drawn(pipeline, texts, torch.cat(noise), args.guidance, args.steps).split(args.draws)
        for i, some in zip(part, draws, strict=True):
            distances, copies = judged(some, before + i, reachable)
            result = {
                "file": lines[i]["file_name"],
                "caption": lines[i]["text"],
                "repeats": lines[i].get("repeats", 1),
                "draws": args.draws,
                "copies": int(copies.sum()),
                "share": float(copies.float().mean()),
                "mean_distance": float(distances.mean()),
                "min_distance": float(distances.min()),
                "reconstruction": float(errors[before + i]),
            }
            rows.append({key: str(value) for key, value in result.items()})
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    print(f"{args.model} on {chosen}, guidance {args.guidance:g}, {args.steps} DDIM steps:")
    summary(rows)


if __name__ == "__main__":
    main()
