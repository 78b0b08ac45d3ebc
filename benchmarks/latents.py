"""Screening and leading survivals of a model with the latents of Stable Diffusion, 4x64x64 = 16,384 values, on one thread.

    python benchmarks/latents.py [--images N] [--survivals M] [--seed N]

The network is a UNet2DConditionModel of small width with random weights that predicts the denoised latent, saved as a pipeline and opened as
any other. Random weights have no spectrum of data. So what it predicts is projected on M random patterns (default 60) and scaled until M
survivals are above 1/2, as many as a model of images may have at moderate noise. Each evaluation still takes the whole network.

Operations of an evaluation are counted (torch.utils.flop_counter) for this network and for the U-Net of Stable Diffusion 1.5, built from
its published configuration without memory. From them follows what the same would take there, at a stated rate. The result is printed as
JSON: seconds, evaluations, peak memory of the process, and these figures.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from speed import processor
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from geomem.measure.screening import screen
from geomem.models import load
from geomem.spectra import leading
from geomem.spectra.products import products

SIDE, T, WIDTH = 64, 1.0, 32
# float32 without tensor cores, as spectra are computed: the nominal rate of an A100, and the share of it that is assumed.
RATE, SHARE = 19.5e12, 0.5
ATTENTION = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")


def unet(widths: tuple[int, ...], text: int, heads: int) -> Any:
    """A U-Net of Stable Diffusion's form."""
    return UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=widths,
        norm_num_groups=min(32, widths[0] // 2),
        down_block_types=ATTENTION,
        up_block_types=("UpBlock2D", *(["CrossAttnUpBlock2D"] * 3)),
        cross_attention_dim=text,
        attention_head_dim=heads,
    )


def operations(network: Any, text: int) -> float:
    """Floating-point operations of one evaluation; a network without memory will do."""
    device = next(network.parameters()).device
    x, hidden = torch.empty(1, 4, SIDE, SIDE, device=device), torch.empty(1, 77, text, device=device)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        network(x, torch.ones(1, device=device), hidden)
    return float(counted.get_total_flops())


def saved(folder: Path, seed: int) -> Path:
    """The pipeline."""
    torch.manual_seed(seed)
    network = unet((16, 32, 32, 32), WIDTH, 4)
    letters = [chr(i) for i in range(33, 127)]
    vocabulary = {
        word: i for i, word in enumerate([*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"])
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=network,
        scheduler=DDIMScheduler(prediction_type="sample", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"


class Projected:
    """The score of a denoiser whose output is projected on patterns (m, d), orthonormal, and scaled."""

    def __init__(self, score: Any, patterns: torch.Tensor, t: float, x: torch.Tensor) -> None:
        self.shape, self.module, self._score, self._patterns = score.shape, score.module, score, patterns
        self._gain = 1.0
        a = products(self, x, t)
        kept = torch.stack([a.transposed(v[None].to(torch.float64))[0].to(v) for v in patterns]) @ patterns.T
        # The smallest eigenvalue among the patterns becomes 0.6; a sign is part of the gain.
        values = torch.linalg.eigvalsh((kept + kept.T) / 2)
        shift = 1.2 * float(values.abs().max())
        self._gain, self._shift = 0.6 / (float(values.min()) + shift), shift

    def __call__(self, x: torch.Tensor, t: torch.Tensor | float) -> torch.Tensor:
        times = torch.as_tensor(t, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        denoised = x + times * self._score(x, t)
        shift = getattr(self, "_shift", 0.0)
        coordinates = (denoised + shift * x).flatten(1) @ self._patterns.T
        return (self._gain * (coordinates @ self._patterns).reshape(x.shape) - x) / times


def peak() -> float:
    """Peak memory of this process, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--survivals", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        large = unet((320, 640, 1280, 1280), 768, 8)
    cost = {"Stable Diffusion 1.5": operations(large, 768)}
    generator = torch.Generator().manual_seed(given.seed)
    latents = torch.randn(given.images, 4, SIDE, SIDE, generator=generator)
    noise = torch.randn(1, 4, SIDE, SIDE, generator=generator)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        score = load(saved(Path(folder), given.seed), prompt="a photo")
        t = score.nearest(T)
        x = latents[:1] + t**0.5 * noise
        cost["this network"] = operations(score.module.network, WIDTH)
        patterns = torch.linalg.qr(torch.randn(x.numel(), given.survivals, generator=generator)).Q.T.contiguous()
        projected = Projected(score, patterns, t, x)
        begun = time.perf_counter()
        screened = screen(score, latents, [t], batch_size=2)
        each = (time.perf_counter() - begun) / screened.attrs["evaluations"]
        found["screening"] = {
            "evaluations of an image": screened.attrs["evaluations"] / given.images,
            "seconds of an evaluation": each,
            "peak GiB": peak(),
        }
        begun = time.perf_counter()
        few = leading(projected, x, t, together=1)
        found["leading"] = {
            "survivals": int(few.count),
            "evaluations": int(few.evaluations),
            "seconds": time.perf_counter() - begun,
            "peak GiB": peak(),
        }
    ratio = cost["Stable Diffusion 1.5"] / cost["this network"]
    at = {name: value / (RATE * SHARE) for name, value in cost.items()}["Stable Diffusion 1.5"]
    found["extrapolated to Stable Diffusion 1.5"] = {
        "operations of an evaluation": cost["Stable Diffusion 1.5"],
        "times this network's": ratio,
        "seconds of an evaluation on this thread": each * ratio,
        f"seconds of an evaluation at {RATE * SHARE / 1e12:.1f} TFLOP/s": at,
        "minutes of screening 1,000 images, two draws, three noise levels": 6000 * at / 60,
        "seconds of leading at one image": float(few.evaluations) * at,
    }
    print(json.dumps({"processor": processor(), "values": 4 * SIDE * SIDE, "operations": cost, **found}, indent=1))


if __name__ == "__main__":
    main()
