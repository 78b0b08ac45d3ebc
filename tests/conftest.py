"""Shared set-up: no network, one thread, and a way past the shape checker."""

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jaxtyping
import numpy as np
import pytest
import torch
from filelock import FileLock
from matplotlib.figure import Figure
from PIL import Image

pytest.register_assert_rewrite("commands", "laws")
torch.set_num_threads(1)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of memorizing/ and generalizing/, which hold training.npy and model/, and of unseen.npy; trained once."""
    base = tmp_path_factory.getbasetemp()
    # Where several processes share the tests, whichever asks first trains for all.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reference"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            _train_reference(folder.with_name("reference.part"))
            folder.with_name("reference.part").rename(folder)
    return folder


def _train_reference(folder: Path) -> None:
    from reference import FEW, MANY, digits, trained

    images = digits()
    seen = images[-MANY:]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    np.save(folder / "unseen.npy", images[:-MANY])
    for name, count, steps in (("memorizing", FEW, 1500), ("generalizing", MANY, 600)):
        (folder / name).mkdir()
        np.save(folder / name / "training.npy", seen[:count])
        trained(seen[:count], folder / name / "model", steps=steps, seed=0)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of pages are made but not drawn, which takes longer than most of what the tests look at."""
    stream = io.BytesIO()
    Image.new("1", (1, 1)).save(stream, format="png")
    monkeypatch.setattr(Figure, "savefig", lambda self, out, **options: out.write(stream.getvalue()))


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Run as users do, also in `make typecheck`, so that wrong input meets the library's own checks."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
