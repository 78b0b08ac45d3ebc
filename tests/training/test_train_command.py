"""`geomem train` as its users meet it: what it leaves and says, what it refuses, and how processes share it."""

import json
import math
import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from geomem.jobs.train.run import settings_of, train, train_in

import inputs
from geomem.cli import main
from geomem.data import load as load_images
from geomem.errors import InputError
from geomem.jobs.parsing import parse_seeds
from geomem.models import load
from geomem.records import Run
from geomem.training import run as runs
from geomem.training.checkpoint import load_training, read_tensors
from geomem.training.loop import Training, TrainingStep

QUICK = ["--preset", "mlp", "--steps", "6", "--batch-size", "4"]
SHARED = ["train", "digits", "--preset", "mlp", "--steps", "20"]


@pytest.fixture
def command(monkeypatch, capsys, unchecked, tmp_path):
    """Runs `geomem ...` in an empty folder: exit code, standard output, standard error. Nothing but an exit passes."""

    def run(*arguments):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["geomem", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return ended.value.code or 0, said.out, said.err

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def refused(command):
    """Runs a command that must end with a code and one message that holds the words."""

    def run(arguments, code, *words):
        ended, out, err = command(*arguments)
        assert ended == code, err
        assert out == ""
        assert err.count("error: ") == 1 or code == 2
        flat = " ".join(err.split())
        for word in words:
            assert word in flat, f"{word!r} is not in {err!r}"

    return run


def pictures(path, shape=(20, 8, 8), dtype=np.uint8, seed=0):
    np.save(path, np.random.default_rng(seed).integers(0, 256, shape).astype(dtype))
    return path


def state_of(folder):
    return read_tensors(folder / "checkpoint.safetensors", lambda header, tensors: (header, tensors))


def kept(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


# --- what it leaves and says ---


def test_a_training_leaves_a_model_its_images_and_its_numbers(command, tmp_path):
    code, out, err = command("train", "digits", *QUICK, "--limit", "50", "--held-out", "20", "--out", "run")
    assert code == 0, err
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} == {
        "config.json", "environment.json", "metrics.jsonl", "checkpoint.safetensors", "model", "training.npy", "held-out.npy",
    }  # fmt: skip
    assert "mlp trained on 50 of 1,797 images of" in out
    assert "Ask it what it remembers: geomem audit" in out
    assert str(run / "model") in out
    assert "training" in err
    seen, unseen = (np.load(run / f"{name}.npy") for name in ("training", "held-out"))
    data = load_images("digits")
    assert (seen.shape, unseen.shape, seen.dtype) == ((50, 8, 8), (20, 8, 8), data.values.dtype)
    all_ = {image.tobytes() for image in data.values}
    first, second = ({image.tobytes() for image in images} for images in (seen, unseen))
    assert (len(first), len(second)) == (50, 20)
    assert first | second <= all_
    assert not first & second
    # The model is the average that the checkpoint holds.
    score = load(run / "model")
    _, tensors = state_of(run)
    unet = dict(score.module.unet.named_parameters())
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
    lines = lines[1:]
    assert [line["step"] for line in lines] == list(range(1, 7))
    assert [line["learning_rate"] for line in lines] == pytest.approx([5e-4 * k / 200 for k in range(1, 7)])
    for line in lines:
        assert line.keys() == {"time", "step", "loss", "samples_per_second", "learning_rate"}
        assert 4 / line["samples_per_second"] in (0.25, 0.5, 0.75, 1.0)
        assert 0 < line["loss"] < 10
    assert shown["losses"] == {str(line["step"]): line["loss"] for line in lines}
    assert (shown["model"], shown["settings"]["steps"]) == (str(tmp_path / "run" / "model"), 6)
    assert f"loss {lines[0]['loss']:.4f} at first, {lines[-1]['loss']:.4f} at last" in shown["findings"]["training"][0]


def test_the_log_of_a_long_run_has_means_over_a_two_hundredth(tmp_path, monkeypatch):
    """Of 800 steps, 200 lines of four each."""

    def counted(state, objective):
        while state.step < state.settings.steps:
            state.step += 1
            yield TrainingStep(state.step, (float(state.step),), 1.0, 1e-3)

    monkeypatch.setattr(runs, "steps", counted)
    train("digits", preset="mlp", steps=800, out=tmp_path / "run")
    lines = [line for line in Run.existing(tmp_path / "run").metrics() if "loss" in line]
    assert [line["step"] for line in lines] == list(range(4, 801, 4))
    assert [line["loss"] for line in lines] == [s - 1.5 for s in range(4, 801, 4)]


def test_a_folder_of_one_s_own_by_what_was_asked(command, tmp_path):
    for seed in ("0", "1", "0"):
        code, _, err = command("train", "digits", *QUICK, "--steps", "1", "--seed", seed)
        assert code == 0, err
    folders = sorted((tmp_path / "geomem-train").iterdir())
    assert len(folders) == 2
    assert all(folder.name.startswith("digits-mlp-") for folder in folders)


def test_all_images_are_trained_on_where_nothing_else_is_asked(command, tmp_path):
    """Equal ones too, each as often as it is there; a part has none twice, and none that is held out."""
    images = np.repeat(np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8), 3, axis=0)
    np.save("images.npy", images)
    data = load_images("images.npy")
    assert settings_of(data, "mlp").size == 18
    assert settings_of(data, "mlp", held_out=2).size == 4
    code, out, err = command("train", "images.npy", *QUICK, "--out", "all")
    assert code == 0, err
    assert not (tmp_path / "all" / "training.npy").exists()
    assert "geomem audit images.npy --model" in " ".join(out.split())
    code, _, err = command("train", "images.npy", *QUICK, "--held-out", "2", "--out", "some")
    assert code == 0, err
    seen, unseen = (np.load(tmp_path / "some" / f"{name}.npy") for name in ("training", "held-out"))
    assert len({image.tobytes() for image in [*seen, *unseen]}) == 6
    assert (len(seen), len(unseen), seen.dtype) == (4, 2, np.uint8)


