"""A valid latent model that is conditioned on texts, a LoRA of it, and commands that read them."""

import json
import shutil
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save

from attack import models

__all__ = [
    "ADAPTED",
    "AUDIT",
    "CODEC",
    "ENCODER",
    "LORA",
    "TOKENIZER",
    "adapted",
    "edited",
    "files",
    "lora",
    "raw",
    "wants",
]

ENCODER, TOKENIZER, CODEC, LORA = "text_encoder", "tokenizer", "vae", "lora.safetensors"
AUDIT = ("audit", "model", "--trained-on", "data.npy", "--quick", "--out", "run")
ADAPTED = (*AUDIT, "--adapter", LORA)
_LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@cache
def files() -> Mapping[str, bytes]:
    """Path to content of every file of a model for images of 16x16 pixels."""
    import pipelines  # here: it imports transformers, which takes seconds

    pipelines.quiet()
    with TemporaryDirectory() as place:
        folder = pipelines.saved("sd", Path(place))
        shutil.rmtree(folder / "feature_extractor", ignore_errors=True)
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@cache
def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


def wants(folder: Path) -> list[str]:
    """The model and its data, and the command that audits it."""
    for name, content in files().items():
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    np.save(folder / "data.npy", _images())
    return [*AUDIT]


def edited(name: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], list[str]]:
    """This model with one file changed, added, or taken away for None."""
    return models.edited(name, change, wants)


def lora(**changes: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """A LoRA of one layer, of rank 2: its tensors `down` and `up`; others by their whole names, None to leave one out."""
    width = load_width()
    found = {"down": 0.1 * torch.ones(2, width), "up": 0.1 * torch.ones(width, 2), **changes}
    names = {"down": f"{_LAYER}.lora_A.weight", "up": f"{_LAYER}.lora_B.weight"}
    return {names.get(name, name): tensor for name, tensor in found.items() if tensor is not None}


@cache
def load_width() -> int:
    """Width of the layer that the LoRA changes."""
    with TemporaryDirectory() as place:
        path = Path(place) / "weights.safetensors"
        path.write_bytes(files()["unet/diffusion_pytorch_model.safetensors"])
        return int(load_file(path)[f"{_LAYER.removeprefix('unet.')}.weight"].shape[1])


def adapted(content: bytes | Callable[[], bytes], name: str = LORA) -> Callable[[Path], list[str]]:
    """The model with an adapter's file of some content."""

    def make(folder: Path) -> list[str]:
        wants(folder)
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content())
        return [*AUDIT, "--adapter", name]

    return make


def tensors(metadata: Mapping[str, str] | None = None, **changes: torch.Tensor | None) -> Callable[[], bytes]:
    """A file of `lora`."""
    return lambda: save(lora(**changes), dict(metadata) if metadata else None)


def raw(header: object, data: bytes = b"") -> bytes:
    """A safetensors file of any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
