"""What `geomem audit` refuses, and how: one line, exit code 2, and nothing is written."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file

from closed_forms import TRUTH
from geomem.cli import main
from geomem.errors import InputError, OutputError
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.engine import run
from geomem.scores import GaussianScore
from models import edited, saved, unet
from reference import digits

IMAGES = digits()
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
AUDIT = ["audit", "model", "--trained-on", "data.npy", "--held-out", "held-out.npy", "--quick", "--out", "run"]


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
    for name in ("data", "held-out"):
        np.save(here / f"{name}.npy", np.pad(np.load(here / f"{name}.npy"), ((0, 0), (1, 1), (1, 1))))


def coloured(here: Path) -> None:
    for name in ("data", "held-out"):
        np.save(here / f"{name}.npy", np.repeat(np.load(here / f"{name}.npy")[..., None], 3, -1))


def gray_for_colour(here: Path) -> None:
    shutil.rmtree(here / "model")
    saved(here / "model", unet(in_channels=3, out_channels=3))


def from_zero_to_one(here: Path) -> None:
    for name in ("data", "held-out"):
        np.save(here / f"{name}.npy", np.load(here / f"{name}.npy").astype(np.float32) / 255)


def conditional(here: Path) -> None:
    shutil.rmtree(here / "model")
    saved(here / "model", unet(num_class_embeds=3))


def shared(here: Path) -> None:
    np.save(here / "held-out.npy", IMAGES[58:100])


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
    "a control that was trained on": (shared, [], ["--held-out", "2 of the 42", "must not have been trained on"]),
    "more directions than there are": (
        nothing,
        ["--probe", "orthonormal", "--directions", "65"],
        ["--directions", "64", "65"],
    ),
    "one direction": (nothing, ["--directions", "1"], ["--directions", "at least 2"]),
    "directions of another probe": (nothing, ["--directions", "4", "--probe", "antithetic"], ["--probe"]),
    "directions without a probe": (nothing, ["--directions", "4"], ["--directions", "--probe orthonormal"]),
    "a preset without a probe": (nothing, ["--preset", "mnist"], ["--preset", "--probe"]),
    "an unknown preset": (nothing, ["--preset", "imagenet"], ["--preset", "'imagenet'", "mnist, cifar10, celeba"]),
    "an unknown probe": (nothing, ["--probe", "guess"], ["--probe", "'guess'", "orthonormal"]),
    "too little memory": (nothing, ["--memory", "1e-6"], ["memory", "MiB", "increase it"]),
    "no memory": (nothing, ["--memory", "0"], ["--memory", "above 0"]),
    "one point": (nothing, ["--points", "1"], ["--points", "at least 2"]),
    "one sample": (nothing, ["--draws", "1"], ["--draws"]),
    "a time out of reach": (nothing, ["--times", "0.1,1e9"], ["--times", "out of reach"]),
    "a time below nothing": (nothing, ["--times", "-1"], ["--times"]),
    "an unknown device": (nothing, ["--device", "abacus"], ["--device", "'abacus'"]),
    "a scheduler that is nowhere": (nothing, ["--scheduler", "nowhere"], ["nowhere", "scheduler_config.json"]),
}


def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The message of a command that is refused."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with pytest.raises(SystemExit) as stop:
        main(arguments)
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
    message = refused(capsys, monkeypatch, "audit", "hf:nobody/nothing", "--trained-on", "data.npy", "--out", "run")
    for word in ("hf:nobody/nothing", "could not be downloaded", "hub"):
        assert word in message


def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, "audit", "nobody/nothing", "--trained-on", "data.npy", "--out", "run")
    assert "nobody/nothing: does not exist; a model of the hub is written hf:nobody/nothing" in message


@pytest.mark.parametrize("more", [["--probe", "orthonormal"], ["--samples", "data.npy"], ["--draws", "4"]])
def test_what_needs_training_data_is_refused_without_them(more, here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, "audit", "model", "--held-out", "held-out.npy", *more, "--out", "run")
    assert more[0] in message
    assert "--trained-on" in message


def test_some_data_must_be_given(here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, "audit", "model", "--out", "run")
    assert "--trained-on, --held-out" in message


def test_samples_are_not_drawn_where_some_are_given(here, capsys, monkeypatch):
    message = refused(capsys, monkeypatch, *AUDIT, "--samples", "data.npy", "--draws", "4")
    assert "--samples" in message


def test_a_folder_of_something_else_is_kept(here, capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    (here / "run").mkdir()
    (here / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit) as stop:
        main(AUDIT)
    assert stop.value.code == 3
    assert "not a geomem run" in capsys.readouterr().err
    assert [p.name for p in (here / "run").iterdir()] == ["thesis.txt"]


def test_another_model_under_the_same_name_is_another_run(folder, no_pages, tmp_path):
    asked = {"trained_on": folder / "data.npy", "points": 2, "draws": 0, "times": (0.1,), "quick": True}
    run(AuditRequest(model=TRUTH, **asked), out=tmp_path)
    with pytest.raises(OutputError, match="holds another run"):
        run(AuditRequest(model=GaussianScore(2 * TRUTH.variances, shape=TRUTH.shape), **asked), out=tmp_path)


def test_a_score_given_in_python_stays_in_this_process(folder, tmp_path):
    asked = {"trained_on": folder / "data.npy", "points": 10, "draws": 0, "times": (0.1,), "quick": True}
    request = AuditRequest(model=TRUTH, probe="orthonormal", **asked)
    assert not request.portable
    with pytest.raises(InputError, match="stays in this process"):
        run(request, out=tmp_path / "run", workers=2)
    with pytest.raises(InputError, match="bind them in the score"):
        AuditRequest(model=TRUTH, trained_on="data.npy", label=1)
    again = AuditRequest.read({"model": "<GaussianScore>", "trained_on": "data.npy", "points": 2}).command_line(
        "geomem audit"
    )
    assert again == "geomem.run(AuditRequest(model=<GaussianScore>, trained_on='data.npy', points=2), out='')"
