"""Data of a known law, audits of scores without their pages, and digits with a model of random weights, in files."""

import functools
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from closed_forms import audit, population, two_modes
from geomem.jobs.audit import job
from geomem.jobs.audit.findings import short_of
from geomem.jobs.audit.words import box_of
from geomem.page import Page
from geomem.scores import EmpiricalScore
from models import saved
from reference import digits


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """data.npy and held-out.npy of the law that `closed_forms.TRUTH` is the score of."""
    folder = tmp_path_factory.mktemp("closed")
    np.save(folder / "data.npy", population(0, 120))
    np.save(folder / "held-out.npy", population(1, 60))
    return folder


@pytest.fixture(scope="module")
def modes(tmp_path_factory):
    """data.npy and held-out.npy of the law that `closed_forms.TWO_MODES` is the score of."""
    folder = tmp_path_factory.mktemp("modes")
    np.save(folder / "data.npy", two_modes(0, 600))
    np.save(folder / "held-out.npy", two_modes(1, 600))
    return folder


@pytest.fixture(scope="module")
def empirical(folder):
    """The empirical score of data.npy."""
    return EmpiricalScore(torch.from_numpy(np.load(folder / "data.npy")).double())


@pytest.fixture(scope="module")
def no_pages():
    """Pages without sections: those have their own tests, and figures take longer than all else."""

    def page_of(run, records, numbers, findings):
        return Page(box_of(numbers), short_of(findings), [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "page_of", page_of)
        yield


@pytest.fixture(scope="module")
def audited(folder, no_pages, tmp_path_factory):
    """Audits a score; its summary and the run's folder. The same is made once."""

    @functools.cache
    def made(score, *, source=folder, again=0, **options):
        return audit(score, source, tmp_path_factory.mktemp("run"), **options)

    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.npy, held-out.npy and a model/ of random weights for them."""
    folder, images = tmp_path_factory.mktemp("made"), digits()
    np.save(folder / "data.npy", images[:60])
    np.save(folder / "held-out.npy", images[60:100])
    saved(folder / "model")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path
