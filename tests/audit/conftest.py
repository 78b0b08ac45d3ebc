"""Reference models of digits, trained once for all tests of an audit."""

from pathlib import Path

import numpy as np
import pytest

from reference import FEW, MANY, digits, trained


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of memorizing/ and generalizing/, which hold training.npy and model/, and of unseen.npy."""
    folder, images = tmp_path_factory.mktemp("reference"), digits()
    seen = images[-MANY:]
    np.save(folder / "unseen.npy", images[:-MANY])
    for name, count, steps in (("memorizing", FEW, 1500), ("generalizing", MANY, 600)):
        (folder / name).mkdir()
        np.save(folder / name / "training.npy", seen[:count])
        trained(seen[:count], folder / name / "model", steps=steps, seed=0)
    return folder
