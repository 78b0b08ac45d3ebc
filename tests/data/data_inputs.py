"""Images and runs for tests of `geomem data`."""

import json
from pathlib import Path

import numpy as np
import xarray as xr
from PIL import Image

from commands import geomem
from geomem.data import digits

FINE = digits().numpy()
ROWS = ((FINE + 1) * 127.5).round().astype(np.uint8)[:200]


def save_images(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return folder


def records(run: Path) -> dict[str, xr.Dataset]:
    return {p.name: xr.load_dataset(p, engine="netcdf4") for p in sorted(run.glob("*.nc"))}


def without_time(run: Path) -> dict[str, bytes]:
    """Everything that depends on the request alone, not on when and how fast it was carried out."""
    kinds = (".png", ".html", ".csv")
    return {p.name: p.read_bytes() for p in run.iterdir() if p.suffix in kinds or p.name == "summary.json"}


def shown(*arguments: str, cwd: Path) -> dict[str, object]:
    """What `geomem data ... --quick --json` prints."""
    result = geomem("data", *arguments, "--quick", "--json", "--out", "run", "--force", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)
