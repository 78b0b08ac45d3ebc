"""The module of the kills, which the benchmarks share."""

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def kills() -> ModuleType:
    """`benchmarks/kills.py`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        import kills

        return kills


@pytest.fixture(scope="session")
def place(kills: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and a model for all jobs."""
    folder: Path = kills.inputs(tmp_path_factory.mktemp("jobs"))
    return folder
