"""The benchmarks run: on small data here, on 60,000 images by `make bench`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """Modules of the folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import growth
    import speed

    return speed, growth


@pytest.mark.parametrize("script", ["speed.py", "growth.py"])
def test_without_images_they_say_what_is_missing(script, tmp_path):
    done = subprocess.run(
        [sys.executable, FOLDER / script, "--data", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "has no train-images-idx3-ubyte.gz. Install dataset-fashion-mnist" in done.stderr
    assert "Traceback" not in done.stderr


def test_rivals_compute_the_score(scripts, generator):
    """Their errors are rounding at t = 1, so that times are of the same thing."""
    speed, _ = scripts
    y = torch.rand(500, 784, generator=generator)
    x = y[:8] + torch.randn(8, 784, generator=generator)
    expected = (torch.softmax(torch.cdist(x.double(), y.double()).square() / -2, 1) @ y.double() - x) / 1.0
    for rival in (speed.by_cdist, speed.by_attention, speed.by_broadcasting):
        assert float((rival(y, x, 1.0) - expected).norm() / expected.norm()) < 1e-4, rival.__name__


def test_aims_are_judged_by_what_was_measured(scripts):
    speed, _ = scripts

    def row(contestant, ratio, errors=None, **more):
        return {
            "floor": "dense",
            "what": "dense, t = 1",
            "contestant": contestant,
            "ratio": ratio,
            "errors": errors,
            **more,
        }

    rows = [row("geomem, dense float32", 1.0, (1e-7, 2e-5), share_of_peak=0.9), row("torch.cdist + softmax", 1.9)]
    found = {(against, what): (measured, word) for _, what, against, _, measured, word in speed.judged(rows)}
    assert found["share_of_peak", "dense, t = 1"] == ("0.9", "met")
    assert found["torch.cdist + softmax", "dense, t = 1"] == ("1.9", "missed")
    assert found["score", "float32, largest error"] == ("1e-07", "met")
    assert found["effective samples", "float32, largest error"] == ("2e-05", "missed")


def test_growth_measures_and_draws(scripts, generator, monkeypatch, tmp_path):
    _, growth = scripts
    monkeypatch.setattr(growth, "GRID", {"N": (100, 200), "d": (16,), "K": (8,), "t": (0.1,)})
    monkeypatch.setattr(growth, "BASE", {"N": 4000, "d": 784, "K": 4, "t": 1.0})
    monkeypatch.setattr(growth, "peak", lambda d: 1e11)
    monkeypatch.setattr(growth, "LARGE", 0)
    y = torch.rand(300, 784, generator=generator)
    growth.grow(y, tmp_path)
    found = json.loads((tmp_path / "growth.json").read_text())
    assert [r["over"] for r in found["rows"]] == ["N", "N", "d", "K", "t"]
    assert all(r["dense"] > 0 and r["chosen"] > 0 and r["model"] > 0 for r in found["rows"])
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    growth.stream(y, 25_000, tmp_path)
    streamed = json.loads((tmp_path / "stream.json").read_text())
    assert streamed["difference_from_float64"] < 1e-6
    assert not (tmp_path / "streamed.npy").exists()
