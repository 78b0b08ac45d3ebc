"""One finished run, shared by the tests of what it holds."""

from pathlib import Path

import numpy as np
import pytest

from commands import geomem
from data.data_inputs import ROWS, save_images


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run on a folder of images, with samples of which a third are noisy copies."""
    folder = tmp_path_factory.mktemp("straight")
    save_images(folder / "real", ROWS[:150])
    noise = np.random.default_rng(0).normal(0, 3, (20, 8, 8))
    copies = (ROWS[:20] + noise).clip(0, 255).astype(np.uint8)
    save_images(folder / "made", np.concatenate([ROWS[150:190], copies]))
    result = geomem("data", "real", "--samples", "made", "--quick", "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    assert "index.html" in result.stdout
    return folder / "run"
