"""Finished runs as files, records that are not what they were, and HDF5 that leads elsewhere."""

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from attack.arrays import rows
from attack.models import wants as model
from commands import geomem

__all__ = ["RUNS", "edited", "hdf5", "made", "of"]

# Commands whose runs are damaged, the smallest that they have.
RUNS: dict[str, tuple[str, ...]] = {
    "theory": ("theory", "--variances", "1x2,0.3x5", "--samples", "100", "--times", "0.1,1", "--quick"),
    "audit": (
        *("audit", "model", "--trained-on", "data.npy", "--held-out", "held-out.npy", "--quick", "--points", "2"),
        *("--draws", "2", "--times", "0.1"),
    ),
    "data": ("data", "data.npy", "--quick", "--sizes", "16,40"),
    "train": ("train", "data.npy", "--preset", "mlp", "--steps", "3", "--batch-size", "4"),
    "reproduce": ("reproduce", "fig8"),
}
# A record of each that its report reads.
RECORD = {"theory": "theory", "audit": "screened", "data": "posterior", "train": "losses", "reproduce": "loads"}


def made(folder: Path) -> Path:
    """A folder with a finished run of each command."""
    model(folder)
    np.save(folder / "held-out.npy", rows()[::-1] // 2)
    for name, words in RUNS.items():
        done = geomem(*words, "--out", name, cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def of(command: str, change: Callable[[Path], object], *, forged: bool = True) -> Callable[[Path, Path], list[str]]:
    """A run with something changed, and the command that draws it again; forged: its digests are gone, too."""

    def make(runs: Path, folder: Path) -> list[str]:
        # Pictures are drawn again.
        shutil.copytree(runs / command, folder / "run", ignore=shutil.ignore_patterns("*.png", "*.html", "*.csv"))
        change(folder / "run")
        if forged:
            manifest = folder / "run" / "manifest.txt"
            manifest.write_text("".join(line.partition("\t")[0] + "\n" for line in manifest.read_text().splitlines()))
        return ["report", "run"]

    return make


def edited(name: str, change: Callable[[xr.Dataset], xr.Dataset]) -> Callable[[Path], None]:
    """A record that xarray wrote with something changed."""

    def edit(run: Path) -> None:
        path = run / f"{name}.nc"
        arrays = xr.load_dataset(path, engine="netcdf4")
        path.unlink()
        change(arrays.drop_encoding()).to_netcdf(path, engine="netcdf4")

    return edit


def hdf5(name: str, change: Callable[[h5py.File, Path], object]) -> Callable[[Path], None]:
    """A record with something changed beneath xarray."""

    def edit(run: Path) -> None:
        with h5py.File(run / f"{name}.nc", "r+") as file:
            change(file, run)

    return edit
