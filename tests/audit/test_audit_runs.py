"""Runs of an audit: what it says, that nothing is computed twice, and that records do not depend on where they were made."""

import json
import shutil
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from closed_forms import record
from commands import geomem, stopped
from geomem.cli import main
from geomem.jobs.audit import job, work
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run
from geomem.models import load
from models import saved, unet

AUDIT = ["audit", "model", "--trained-on", "data.npy", "--held-out", "held-out.npy", "--quick", "--out", "run"]
LONG = ["--points", "24", "--draws", "20", "--times", "0.03:3:3", "--probe", "orthonormal"]
RECORDS = ("duplicates", "points", "drawn", "copies", "screened", "chosen", "closer")
SPECTRA = ("empirical", "model")


@pytest.fixture
def here(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    return here


def logged(folder: Path) -> list[str]:
    return [json.loads(line)["part"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_json_holds_the_verdict(here, capsys, no_pages):
    main([*AUDIT, "--points", "3", "--draws", "3", "--times", "0.1", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"]["word"] in ("memorizing", "generalizing", "losing dimensions", "overfitting", "undecided")
    assert printed.pop("page") == str(here / "run" / "index.html")
    assert printed.pop("folder") == str(here / "run")
    assert printed == json.loads((here / "run" / "summary.json").read_text())


def test_a_long_audit_says_its_cost_before_it_begins(here, capsys, no_pages, monkeypatch):
    monkeypatch.setattr(work, "_ANNOUNCED", 0.0)
    main([*AUDIT, "--points", "3", "--draws", "3", "--times", "0.1"])
    lines = capsys.readouterr().err.splitlines()
    (cost,) = [i for i, line in enumerate(lines) if "evaluations of the model" in line]
    assert "ms each" in lines[cost]
    assert "about" in lines[cost]
    assert cost < min(i for i, line in enumerate(lines) if "screening images" in line)
    names = logged(here / "run")
    assert names.index("cost") < min(i for i, name in enumerate(names) if name.startswith("screened_"))


def test_evaluations_are_counted_as_they_are_made(here, no_pages, monkeypatch):
    """All of them: screening, the closer look with its backward passes, samples, and whole spectra."""
    counted = 0
    forward, backward = torch.nn.Module.__call__, torch.autograd.grad

    def count(module, *given, **named):
        nonlocal counted
        counted += len(given[0]) if counting and type(module).__name__ == "_Network" else 0
        return forward(module, *given, **named)

    def count_back(outputs, inputs, *given, **named):
        nonlocal counted
        counted += len(inputs) if counting else 0
        return backward(outputs, inputs, *given, **named)

    monkeypatch.setattr(torch.nn.Module, "__call__", count)
    monkeypatch.setattr(torch.autograd, "grad", count_back)
    for options in ({"directions": 9, "quick": False, "probe": "orthonormal"}, {"probe": "antithetic"}, {}):
        counting, counted = False, 0
        original = work.Work.cost

        def cost(self, original=original):
            nonlocal counting
            made = original(self)
            counting = True
            return made

        monkeypatch.setattr(work.Work, "cost", cost)
        asked = {"model": "model", "trained_on": "data.npy", "held_out": "held-out.npy", "quick": True}
        asked |= {"points": 2, "draws": 3, "times": (0.1, 0.5), **options}
        result = run(AuditRequest(**asked), out=here / f"run{len(options)}{'probe' in options}")
        monkeypatch.setattr(work.Work, "cost", original)
        # Which principal axes matter is known once the reference t is: all are counted. One evaluation finds the batch that fits.
        assert 0.98 * counted - 2 <= result.summary["cost"]["evaluations"] <= 1.1 * counted


@pytest.mark.parametrize("form", ["array", "channels first", "folder"])
def test_colour_images_meet_a_model_of_three_channels(form, tmp_path, no_pages):
    def colour(n, seed):
        return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)

    names = {}
    for name, images in (("data", colour(50, 0)), ("unseen", colour(20, 1))):
        names[name] = tmp_path / f"{name}.npy"
        if form == "folder":
            names[name] = tmp_path / name
            names[name].mkdir()
            for i, image in enumerate(images):
                Image.fromarray(image).save(names[name] / f"{i:02}.png")
        else:
            np.save(names[name], images if form == "array" else images.transpose(0, 3, 1, 2))
    folder = saved(tmp_path / "model", unet(in_channels=3, out_channels=3))
    asked = {"points": 2, "draws": 3, "times": (0.1,), "quick": True}
    run(
        AuditRequest(model=folder, trained_on=names["data"], held_out=names["unseen"], **asked),
        out=tmp_path / "run",
    )
    chosen = record(tmp_path / "run", "points")
    for name, images in (("training", colour(50, 0)), ("held-out", colour(20, 1))):
        at = chosen.sel(set=name)
        expected = images[at["row"].values].transpose(0, 3, 1, 2) / 127.5 - 1
        np.testing.assert_allclose(at["picture"].values, expected.reshape(2, -1), atol=1e-6)
    samples = record(tmp_path / "run", "drawn")["image"].values.reshape(3, 3, 8, 8)
    data = colour(50, 0) / 127.5 - 1
    shown = samples if form == "channels first" else samples.transpose(0, 2, 3, 1)
    data = data.transpose(0, 3, 1, 2) if form == "channels first" else data
    nearest = np.linalg.norm((shown[:, None] - data).reshape(3, 50, -1), axis=-1).min(1)
    np.testing.assert_allclose(record(tmp_path / "run", "copies")["distance"].values[:, 0], nearest, rtol=1e-5)


def test_a_class_conditional_model_is_evaluated_for_its_class(tmp_path, no_pages):
    for name, seed, n in (("data", 0, 50), ("held-out", 1, 20)):
        images = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)
        np.save(tmp_path / f"{name}.npy", images)
    folder = saved(tmp_path / "model", unet(num_class_embeds=3))
    pulls = {}
    for label in (0, 2):
        asked = {"points": 2, "draws": 0, "times": (0.1,), "directions": 8, "quick": True, "label": label}
        asked["probe"] = "orthonormal"
        out = tmp_path / str(label)
        data = {"trained_on": tmp_path / "data.npy", "held_out": tmp_path / "held-out.npy"}
        run(AuditRequest(model=folder, **data, **asked), out=out)
        seen, looked = record(out, "model").isel(score=0), record(out, "points")
        x = torch.from_numpy(looked["picture"].values).float().reshape(2, 2, 1, 8, 8)
        t = float(seen["t"][0])
        with torch.no_grad():
            pull = t * load(folder, label=label)(x, t).square().flatten(2).sum(-1)
        np.testing.assert_allclose(seen["pull"][..., 0], pull.numpy(), rtol=1e-4)
        pulls[label] = pull
        assert json.loads((out / "config.json").read_text())["label"] == label
    assert not torch.allclose(pulls[0], pulls[2])


def test_an_interrupted_run_resumes_between_parts(here, no_pages):
    request = AuditRequest(
        model="model", trained_on="data.npy", held_out="held-out.npy", points=12, draws=20, times=(0.1,), quick=True
    )

    def stop(label, share):
        if "drawing samples · 20" in label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(request, out="run", progress=stop)
    assert (here / "run" / "drawn_0.nc").exists()
    run(request, out="run")
    run(request, out="straight")
    for name in RECORDS:
        xr.testing.assert_equal(record(here / "run", name), record(here / "straight", name))


@pytest.fixture(scope="module")
def straight(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of an audit in one process that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    result = geomem(*AUDIT, *LONG, "--workers", "1", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


@pytest.mark.slow
def test_records_have_the_same_bits_in_two_processes(straight, here):
    result = geomem(*AUDIT, *LONG, "--workers", "2", cwd=here)
    assert result.returncode == 0, result.stderr
    for name in RECORDS + SPECTRA:
        xr.testing.assert_equal(record(here / "run", name), record(straight, name))


@pytest.mark.slow
def test_killed_between_parts_it_computes_none_again(straight, here):
    folder = here / "run"

    def parts() -> dict[str, int]:
        return {path.stem: path.stat().st_mtime_ns for path in folder.glob("model_*.nc")}

    code, said = stopped(*AUDIT, *LONG, cwd=here, when=lambda: len(parts()) >= 1, by=signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    before = parts()
    assert 1 <= len(before) < 3
    assert not (folder / "index.html").exists()
    result = geomem(*AUDIT, *LONG, cwd=here)
    assert result.returncode == 0, result.stderr
    assert "spectra of the empirical score" not in result.stderr
    names = [name for name in logged(folder) if name.startswith("model_")]
    assert len(set(names)) == len(names)
    assert not list(folder.glob("model_*.nc"))
    for name in RECORDS + SPECTRA:
        xr.testing.assert_equal(record(folder, name), record(straight, name))


def test_the_default_folder_is_named_after_the_model(tmp_path):
    request = AuditRequest(model=str(tmp_path), trained_on="data.npy")
    assert job.AuditJob().folder(request) == f"{tmp_path.parent.name}-{tmp_path.name}".replace("_", "-")
    assert job.AuditJob().folder(AuditRequest(model="google/ddpm", trained_on="digits")) == "google-ddpm"
