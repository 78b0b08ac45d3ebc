"""The folder of a training: what is in it, and what is left half-written."""

import json

from safetensors import safe_open


def files(folder):
    """Content of a folder and all below, by name, but for what says when and where."""
    own = ("metrics.jsonl", "environment.json", "summary.json", ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in own}


def header_of(path):
    with safe_open(path, framework="pt") as stored:
        return json.loads(stored.metadata()["geomem"])


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]
