"""A training's folder: what is in it, and what is left half-written."""

import json

import numpy as np
from safetensors import safe_open

from geomem.training.checkpoint import read_tensors

QUICK = ["--preset", "mlp", "--steps", "6", "--batch-size", "4"]


def quick(*more):
    """`QUICK` with other options, which may be its own with another value."""
    own = [word for i in range(0, len(QUICK), 2) if QUICK[i] not in more for word in QUICK[i : i + 2]]
    return [*own, *more]


def pictures(path, shape=(20, 8, 8), dtype=np.uint8, seed=0):
    np.save(path, np.random.default_rng(seed).integers(0, 256, shape).astype(dtype))
    return path


def state_of(folder):
    return read_tensors(folder / "checkpoint.safetensors", lambda header, tensors: (header, tensors))


def files(folder):
    """Content of a folder and all below, by name, but for what says when and where."""
    own = ("metrics.jsonl", "environment.json", "summary.json", ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in own}


def header_of(path):
    with safe_open(path, framework="pt") as stored:
        return json.loads(stored.metadata()["geomem"])


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


def kept(folder):
    """Content of all files of a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
