"""What `geomem train` refuses, with one message and nothing left behind."""

import numpy as np
import pytest
import torch

from geomem.records import Run
from geomem.training.checkpoint import load_training
from geomem.training.presets import TrainSettings
from training.folders import QUICK, kept, pictures, quick, state_of


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "1790", "--hold-out", "10"], ["digits", "1,797 distinct images", "1,790", "10 held out"]),
        (["--limit", "1798"], ["1,797 distinct images", "1,798"]),
        (["--hold-out", "1797"], ["1,797 distinct images", "1,797 held out"]),
        (["--preset", "vgg"], ["--preset: 'vgg' is not known", "mnist", "cifar10", "celeba", "small-unet", "mlp"]),
        (["--noise-process", "rectified"], ["--noise-process: 'rectified' is not known; choose one of vp, ve"]),
        (["--precision", "fp16"], ["--precision: 'fp16' is not known", "float32"]),
        (["--steps", "0"], ["--steps: must be at least 1, got 0"]),
        (["--batch-size", "-1"], ["--batch-size: must be at least 1", "-1"]),
        (["--limit", "0"], ["--limit: must be at least 1"]),
        (["--hold-out", "-1"], ["--hold-out: must be at least 0"]),
        (["--seed", "-1"], ["--seed: must be at least 0"]),
        (["--learning-rate", "0"], ["--learning-rate: must be above 0, got 0"]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["--learning-rate", "inf"], ["--learning-rate", "inf"]),
        (["--ema-decay", "1"], ["--ema-decay", "got 1"]),
        (["--ema-decay", "nan"], ["--ema-decay", "nan"]),
        (["--tracker", "tensorbored"], ["--tracker: 'tensorbored' is not known", "tensorboard"]),
        (["--steps", "many"], ["--steps", "many", "int"]),
        pytest.param(
            ["--tracker", "json"],
            ["--tracker", "json", "tensorboard"],
        ),
        pytest.param(
            ["--tracker", "no.such"],
            ["--tracker", "no.such"],
        ),
        pytest.param(
            ["--tracker", ""],
            ["--tracker"],
        ),
    ],
    ids=lambda value: " ".join(value) if value and value[0].startswith("--") else "",
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_left(refused, tmp_path, arguments, words):
    refused(["train", "digits", *quick(*arguments), "--out", "run"], 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("preset", "words"), [("mnist", ["28x28", "8x8"]), ("cifar10", ["32x32", "3 channels"])])
def test_images_that_do_not_fit_the_preset_are_refused(refused, preset, words):
    refused(["train", "digits", "--preset", preset, "--out", "run"], 2, preset, *words, "another preset")


def test_a_preset_that_does_not_fit_leaves_the_folder_for_one_that_does(refused, command, tmp_path):
    refused(["train", "digits", "--preset", "mnist", "--out", "run"], 2, "28x28")
    assert list(tmp_path.iterdir()) == []
    assert command("train", "digits", *QUICK, "--out", "run")[0] == 0


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.random.default_rng(0).random((20, 8, 8)).astype(np.float32), ["from 0 to 1", "-1 to 1", "uint8"]),
        (np.random.default_rng(0).integers(0, 256, (20, 8, 8)).astype(np.float64), ["from 0 to 255", "-1 to 1"]),
        (np.random.default_rng(0).normal(size=(20, 64)), ["(64,)", "no images"]),
        (np.random.default_rng(0).normal(size=(20, 2, 4, 5)), ["(2, 4, 5)", "no images"]),
        (np.full((20, 8, 8), np.nan), ["images.npy"]),
        (np.zeros((0, 8, 8), np.uint8), ["images.npy"]),
    ],
    ids=["0 to 1", "0 to 255", "vectors", "two channels", "no numbers", "none"],
)
def test_data_that_cannot_be_trained_on_are_refused(refused, tmp_path, array, words):
    np.save(tmp_path / "images.npy", array)
    refused(["train", "images.npy", *QUICK, "--out", "run"], 2, *words)
    assert {p.name for p in tmp_path.iterdir()} == {"images.npy"}


