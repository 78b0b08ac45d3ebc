"""A valid model's folder as files, and commands that read it."""

import json
import struct
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from attack.arrays import rows
from models import saved

__all__ = ["AUDIT", "CONFIG", "INDEX", "SCHEDULER", "WEIGHTS", "edited", "files", "header", "wants"]

CONFIG, SCHEDULER, INDEX = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
AUDIT = ("audit", "model", "--trained-on", "data.npy", "--quick", "--out", "run")


@cache
def files() -> Mapping[str, bytes]:
    """Path to content of every file of a model for images of 8x8 pixels."""
    with TemporaryDirectory() as place:
        folder = saved(Path(place))
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def wants(folder: Path, **_: object) -> list[str]:
    """The model and its data, and the command that audits it."""
    for name, content in files().items():
        path = folder / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    np.save(folder / "data.npy", rows())
    return [*AUDIT]


def edited(
    name: str, change: Callable[[bytes], bytes | None], valid: Callable[[Path], list[str]] = wants
) -> Callable[[Path], list[str]]:
    """The model with one file changed, added, or taken away for None; `valid` writes it whole, and gives the command that audits it."""

    def make(folder: Path) -> list[str]:
        words = valid(folder)
        path = folder / "model" / name
        content = change(path.read_bytes() if path.exists() else b"")
        path.unlink(missing_ok=True)
        if content is not None:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return words

    return make


def header(change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[bytes], bytes]:
    """Weights with another header: `change` edits it, or returns what to write in its place."""

    def damage(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        held = json.loads(data[8 : 8 + length])
        new = change(held)
        text = (new if isinstance(new, bytes) else json.dumps(held).encode()).ljust(8)
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return damage
