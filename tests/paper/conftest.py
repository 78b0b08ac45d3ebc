"""All experiments at tiny settings, and the records of one run of each, made once for all processes."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from paper.tiny import TINY, make_tiny, reproduce


@pytest.fixture
def tiny_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    """`EXPERIMENTS` with tiny settings as the quick ones."""
    make_tiny(monkeypatch)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one tiny run of every experiment, which no test changes."""
    base = tmp_path_factory.getbasetemp()
    # Where several processes share the tests, whichever comes first runs the experiments for all.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "gallery"
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patch:
        if not folder.exists():
            make_tiny(patch)
            unfinished = folder.with_name("gallery.part")
            for name in TINY:
                reproduce(name, out=unfinished / name)
            unfinished.rename(folder)
    return folder


@pytest.fixture
def runs(gallery: Path, tmp_path: Path) -> Path:
    """The same runs in a folder of the test's own, named gallery."""
    return shutil.copytree(gallery, tmp_path / "gallery")
