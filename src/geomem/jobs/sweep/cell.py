"""One cell of a sweep, trained and measured in a process of its own: `python -m geomem.jobs.sweep.cell` with it as JSON.

It leaves its record in the sweep's folder and everything else in its own, <folder>/cells/<name>; a cell whose record
stands is done.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from geomem.data import DataSet, load
from geomem.errors import GeomemError, InputError
from geomem.jobs.sweep.settings import SweepSettings, cell_name
from geomem.records import Run

__all__ = ["CELLS", "PARENT", "Cell", "Source", "work"]

CELLS = "cells"
# Variable with the number of the process that started a cell's, which may end before this one has looked.
PARENT = "GEOMEM_SWEEP"
_WATCHED_SECONDS = 1.0


@dataclass(frozen=True)
class Source:
    """Where data lie and how they are read, see `images.load`."""

    path: str
    image_size: int | None = None
    mode: str | None = None
    array: str | None = None
    split: str = "train"

    def read(self) -> DataSet:
        """The data."""
        return load(self.path, size=self.image_size, mode=self.mode, array=self.array, split=self.split)


@dataclass(frozen=True)
class Cell:
    """One size and one seed of the sweep in a folder, which all who work on it must reach under the same path."""

    folder: str
    source: Source
    size: int
    seed: int

    @property
    def name(self) -> str:
        """Of its record and folder."""
        return cell_name(self.size, self.seed)

    def plain(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Cell":
        """From JSON."""
        held: dict[str, Any] = json.loads(text)
        return cls(**{**held, "source": Source(**held["source"])})


def work(cell: Cell, tell: Callable[[str, float], None] = lambda label, share: None) -> None:
    """Train and measure a cell, or go on with it where it was.

    Args:
        cell: Which.
        tell: Told what is being done, and the share that is done.

    Raises:
        InputError, OutputError, TrainingError: As `training.train`.
    """
    from geomem.jobs.sweep.measure import measured
    from geomem.jobs.train.run import MODEL, train_in
    from geomem.models.model import opened
    from geomem.training.images import divided, tensor_of

    sweep = Run.existing(cell.folder)
    if sweep.has(cell.name):
        return
    settings, data = SweepSettings.read(sweep.config), cell.source.read()
    if data.fingerprint() != settings.training.data[1]:
        raise InputError(
            f"{cell.source.path}: is not what it was when this sweep began; choose another folder with --out."
        )
    training = replace(settings.training, size=cell.size, seed=cell.seed, split_seed=cell.seed)
    folder = sweep.path / CELLS / cell.name
    result = train_in(folder, data, training, progress=lambda label, share: tell(label, share / 2))
    rows, apart = divided(data, cell.size, training.held_out, cell.seed)
    known, unseen = (tensor_of(data, index, training.shape) for index in (rows, apart))
    model = opened(folder / MODEL, data, scheduler=None, label=None, device=None)
    arrays = measured(
        model, known, unseen, settings, seed=cell.seed, tell=lambda share: tell("measuring", 0.5 + share / 2)
    )
    arrays.attrs = {
        "size": cell.size,
        "seed": cell.seed,
        "steps": training.steps,
        "parameters": model.parameters,
        "loss": list(result.summary["losses"].values())[-1],
    }
    sweep.save(cell.name, arrays)


def main(text: str) -> int:
    """Work on a cell as JSON has it; what went wrong goes to standard error, for whoever started the process."""
    _end_with_parent()
    told = 0.0

    def tell(label: str, share: float) -> None:
        nonlocal told
        if time.monotonic() - told > _WATCHED_SECONDS:
            told = time.monotonic()
            print(json.dumps([label, share]), flush=True)

    try:
        work(Cell.read(text), tell=tell)
    except GeomemError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """End with the process that started this one, even where that was killed: its next start takes the cell up again."""
    parent = int(os.environ.get(PARENT, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCHED_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
