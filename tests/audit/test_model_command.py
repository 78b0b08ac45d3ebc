"""`geomem audit --model`: what it refuses and how, what it says, and that nothing is computed twice."""

import json
import shutil
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from commands import geomem, stopped
from geomem.cli import main
from models import edited, saved, unet
from reference import digits

IMAGES = digits()
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
AUDIT = ["audit", "data.npy", "--model", "model", "--control", "unseen.npy", "--quick", "--out", "run"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.npy, unseen.npy and a model/ of random weights for them."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "data.npy", IMAGES[:60])
    np.save(folder / "unseen.npy", IMAGES[60:100])
    saved(folder / "model")
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- refusals ---


def no_weights(here: Path) -> None:
    (here / "model" / WEIGHTS).unlink()


def cut_short(here: Path) -> None:
    path = here / "model" / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def pickled(here: Path) -> None:
    torch.save(load_file(here / "model" / WEIGHTS), here / "model" / "unet" / "diffusion_pytorch_model.bin")
    no_weights(here)


def not_a_number(here: Path) -> None:
    weights = load_file(here / "model" / WEIGHTS)
    weights["conv_in.weight"][0] = float("nan")
    save_file(weights, here / "model" / WEIGHTS, metadata={"format": "pt"})


def unknown_scheduler(here: Path) -> None:
    edited(here / "model" / "scheduler" / "scheduler_config.json", _class_name="MyScheduler")


def other_steps(here: Path) -> None:
    shutil.rmtree(here / "model")
    learned = unet(time_embedding_type="learned", num_train_timesteps=1000)
    saved(here / "model", learned, DDPMScheduler(num_train_timesteps=500))


def large(here: Path) -> None:
    for name in ("data", "unseen"):
        np.save(here / f"{name}.npy", np.pad(np.load(here / f"{name}.npy"), ((0, 0), (1, 1), (1, 1))))


def coloured(here: Path) -> None:
    for name in ("data", "unseen"):
        np.save(here / f"{name}.npy", np.repeat(np.load(here / f"{name}.npy")[..., None], 3, -1))


def gray_for_colour(here: Path) -> None:
    shutil.rmtree(here / "model")
    saved(here / "model", unet(in_channels=3, out_channels=3))


def from_zero_to_one(here: Path) -> None:
    for name in ("data", "unseen"):
        np.save(here / f"{name}.npy", np.load(here / f"{name}.npy").astype(np.float32) / 255)


def conditional(here: Path) -> None:
    shutil.rmtree(here / "model")
    saved(here / "model", unet(num_class_embeds=3))


def shared(here: Path) -> None:
    np.save(here / "unseen.npy", IMAGES[58:100])


def nothing(here: Path) -> None:
    pass


REFUSED = {
    "no weights": (no_weights, [], ["has no weights", "save the model again"]),
    "weights cut short": (cut_short, [], ["damaged or cut short"]),
    "a pickle": (pickled, [], ["is a pickle", "safetensors are needed", "python -c"]),
    "weights that are no numbers": (not_a_number, [], ["not finite", "damaged"]),
    "an unknown scheduler": (unknown_scheduler, [], ["MyScheduler"]),
    "a scheduler of other steps": (other_steps, [], ["500 steps", "1,000", "scheduler"]),
    "larger images": (large, [], ["1x8x8", "(10, 10)", "--size 8", "--mode gray"]),
    "colour images": (coloured, [], ["1x8x8", "(8, 8, 3)", "--mode gray"]),
    "gray images": (gray_for_colour, [], ["3x8x8", "(8, 8)", "--mode rgb"]),
    "floats from 0 to 1": (from_zero_to_one, [], ["-1 to 1", "0 to 1", "uint8"]),
    "no class": (conditional, [], ["class-conditional", "--label", "0 to 2"]),
    "a class that is not there": (conditional, ["--label", "3"], ["0 to 2", "got 3"]),
    "a class for none": (nothing, ["--label", "1"], ["no classes"]),
    "a control that was trained on": (shared, [], ["--control", "2 of the 42", "must not have been trained on"]),
    "more directions than there are": (nothing, ["--directions", "65"], ["--directions", "64", "65"]),
    "one direction": (nothing, ["--directions", "1"], ["--directions", "at least 2"]),
    "directions of another probe": (nothing, ["--directions", "4", "--probe", "antithetic"], ["--probe"]),
    "an unknown preset": (nothing, ["--preset", "imagenet"], ["--preset", "'imagenet'", "mnist, cifar10, celeba"]),
    "an unknown probe": (nothing, ["--probe", "guess"], ["--probe", "'guess'", "orthonormal"]),
    "too little memory": (nothing, ["--memory", "1e-6"], ["memory", "MiB", "allow more"]),
    "no memory": (nothing, ["--memory", "0"], ["--memory", "above 0"]),
    "one point": (nothing, ["--points", "1"], ["--points", "at least 2"]),
    "one sample": (nothing, ["--draws", "1"], ["--draws"]),
    "a time out of reach": (nothing, ["--times", "0.1,1e9"], ["--times", "out of reach"]),
    "a time below nothing": (nothing, ["--times", "-1"], ["--times"]),
    "an unknown device": (nothing, ["--device", "abacus"], ["--device", "'abacus'"]),
    "a scheduler that is nowhere": (nothing, ["--scheduler", "nowhere"], ["nowhere", "scheduler_config.json"]),
}


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The message of a command that is refused: one line, exit code 2, and no folder of a run."""
    monkeypatch.setattr(sys, "argv", ["geomem", *arguments])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == 2, said.err
    assert said.out == ""
    assert said.err.startswith("geomem: error: ")
    assert said.err.count("\n") == 1, said.err
    assert not Path("run").exists()
    assert not Path("geomem-audit").exists()
    return said.err


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_written(name, here, capsys, monkeypatch):
    spoil, options, words = REFUSED[name]
    spoil(here)
    message = refused(capsys, monkeypatch, *AUDIT, *options)
    for word in words:
        assert word in message


def test_a_model_of_the_hub_needs_a_network(here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, "audit", "data.npy", "--model", "nobody/nothing", "--quick", "--out", "run")
    for word in ("nobody/nothing", "no folder here", "hub"):
        assert word in message


ALONE = {"scheduler": "x", "label": "1", "points": "4", "times": "0.1", "preset": "mnist", "probe": "exact"}
ALONE |= {"directions": "4", "draws": "4", "memory": "1", "device": "cpu"}


@pytest.mark.parametrize("name", ALONE)
def test_options_of_a_model_need_one(name, here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, "audit", "data.npy", "--quick", "--out", "run", f"--{name}", ALONE[name])
    assert f"--{name}" in message
    assert "--model" in message


def test_a_refusal_of_the_command_itself(here):
    cut_short(here)
    result = geomem(*AUDIT, cwd=here)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr
    assert not (here / "run").exists()


def test_a_folder_of_something_else_is_kept(here, capsys, monkeypatch):
    (here / "run").mkdir()
    (here / "run" / "thesis.txt").write_text("years of work")
    monkeypatch.setattr(sys, "argv", ["geomem", *AUDIT])
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 3
    assert "not a geomem run" in capsys.readouterr().err
    assert [p.name for p in (here / "run").iterdir()] == ["thesis.txt"]


# --- what it says and leaves ---

LONG = ["--points", "8", "--draws", "8", "--times", "0.03:3:3"]


def stages(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def straight(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict]:
    """Folder, standard error and JSON of an audit that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    result = geomem(*AUDIT, *LONG, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run", result.stderr, json.loads(result.stdout)


def test_json_holds_the_verdict(straight):
    run, _, printed = straight
    assert printed["model"]["word"] in ("memorizing", "generalizing", "losing dimensions", "undecided")
    assert printed["page"] == str(run / "index.html")
    del printed["page"]
    assert printed == json.loads((run / "summary.json").read_text())


def test_cost_is_said_before_the_spectra_begin(straight):
    run, said, _ = straight
    lines = said.splitlines()
    (cost,) = [i for i, line in enumerate(lines) if "spectra of the model: 16 images at 3 noise levels" in line]
    assert lines[cost].endswith("Interrupted, they go on where they were.")
    assert "about" in lines[cost]
    (begun,) = [i for i, line in enumerate(lines) if "spectra of the model, 0% done" in line]
    assert cost < begun
    names = [line["stage"] for line in stages(run)]
    assert names.index("cost") < min(i for i, name in enumerate(names) if name.startswith(("model_", "empirical_")))
    (counted,) = [line for line in stages(run) if line["stage"] == "cost"]
    assert counted["scores"] == 16 * 3 * (2 * 64 + 17)


def test_cost_is_about_what_the_spectra_took(here):
    """Of a network that takes long enough for its evaluations to count."""
    shutil.rmtree(here / "model")
    saved(here / "model", unet(block_out_channels=(64, 128), norm_num_groups=8))
    options = ["--points", "3", "--draws", "0", "--times", "0.1,0.3"]
    result = geomem(*AUDIT, *options, cwd=here)
    assert result.returncode == 0, result.stderr
    (counted,) = [line for line in stages(here / "run") if line["stage"] == "cost"]
    took = sum(line["seconds"] for line in stages(here / "run") if line["stage"].startswith(("model_", "empirical_")))
    assert took / 4 < counted["seconds"] < took * 4


def test_report_draws_the_audit_of_a_model_again_without_the_model(straight, tmp_path):
    run, _, _ = straight
    shutil.copytree(run, tmp_path / "run")
    drawn = [*(tmp_path / "run").glob("*.png"), tmp_path / "run" / "index.html", tmp_path / "run" / "summary.json"]
    for path in drawn:
        path.unlink()
    result = geomem("report", "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for path in drawn:
        assert path.read_bytes() == (run / path.name).read_bytes()


def alike(first: object, second: object) -> bool:
    """Equal up to the rounding of float32."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(alike(first[k], second[k]) for k in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(alike(a, b) for a, b in zip(first, second, strict=True))
    if isinstance(first, float) and isinstance(second, float):
        return first == pytest.approx(second, rel=1e-4, abs=1e-6)
    return first == second


def test_killed_between_points_it_computes_none_again(straight, here):
    run = here / "run"

    def pieces() -> dict[str, int]:
        return {path.stem: path.stat().st_mtime_ns for path in run.glob("model_*.nc")}

    code, said = stopped(*AUDIT, *LONG, cwd=here, when=lambda: len(pieces()) >= 3, by=signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    before, logged = pieces(), [line["stage"] for line in stages(run)]
    assert 3 <= len(before) < 14
    assert not (run / "index.html").exists()
    code, said = stopped(*AUDIT, *LONG, cwd=here, when=lambda: len(pieces()) >= len(before) + 2, by=signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    after = pieces()
    assert before.items() <= after.items()
    result = geomem(*AUDIT, *LONG, cwd=here)
    assert result.returncode == 0, result.stderr
    assert "spectra of the empirical score" not in result.stderr
    names = [line["stage"] for line in stages(run) if line["stage"].startswith("model_")]
    # One that was saved when the process was killed may not have been logged.
    assert len(set(names)) == len(names) >= 14
    assert set(before) & set(names) <= set(logged)
    assert not list(run.glob("model_*.nc"))
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (run, straight[0])]
    assert alike(*summaries)
