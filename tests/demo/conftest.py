"""A quick demo, run once."""

from pathlib import Path

import pytest

from commands import geomem


@pytest.fixture(scope="session")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick demo that nothing disturbed, beside what it printed; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("straight")
    result = geomem("demo", "--quick", "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    (folder / "stdout").write_text(result.stdout)
    return folder / "run"
