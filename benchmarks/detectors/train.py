"""Train text-to-image latent diffusion models on captioned emoji, some of which they memorize.

    python benchmarks/detectors/train.py PART --out FOLDER [--steps N] [--seed S]

FOLDER holds the data of emoji.py. The parts, in this order, each saved in FOLDER/PART:

    vae         AutoencoderKL, 32x32x3 to 8x8x4. It is trained on all sets alike, so that its error tells none of them from another.
    repeats     StableDiffusionPipeline of a small U-Net and text encoder, trained jointly on `training`, with its repeats
    plain       the same for as many steps, with every image once
    lora-N      LoRA of the attention of `plain`'s U-Net, fine-tuned on N other emoji

Progress is saved; rerun to resume. FOLDER/PART/training.json holds settings, steps, seconds, loss and versions.
"""

import argparse
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import peft
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from emoji import LORAS, SETS, read
from losses import Denoising, Loss, latents, reconstruction
from networks import Adapter, Autoencoder, TextToImage, tokenizer_of

from geomem.training.checkpoint import load_training, save_training
from geomem.training.loop import Settings, Training, steps

_SAVE_SECONDS = 120.0
_VERSIONS = {module.__name__: module.__version__ for module in (torch, diffusers, transformers, peft)}


def fit(folder: Path, settings: Settings, loss: Any, publish: Callable[[Any], None]) -> None:
    """Train to the last step, from the last checkpoint on; publish the averaged network with every checkpoint."""
    path, record = folder.parent / "checkpoints" / f"{folder.name}.safetensors", folder / "training.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    state = load_training(path, settings) if path.exists() else Training(settings)
    before = json.loads(record.read_text())["seconds"] if path.exists() else 0.0
    begun = saved = time.monotonic()
    losses: deque[float] = deque(maxlen=100)
    for step in steps(state, Loss(loss, state)):
        losses.append(step.loss)
        done = step.step == settings.steps
        if not done and time.monotonic() - saved < _SAVE_SECONDS:
            continue
        publish(state.averaged())
        seconds = before + time.monotonic() - begun
        trained = sum(p.numel() for p in state.network.parameters() if p.requires_grad)
        lines = {"step": step.step, "parameters": trained, "seconds": seconds, "loss": statistics.mean(losses)}
        record.write_text(json.dumps(lines | {"settings": asdict(settings), "versions": _VERSIONS}, indent=1) + "\n")
        save_training(path, state)
        print(
            f"{folder.name}: step {step.step:,} of {settings.steps:,}, {seconds:,.0f} s, loss {lines['loss']:.4f}",
            flush=True,
        )
        saved = time.monotonic()


def train_autoencoder(out: Path, settings: Autoencoder) -> None:
    images = torch.cat([read(out / "data" / name)[0] for name in SETS]) * 2 - 1

    def publish(vae: AutoencoderKL) -> None:
        means, stds = latents(vae, images)
        vae.register_to_config(scaling_factor=float((means.var() + stds.square().mean()).rsqrt()))
        vae.save_pretrained(out / "vae")

    fit(out / "vae", settings, partial(reconstruction, images, settings.batch_size), publish)


def denoising(out: Path, data: str, batch: int, tokenizer: Any, scheduler: DDIMScheduler, repeats: bool) -> Denoising:
    """The loss on a set of images."""
    vae = AutoencoderKL.from_pretrained(out / "vae")
    images, rows = read(out / "data" / data)
    mean, std = (part * vae.config.scaling_factor for part in latents(vae, images * 2 - 1))
    texts = [row["text"] for row in rows] + [""]
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    weights = torch.tensor([float(row["repeats"]) if repeats else 1.0 for row in rows])
    return Denoising(mean, std, tokens, weights, scheduler, batch)


def train_pipeline(out: Path, part: str, settings: dict[str, Any]) -> None:
    texts = [row["text"] for name in SETS for row in read(out / "data" / name)[1]]
    tokenizer = tokenizer_of(texts, out / part / "tokenizer")
    # As Stable Diffusion 1 does it.
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )

    def publish(network: Any) -> None:
        StableDiffusionPipeline(
            vae=AutoencoderKL.from_pretrained(out / "vae"),
            text_encoder=network["text_encoder"],
            tokenizer=tokenizer,
            unet=network["unet"],
            scheduler=scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(out / part)

    asked = TextToImage(**settings, tokens=len(tokenizer))
    fit(
        out / part,
        asked,
        denoising(out, "training", asked.batch_size, tokenizer, scheduler, part == "repeats"),
        publish,
    )


def train_adapter(out: Path, part: str, settings: dict[str, Any]) -> None:
    base = StableDiffusionPipeline.from_pretrained(out / "plain")

    def publish(network: Any) -> None:
        layers = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(network["unet"]))
        StableDiffusionPipeline.save_lora_weights(out / part, unet_lora_layers=layers)

    asked = Adapter(**settings, base=str(out / "plain"), rank=8)
    fit(out / part, asked, denoising(out, part, asked.batch_size, base.tokenizer, base.scheduler, False), publish)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("vae", "repeats", "plain", *(f"lora-{n}" for n in LORAS)))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    (args.out / args.part).mkdir(parents=True, exist_ok=True)
    common: dict[str, Any] = {"ema_decay": 0.995, "seed": args.seed}
    if args.part == "vae":
        asked = Autoencoder(steps=args.steps or 2400, batch_size=16, learning_rate=2e-3, **common)
        train_autoencoder(args.out, asked)
    elif args.part in ("repeats", "plain"):
        common |= {"steps": args.steps or 3000, "batch_size": 32, "learning_rate": 1e-3}
        train_pipeline(args.out, args.part, common)
    else:
        common |= {"steps": args.steps or 500, "batch_size": 32, "learning_rate": 1e-3}
        train_adapter(args.out, args.part, common)


if __name__ == "__main__":
    main()