def test_subsets_are_nested_and_held_out_images_stay(tmp_path):
    found = {}
    for size in (10, 40):
        folder = train("digits", preset="mlp", steps=1, size=size, held_out=15, seed=2, out=tmp_path / str(size)).folder
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
    for line in Run.existing(tmp_path / "run").metrics()[1:]:
        assert told["loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)
        assert told["samples_per_second", line["step"]] == pytest.approx(line["samples_per_second"], rel=1e-6)


def test_a_tracker_writes_into_the_run_s_folder_wherever_that_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = train("digits", preset="mlp", steps=1, out="~/run", tracker="tensorboard").folder
    assert folder == tmp_path / "run"
    assert list(folder.rglob("events.out.tfevents.*"))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


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
    for word in ("--preset", "--held-out", "--noise-process", "--precision", "torchrun"):
        assert word in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--limit", "1790", "--held-out", "10"], ["digits", "1,797 distinct images", "1,790", "10 held out"]),
        (["--limit", "1798"], ["1,797 distinct images", "1,798"]),
        (["--held-out", "1797"], ["1,797 distinct images", "1,797 held out"]),
        (["--preset", "vgg"], ["--preset: 'vgg' is not known", "mnist", "cifar10", "celeba", "small-unet", "mlp"]),
        (["--noise-process", "rectified"], ["--noise-process: 'rectified' is not known; choose vp or ve"]),
        (["--precision", "fp16"], ["--precision: 'fp16' is not known", "float32"]),
        (["--steps", "0"], ["--steps: at least 1 is needed, got 0"]),
        (["--batch-size", "-1"], ["--batch-size: at least 1", "-1"]),
        (["--limit", "0"], ["--limit: at least 1"]),
        (["--held-out", "-1"], ["--held-out", "negative"]),
        (["--seed", "-1"], ["--seed", "negative"]),
        (["--learning-rate", "0"], ["--learning-rate: must be finite and above 0, got 0"]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["--learning-rate", "inf"], ["--learning-rate", "inf"]),
        (["--ema-decay", "1"], ["--ema-decay", "got 1"]),
        (["--ema-decay", "nan"], ["--ema-decay", "nan"]),
        (["--tracker", "tensorbored"], ["--tracker: 'tensorbored' is not known", "tensorboard"]),
        (["--steps", "many"], ["--steps", "integer"]),
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
    refused(["train", "digits", *QUICK, *arguments, "--out", "run"], 2, *words)
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
    settings = settings_of(load_images("digits"), "mlp", steps=6, batch_size=4)
    before = kept(tmp_path / "run")
    for name in list(before):
        if name.startswith("model/"):
            (tmp_path / "run" / name).unlink()
    for folder in ("unet", "scheduler", ""):
        (tmp_path / "run" / "model" / folder).rmdir()
    saved.write_bytes(whole[: len(whole) // 2])
    refused(asked, 2, str(saved), "no readable geomem checkpoint", "delete it to train anew")
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
            refused([*asked, *more], 3, "another run is at work in this folder", "wait until it ends", "--out")
        assert kept(tmp_path / "run") == {**before, ".checkpoint.safetensors.x.part": b"half"}


def test_no_folder_can_be_made_where_a_file_is(refused, tmp_path):
    (tmp_path / "file").write_text("")
    refused(["train", "digits", *QUICK, "--out", "file"], 3, "is a file")
    refused(["train", "digits", *QUICK, "--out", "file/below"], 3, "cannot be written", "--out")


# --- several processes ---


@pytest.mark.timeout(600)
def test_two_processes_train_the_model_of_one_and_one_of_them_speaks(tmp_path):
    """Weights move as those of one process do, to rounding, which Adam makes larger where gradients are nearly 0."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "geomem"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*torchrun, *SHARED, "--precision", "float32", "--out", "shared"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("Model: ") == done.stdout.count("mlp trained on all images") == 1
    assert (tmp_path / "shared" / "model" / "unet" / "config.json").exists()
    alone = train("digits", preset="mlp", steps=20, precision="float32", out=tmp_path / "alone").folder
    (_, one), (_, two) = state_of(alone), state_of(tmp_path / "shared")
    start = dict(
        Training(settings_of(load_images("digits"), "mlp", steps=20, precision="float32")).network.named_parameters()
    )
    assert one.keys() == two.keys()
    for kind in ("weights", "average"):
        moved = math.sqrt(sum(float((one[f"{kind}/{k}"] - p).detach().square().sum()) for k, p in start.items()))
        apart = math.sqrt(sum(float((one[f"{kind}/{k}"] - two[f"{kind}/{k}"]).square().sum()) for k in start))
        assert moved > 1e-3
        assert apart < 1e-2 * moved
    first, second = (Run.existing(folder).metrics() for folder in (alone, tmp_path / "shared"))
    assert [line["step"] for line in first] == [line["step"] for line in second] == list(range(21))
    assert [b["loss"] for b in second[1:]] == pytest.approx([a["loss"] for a in first[1:]], rel=1e-4)


def test_a_process_that_is_not_the_first_waits_for_the_model(monkeypatch, tmp_path):
    """Of one step, by a process that is done before the first has logged it."""
    import accelerate

    out, waits = tmp_path / "run", []
    data = load_images("digits")
    settings = settings_of(data, "mlp", steps=1)
    run = Run.open(out, "train", settings)

    def wait():
        waits.append(1)
        if len(waits) > 1:  # by then the first process is done
            run.log(step=1, loss=1.0)
            (out / "model").mkdir()

    second = SimpleNamespace(
        is_main_process=False,
        num_processes=1,
        process_index=0,
        device=torch.device("cpu"),
        wait_for_everyone=wait,
        end_training=lambda: None,
        prepare=lambda network: network,
        backward=lambda loss: loss.backward(),
        reduce=lambda value, reduction: value,
    )
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: second)
    result = train_in(out, data, settings)
    assert result.page.is_dir()
    assert result.summary["losses"] == {1: 1.0}


def test_a_finished_run_without_its_log_is_no_traceback(command, tmp_path):
    asked = ["train", "digits", *QUICK, "--out", "run"]
    assert command(*asked)[0] == 0
    (tmp_path / "run" / "metrics.jsonl").unlink()
    code, out, _ = command(*asked)
    assert code == 0
    assert str(tmp_path / "run" / "model") in out


# --- seeds ---


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("1", (0,)), ("3", (0, 1, 2)), ("0,7", (0, 7)), (" 4 , 2 ", (4, 2)), ("0,0", (0, 0)), ("5,", None)],
)
def test_seeds_are_a_number_of_them_or_a_list(text, seeds):
    if seeds is None:
        with pytest.raises(InputError, match="--seeds"):
            parse_seeds(text)
    else:
        assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "0", "-1", "1,-1", "a", "1.5", "1;2", "1:3"])
def test_text_that_is_no_seeds_is_refused(text):
    with pytest.raises(InputError, match=f"--seeds: .*{text!r}"):
        parse_seeds(text)