def test_gray_presets_refuse_colour(refused, tmp_path):
    pictures(tmp_path / "images.npy", (20, 28, 28, 3))
    refused(
        ["train", "images.npy", "--preset", "mnist", "--steps", "1", "--out", "run"], 2, "one channel", "3 channels"
    )


def test_a_learning_rate_that_explodes_is_told_and_the_last_good_state_kept(refused, tmp_path):
    refused(
        ["train", "digits", *QUICK, "--learning-rate", "1e30", "--out", "run"],
        1, "not finite at step", "lower the learning rate", "is kept in", "checkpoint.safetensors",
    )  # fmt: skip
    header, tensors = state_of(tmp_path / "run")
    assert header["step"] >= 1
    assert all(bool(torch.isfinite(v).all()) for v in tensors.values())
    assert not (tmp_path / "run" / "model").exists()
    assert not [p for p in (tmp_path / "run").iterdir() if p.name.endswith(".part")]


def test_a_damaged_checkpoint_and_one_of_another_training_are_refused(refused, command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    saved = tmp_path / "run" / "checkpoint.safetensors"
    whole = saved.read_bytes()
    settings = TrainSettings.read(Run.existing("run").config["settings"])
    before = kept(tmp_path / "run")
    for name in list(before):
        if name.startswith("model/"):
            (tmp_path / "run" / name).unlink()
    for folder in ("unet", "scheduler", ""):
        (tmp_path / "run" / "model" / folder).rmdir()
    saved.write_bytes(whole[: len(whole) // 2])
    refused(asked, 2, str(saved), "not a readable geomem checkpoint", "delete it to train again")
    assert saved.read_bytes() == whole[: len(whole) // 2]
    assert command("train", "digits", *QUICK, "--seed", "5", "--out", "other")[0] == 0
    saved.write_bytes((tmp_path / "other" / "checkpoint.safetensors").read_bytes())
    refused(asked, 2, "of another training", "seed = 5, not 0", "--out")
    # What the message says helps.
    saved.unlink()
    assert command(*asked)[0] == 0
    assert load_training(saved, settings).step == 6
    assert saved.read_bytes() == whole


def test_another_run_s_folder_is_kept_unless_forced(refused, command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    before = kept(tmp_path / "run")
    refused([*asked, "--seed", "1"], 3, "seed = 0, not 1", "--force")
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8), np.uint8))
    refused(["train", "images.npy", *asked[2:]], 3, "data = ", "--force")
    assert kept(tmp_path / "run") == before
    assert command(*asked, "--seed", "1", "--force")[0] == 0
    assert state_of(tmp_path / "run")[0]["settings"]["seed"] == 1
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    refused([*asked[:-1], "mine", "--force"], 3, "not a geomem run")
    assert kept(foreign) == {"thesis.txt": b"years of work"}


def test_a_folder_where_another_run_is_at_work_is_left_to_it(refused, command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    run = Run.existing("run")
    before = kept(tmp_path / "run")
    with run.alone():
        (tmp_path / "run" / ".checkpoint.safetensors.x.part").write_bytes(b"half")
        for more in ([], ["--force"], ["--seed", "1", "--force"]):
            refused([*asked, *more], 3, "another run is using this folder", "wait until it ends", "--out")
        assert kept(tmp_path / "run") == {**before, ".checkpoint.safetensors.x.part": b"half"}


def test_no_folder_can_be_made_where_a_file_is(refused, tmp_path):
    (tmp_path / "file").write_text("")
    refused(["train", "digits", *QUICK, "--out", "file"], 3, "is a file")
    refused(["train", "digits", *QUICK, "--out", "file/below"], 3, "cannot be written", "--out")
