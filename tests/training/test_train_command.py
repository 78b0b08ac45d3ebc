"""`geomem train` as its users meet it: what it leaves and says."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import inputs
from geomem.data import load as load_images
from geomem.jobs.again import redraw
from geomem.jobs.engine import run
from geomem.jobs.train.request import TrainRequest
from geomem.models import load
from geomem.records import Run
from geomem.training import run as runs
from geomem.training.loop import TrainingStep
from training.folders import QUICK, pictures, quick, state_of


def test_a_training_leaves_a_model_its_images_and_its_numbers(command, tmp_path):
    code, out, err = command("train", "digits", *QUICK, "--limit", "50", "--hold-out", "20", "--out", "run")
    assert code == 0, err
    folder = tmp_path / "run"
    assert {p.name for p in folder.iterdir()} == {
        "config.json", "environment.json", "metrics.jsonl", "checkpoint.safetensors", "model", "training.npy", "held-out.npy",
        "losses.nc", "summary.json", "manifest.txt",
    }  # fmt: skip
    assert "mlp trained on 50 of 1,797 images of" in out
    assert "Audit it:\ngeomem audit" in out
    assert str(folder / "model") in out
    assert "training" in err
    seen, unseen = (np.load(folder / f"{name}.npy") for name in ("training", "held-out"))
    data = load_images("digits")
    assert (seen.shape, unseen.shape, seen.dtype) == ((50, 8, 8), (20, 8, 8), data.values.dtype)
    all_ = {image.tobytes() for image in data.values}
    first, second = ({image.tobytes() for image in images} for images in (seen, unseen))
    assert (len(first), len(second)) == (50, 20)
    assert first | second <= all_
    assert not first & second
    # The model is the average that the checkpoint holds.
    score = load(folder / "model")
    _, tensors = state_of(folder)
    unet = dict(score.module.network.named_parameters())
    assert all(torch.equal(unet[k.removeprefix("average/")], v) for k, v in tensors.items() if k.startswith("average/"))


def test_the_log_says_loss_and_speed_of_every_step(command, tmp_path, monkeypatch):
    """Of a clock that moves by a quarter of a second each time it is asked: 4 images in one or two quarters."""
    now = iter(np.arange(0, 1e6, 0.25))
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    code, out, _ = command("train", "digits", *QUICK, "--out", "run", "--json")
    assert code == 0
    shown = json.loads(out)
    lines = Run.existing("run").metrics()
    assert lines[0].keys() == {"time", "step", "commit"}
    lines = [line for line in lines if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert [line["learning_rate"] for line in lines] == pytest.approx([5e-4 * k / 200 for k in range(1, 7)])
    for line in lines:
        assert line.keys() == {"time", "step", "loss", "samples_per_second", "learning_rate"}
        assert 4 / line["samples_per_second"] in (0.25, 0.5, 0.75, 1.0)
        assert 0 < line["loss"] < 10
    assert shown["losses"] == {str(line["step"]): line["loss"] for line in lines}
    assert (shown["model"], shown["settings"]["steps"]) == (str(tmp_path / "run" / "model"), 6)
    assert f"loss {lines[0]['loss']:.4f} at first, {lines[-1]['loss']:.4f} at last" in shown["short"][0]


def test_the_log_of_a_long_run_has_means_over_a_two_hundredth(tmp_path, monkeypatch):
    """Of 800 steps, 200 lines of four each."""

    def counted(state, objective):
        while state.step < state.settings.steps:
            state.step += 1
            yield TrainingStep(state.step, (float(state.step),), 1.0, 1e-3)

    monkeypatch.setattr(runs, "steps", counted)
    run(TrainRequest("digits", preset="mlp", steps=800), out=tmp_path / "run")
    lines = [line for line in Run.existing(tmp_path / "run").metrics() if "loss" in line]
    record = Run.existing(tmp_path / "run").load("losses")
    assert record["step"].values.tolist() == [line["step"] for line in lines]
    assert record["loss"].values.tolist() == [line["loss"] for line in lines]
    assert [line["step"] for line in lines] == list(range(4, 801, 4))
    assert [line["loss"] for line in lines] == [s - 1.5 for s in range(4, 801, 4)]


def test_a_folder_of_one_s_own_by_what_was_asked(command, tmp_path):
    for seed in ("0", "1", "0"):
        code, _, err = command("train", "digits", *quick("--steps", "1"), "--seed", seed)
        assert code == 0, err
    folders = sorted((tmp_path / "geomem-train").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("digits-mlp-") for folder in folders)


def test_all_images_are_trained_on_where_nothing_else_is_asked(command, tmp_path):
    """Equal ones too, each as often as it is there; a part has none twice, and none that is held out."""
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8), 3, axis=0)
    np.save("images.npy", images)
    code, _, err = command("train", "images.npy", *QUICK, "--out", "all")
    assert code == 0, err
    assert Run.existing("all").config["settings"]["size"] == 18
    assert not (tmp_path / "all" / "training.npy").exists()
    audit = json.loads((tmp_path / "all" / "summary.json").read_text())["next"]
    assert audit == f"Audit it:\ngeomem audit {tmp_path / 'all' / 'model'} --trained-on images.npy"
    code, _, err = command("train", "images.npy", *QUICK, "--hold-out", "2", "--out", "some")
    assert code == 0, err
    seen, unseen = (np.load(tmp_path / "some" / f"{name}.npy") for name in ("training", "held-out"))
    assert len({image.tobytes() for image in [*seen, *unseen]}) == 6
    assert (len(seen), len(unseen), seen.dtype) == (4, 2, np.uint8)


def test_subsets_are_nested_and_held_out_images_stay(tmp_path):
    found = {}
    for size in (10, 40):
        folder = run(TrainRequest("digits", 15, 2, preset="mlp", steps=1, limit=size), out=tmp_path / str(size)).folder
        found[size] = [np.load(folder / f"{name}.npy") for name in ("training", "held-out")]
    assert np.array_equal(found[10][0], found[40][0][:10])
    assert np.array_equal(found[10][1], found[40][1])


def test_colour_images_are_trained_on_with_channels_first(command, tmp_path):
    pictures(tmp_path / "images.npy", (20, 6, 4, 3))
    code, _, err = command(
        "train", "images.npy", "--preset", "small-unet", "--noise-process", "ve", *QUICK[2:], "--out", "run"
    )
    assert code == 0, err
    assert load(tmp_path / "run" / "model").shape == (3, 6, 4)


def test_data_are_read_as_asked(command, tmp_path):
    """Files cut to a square of 8 pixels, in gray; one array of several; as many as --limit says, which --size does not."""
    rng = np.random.default_rng(0)
    inputs.pictures(
        tmp_path / "photos", **{f"p{i}": rng.integers(0, 256, (12, 10, 3), dtype=np.uint8) for i in range(9)}
    )
    asked = ["--size", "8", "--mode", "gray", "--limit", "5"]
    code, _, err = command("train", "photos", *QUICK, *asked, "--out", "run")
    assert code == 0, err
    assert load(tmp_path / "run" / "model").shape == (1, 8, 8)
    assert np.load(tmp_path / "run" / "training.npy").shape == (5, 8, 8)
    np.savez(tmp_path / "two.npz", a=rng.integers(0, 256, (6, 4, 4), dtype=np.uint8), b=np.zeros((6, 5, 5), np.uint8))
    code, _, err = command("train", "two.npz", *QUICK, "--array", "a", "--out", "of-a")
    assert code == 0, err
    # The audit reads them alike.
    assert json.loads((tmp_path / "of-a" / "summary.json").read_text())["next"].endswith("two.npz --array a")
    assert load(tmp_path / "of-a" / "model").shape == (1, 4, 4)


def test_tensorboard_is_told_what_the_log_says(command, tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    code, _, err = command("train", "digits", *QUICK, "--out", "run", "--tracker", "tensorboard")
    assert code == 0, err
    told = {}
    for path in (tmp_path / "run").rglob("events.out.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                told[value.tag, event.step] = (
                    value.tensor.float_val[0] if value.tensor.float_val else value.simple_value
                )
    for line in [line for line in Run.existing(tmp_path / "run").metrics() if "loss" in line]:
        assert told["loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)
        assert told["samples_per_second", line["step"]] == pytest.approx(line["samples_per_second"], rel=1e-6)


def test_a_tracker_writes_into_the_run_s_folder_wherever_that_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = run(TrainRequest("digits", preset="mlp", steps=1, tracker="tensorboard"), out="~/run").folder
    assert folder == tmp_path / "run"
    assert list(folder.rglob("events.out.tfevents.*"))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_help_imports_neither_torch_nor_diffusers():
    script = (
        "import sys; sys.argv = ['geomem', 'train', '--help']\n"
        "from geomem.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert not ended.code\n"
        "print({'torch', 'diffusers', 'accelerate', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for word in ("--preset", "--hold-out", "--noise-process", "--precision", "torchrun"):
        assert word in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_finished_run_without_its_log_has_its_record(command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    first = json.loads((tmp_path / "run" / "summary.json").read_text())
    (tmp_path / "run" / "metrics.jsonl").unlink()
    code, out, _ = command(*asked)
    assert code == 0
    assert str(tmp_path / "run" / "model") in out
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == first
    # Of a model alone there are no losses, and that is no error.
    Run.existing("run").remove("losses")
    assert command(*asked)[0] == 0
    assert redraw("run").summary["losses"] == {}


def test_a_model_that_was_deleted_is_made_again_from_the_checkpoint(command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    weights = next((tmp_path / "run" / "model").rglob("*.safetensors"))
    before = weights.read_bytes()
    shutil.rmtree(tmp_path / "run" / "model")
    assert command(*asked)[0] == 0
    assert weights.read_bytes() == before


def test_images_that_were_left_out_are_counted(command, tmp_path):
    inputs.pictures(tmp_path / "images", **{f"{i:02}": np.full((4, 4), 9 * i, np.uint8) for i in range(20)})
    (tmp_path / "images" / "03.png").write_bytes(b"no image")
    code, _, err = command("train", "images", *QUICK, "--out", "run")
    assert code == 2, err
    assert "1 image cannot be read" in err
    code, _, err = command("train", "images", *QUICK, "--skip-unreadable", "--out", "run")
    assert code == 0, err
    assert "1 image could not be read and was left out." in err
