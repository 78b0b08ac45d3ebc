"""Training that was stopped, killed, or met a full disk goes on bit for bit; a run's folder is one process's at a time."""

import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file

from commands import geomem
from geomem.data import load as load_images
from geomem.errors import InputError, OutputError, TrainingError
from geomem.jobs import train as command
from geomem.jobs.train import settings_of, train, train_in
from geomem.models import load
from geomem.records import Run
from geomem.training import EnsembleSettings, denoising
from geomem.training import run as runs
from geomem.training.checkpoint import load_training, save_training
from geomem.training.denoising import ImageObjective, pipeline
from geomem.training.loop import Training, steps
from geomem.training.unet import NETWORKS
from models import TRAINING

SHAPE = (1, 4, 4)
SETTINGS = replace(TRAINING, steps=8)
IMAGES = torch.rand(12, *SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1
# The command whose runs are killed below, and what it is as a call.
KILLED = [
    "train",
    "digits",
    "--preset",
    "mlp",
    "--steps",
    "150",
    "--batch-size",
    "16",
    "--limit",
    "100",
    "--held-out",
    "9",
]
OPTIONS = {"preset": "mlp", "steps": 150, "batch_size": 16, "size": 100, "held_out": 9}
SHORT = {"preset": "mlp", "steps": 6, "batch_size": 4}


def trained(settings, count=None):
    state = Training(settings)
    stepper = steps(state, ImageObjective(state, IMAGES, Accelerator()))
    seen = list(stepper) if count is None else [next(stepper) for _ in range(count)]
    return state, seen


def narrow(shape, embedding):
    """diffusers' U-Net, as narrow as it comes, with dropout."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        time_embedding_type=embedding,
        block_out_channels=(8,),
        down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",),
        layers_per_block=1,
        norm_num_groups=4,
        dropout=0.3,
    )


def files(folder):
    """Content of a folder and all below, by name, but for what says when and where."""
    own = ("metrics.jsonl", "environment.json", ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in own}


def header_of(path):
    with safe_open(path, framework="pt") as stored:
        return json.loads(stored.metadata()["geomem"])


def leftovers(folder):
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(runs, "_SAVE_SECONDS", -1.0)
    monkeypatch.setattr(runs, "_SAVING", math.inf)


# --- one state ---


@pytest.mark.parametrize(
    ("network", "kind", "precision", "at"),
    [
        ("mlp", "vp", "float32", 0),
        ("mlp", "vp", "float32", 1),
        ("mlp", "ve", "float32", 5),
        ("mlp", "vp", "bf16", 5),
        ("mlp", "vp", "float32", 8),
        ("small-unet", "ve", "float32", 3),
        ("narrow", "vp", "float32", 5),
    ],
)
def test_resumption_is_exact(tmp_path, monkeypatch, network, kind, precision, at):
    """Stopped, saved, loaded and continued: losses, and every byte of the last checkpoint, as if it had never stopped.

    `narrow` has dropout.
    """
    monkeypatch.setitem(NETWORKS, "narrow", narrow)
    settings = replace(SETTINGS, network=network, noise_process=kind, precision=precision)
    whole, expected = trained(settings)
    part, seen = trained(settings, at)
    save_training(tmp_path / "part", part)
    loaded = load_training(tmp_path / "part", settings)
    assert loaded.step == at
    save_training(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "part").read_bytes()
    seen += list(steps(loaded, ImageObjective(loaded, IMAGES, Accelerator())))
    assert seen == expected
    assert len({s.loss for s in seen}) == settings.steps
    save_training(tmp_path / "resumed", loaded)
    save_training(tmp_path / "whole", whole)
    assert (tmp_path / "resumed").read_bytes() == (tmp_path / "whole").read_bytes()
    assert header_of(tmp_path / "whole")["step"] == settings.steps


def test_another_training_s_checkpoint_is_refused(tmp_path):
    state, _ = trained(SETTINGS, 1)
    save_training(tmp_path / "a", state)
    for change in ({"seed": 4}, {"data": ("images", "1")}, {"shape": (1, 5, 5)}, {"noise_process": "ve"}, {"steps": 9}):
        with pytest.raises(InputError, match=f"of another training .{next(iter(change))} = .*--out"):
            load_training(tmp_path / "a", replace(SETTINGS, **change))


def test_damaged_checkpoints_are_refused(tmp_path):
    state, _ = trained(SETTINGS, 1)
    path = tmp_path / "state.safetensors"
    save_training(path, state)
    whole, header = path.read_bytes(), header_of(path)
    with safe_open(path, framework="pt") as stored:
        content = {k: stored.get_tensor(k).clone() for k in stored.keys()}  # noqa: SIM118 - no mapping

    def write(tensors, header):
        save_file(tensors, path, metadata=None if header is None else {"geomem": json.dumps(header)})

    def without(key):
        return {k: v for k, v in content.items() if k != key}

    def lacking(key):
        return {k: v for k, v in header.items() if k != key}

    damages = {
        "empty": lambda: path.write_bytes(b""),
        "truncated": lambda: path.write_bytes(whole[: len(whole) // 2]),
        "last byte": lambda: path.write_bytes(whole[:-1]),
        "in the header": lambda: path.write_bytes(whole[:20]),
        "noise": lambda: path.write_bytes(bytes(range(256)) * 10),
        "text": lambda: path.write_text("{}"),
        "foreign": lambda: write(content, None),
        "no object": lambda: write(content, [1]),
        "no step": lambda: write(content, lacking("step")),
        "no average's step": lambda: write(content, lacking("averaged")),
        "no settings": lambda: write(content, lacking("settings")),
        "settings of another kind": lambda: write(content, header | {"settings": "none"}),
        "fewer settings": lambda: write(content, header | {"settings": {"seed": 3}}),
        "no weights": lambda: write(without("weights/first.weight"), header),
        "no average": lambda: write(without("average/first.weight"), header),
        "no moments": lambda: write(without("exp_avg_sq/first.weight"), header),
        "no count": lambda: write(without("step/first.weight"), header),
        "another shape": lambda: write(content | {"average/gain.bias": torch.zeros(2)}, header),
    }
    taken = []
    for name, damage in damages.items():
        damage()
        try:
            load_training(path, SETTINGS)
        except InputError as error:
            assert f"{path}: is no readable geomem checkpoint" in str(error)  # noqa: PT017 - all damages, then which
        else:
            taken.append(name)
    assert not taken
    path.unlink()
    with pytest.raises(InputError, match="delete it to train anew"):
        load_training(path, SETTINGS)
    path.mkdir()
    with pytest.raises(InputError, match="is no readable geomem checkpoint"):
        load_training(path, SETTINGS)
    path.rmdir()
    save_training(path, state)
    with pytest.raises(InputError, match="settings of another kind"):
        load_training(path, EnsembleSettings(sizes=(4,), dim=16))


@pytest.mark.parametrize("network", ["mlp", "small-unet"])
@pytest.mark.parametrize("kind", ["vp", "ve"])
def test_the_model_that_is_left_is_the_averaged_one(tmp_path, network, kind):
    """Its score by hand: -F(sqrt(abar) x, k)/sqrt(t) at t = 1/abar - 1; F((x + 1)/2, sigma)/2 at t = (2 sigma)^2."""
    state = Training(replace(SETTINGS, network=network, noise_process=kind, shape=(1, 8, 6)))
    generator = torch.Generator().manual_seed(5)
    for mean in state.average.shadow_params:  # far from the weights
        mean.add_(0.05 * torch.randn(mean.shape, generator=generator))
    pipeline(state).save_pretrained(tmp_path)
    score = load(tmp_path)
    assert score.shape == (1, 8, 6)
    averaged = Training(state.settings).network.eval()
    with torch.no_grad():
        for p, mean in zip(averaged.parameters(), state.average.shadow_params, strict=True):
            p.copy_(mean)
        x = torch.randn(3, 1, 8, 6, generator=generator)
        for level in (0.02, 1.0, 30.0) if kind == "ve" else (0, 250, 999):
            if kind == "ve":
                t = (2 * level) ** 2
                expected = averaged((x + 1) / 2, torch.full((3,), level)).sample / 2
            else:
                abar = float(np.prod(1 - np.linspace(1e-4, 2e-2, 1000)[: level + 1]))
                t = 1 / abar - 1
                expected = -averaged(math.sqrt(abar) * x, torch.full((3,), level)).sample / math.sqrt(t)
            found = score(x, t)
            scale = float(expected.square().mean().sqrt())
            assert float((found - expected).abs().max()) < 1e-3 * scale, level
            other = state.network.eval()(x, torch.full((3,), float(level))).sample
            assert not torch.allclose(other, averaged(x, torch.full((3,), float(level))).sample, rtol=0.01)


@pytest.mark.parametrize(
    ("network", "kind", "shape"),
    [
        ("mlp", "vp", (1, 4, 4)),
        ("mlp", "vp", (3, 7, 5)),
        ("small-unet", "vp", (1, 7, 5)),
        ("small-unet", "vp", (3, 4, 4)),
        # diffusers' pipeline draws square images of three channels, whatever the network's are.
        ("small-unet", "ve", (3, 4, 4)),
        ("mlp", "ve", (3, 4, 4)),
    ],
    ids=str,
)
def test_diffusers_opens_the_model_and_draws(tmp_path, network, kind, shape):
    from diffusers import DDPMPipeline, ScoreSdeVePipeline

    pipeline(Training(replace(SETTINGS, network=network, noise_process=kind, shape=shape))).save_pretrained(tmp_path)
    opened = {"vp": DDPMPipeline, "ve": ScoreSdeVePipeline}[kind].from_pretrained(tmp_path)
    opened.set_progress_bar_config(disable=True)
    drawn = []
    for seed in (0, 0, 1):
        generator = torch.Generator().manual_seed(seed)
        images = opened(batch_size=2, num_inference_steps=3, output_type="np", generator=generator).images
        assert images.shape == (2, *shape[1:], shape[0])
        assert images.min() >= 0
        assert images.max() <= 1
        drawn.append(images)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize(("network", "first"), [("small-unet", "diffusers"), ("mlp", "geomem.models.pixels")])
def test_diffusers_alone_opens_it_and_a_perceptron_once_its_class_is_imported(tmp_path, network, first):
    """In a process that knows nothing else of geomem."""
    pipeline(Training(replace(SETTINGS, network=network, shape=(1, 4, 4)))).save_pretrained(tmp_path)
    script = (
        f"import sys, {first}, diffusers; pipeline = diffusers.DDPMPipeline.from_pretrained({str(tmp_path)!r}); "
        "print(type(pipeline.unet).__name__, 'geomem' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200)
    kind = {"small-unet": "UNet2DModel False", "mlp": "PixelMLP True"}[network]
    assert ended.stdout.split("\n")[0] == kind, ended.stderr


# --- killed processes ---

PATCHED = """
import os, signal, sys
import geomem.training.checkpoint as c
import geomem.training.run as r

r._SAVE_SECONDS, r._SAVING, left = -1.0, float("inf"), int(sys.argv.pop(1))
write = c.write_tensors

def deadly(path, tensors, header):
    global left
    left -= 1
    write(path, tensors, header)
    if left == 0:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

c.write_tensors = deadly
from geomem.cli import main
main()
"""


@dataclass(frozen=True)
class Killed:
    """What was seen of a run that was killed twice and then left to end."""

    folder: object
    first: int
    second: int
    parts: list
    sizes: list
    last: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run that nothing disturbed."""
    return train("digits", out=tmp_path_factory.mktemp("straight") / "run", **OPTIONS).folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Killed from outside at any moment after a checkpoint, then in the midst of writing its fourth; then left alone."""
    cwd = tmp_path_factory.mktemp("killed")
    folder, environment = cwd / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    log, saved = folder / "metrics.jsonl", folder / "checkpoint.safetensors"

    def start(writes):
        command = [sys.executable, "-c", PATCHED, str(writes), *KILLED, "--out", "run"]
        return subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    with start(0) as process:
        while process.poll() is None and not (saved.exists() and log.read_text().count('"loss"') > 5):
            time.sleep(0.005)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    first = header_of(saved)["step"]
    with start(4) as process:
        process.communicate(timeout=240)
    assert process.returncode == -signal.SIGKILL
    parts = leftovers(folder)
    sizes = [(folder / name).stat().st_size for name in parts]
    second = header_of(saved)["step"]
    return Killed(folder, first, second, parts, sizes, geomem(*KILLED, "--out", "run", cwd=cwd))


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(killed):
    assert 1 <= killed.first < 149
    assert killed.second == killed.first + 3
    # The second died while it wrote, and left half a file; nothing of it is in the way, or remains.
    (size,) = killed.sizes
    assert 0 < size < (killed.folder / "checkpoint.safetensors").stat().st_size
    assert killed.last.returncode == 0, killed.last.stderr
    assert "Traceback" not in killed.last.stderr
    assert leftovers(killed.folder) == []
    starts = [line["step"] for line in Run.existing(killed.folder).metrics() if "commit" in line]
    assert starts == [0, killed.first, killed.second]


def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(killed, straight):
    mine, theirs = files(killed.folder), files(straight)
    assert {"checkpoint.safetensors", "training.npy", "held-out.npy", "config.json"} < mine.keys()
    assert len([name for name in mine if name.startswith("model/")]) == 4
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if mine[name] != theirs[name]] == []


def test_a_finished_run_is_not_trained_again(straight, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in straight.rglob("*")}
    monkeypatch.setattr(runs, "steps", None)
    monkeypatch.setattr(runs, "load_training", None)
    result = train("digits", out=straight, **OPTIONS)
    assert result.page == straight / "model"
    assert len(result.summary["losses"]) == 150
    assert {p: p.stat().st_mtime_ns for p in straight.rglob("*") if p.name != ".lock"} == {
        p: when for p, when in before.items() if p.name != ".lock"
    }


# --- a disk that is full ---


@contextmanager
def full_disk(limit):
    """Files of this process end at `limit` bytes, by the system's own doing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_the_last_checkpoint_whole(tmp_path, monkeypatch, often):
    """The third does not fit: its beginning is taken away, the second stays, and the run goes on from there."""
    save, written = runs.save_training, []

    def limited(path, state):
        if len(written) < 2:
            save(path, state)
            written.append(path.read_bytes())
            return
        with full_disk(len(written[-1]) // 2):
            save(path, state)

    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(runs, "save_training", limited)
        with pytest.raises(
            OutputError, match=r"checkpoint\.safetensors: cannot be written .*free some space"
        ) as refused:
            train("digits", out=out, **SHORT)
    assert refused.value.exit_code == 3
    assert leftovers(out) == []
    assert (out / "checkpoint.safetensors").read_bytes() == written[-1]
    assert not (out / "model").exists()
    train("digits", out=out, **SHORT)
    train("digits", out=tmp_path / "straight", **SHORT)
    assert files(out) == files(tmp_path / "straight")


def test_a_disk_that_fills_while_the_model_is_written_keeps_the_training(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:
        folder = command._folder

        @contextmanager
        def limited(path):
            with folder(path) as temporary, full_disk(10_000):
                yield temporary

        patched.setattr(command, "_folder", limited)
        with pytest.raises(OutputError, match=r"model: cannot be written .*The training is kept"):
            train("digits", out=out, **SHORT)
    assert leftovers(out) == []
    assert not (out / "model").exists()
    assert header_of(out / "checkpoint.safetensors")["step"] == 6
    lines = (out / "metrics.jsonl").read_text()
    train("digits", out=out, **SHORT)
    assert (out / "metrics.jsonl").read_text() == lines
    train("digits", out=tmp_path / "straight", **SHORT)
    assert files(out) == files(tmp_path / "straight")


def test_a_log_that_cannot_be_written_is_an_output_error(tmp_path):
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot be written"):
        run.log(step=1)


# --- numbers that are no longer finite ---


def test_the_last_good_state_is_kept(tmp_path, monkeypatch):
    """A batch that is no number at step 5: the checkpoint holds what four good steps made, to the byte."""
    draw = denoising.batch_loss

    def poisoned(network, process, images, *, step, **named):
        return draw(network, process, images, step=step, **named) * (math.nan if step == 4 else 1)

    out = tmp_path / "run"
    data = load_images("digits")
    settings = settings_of(data, **SHORT)
    with monkeypatch.context() as patched:
        patched.setattr(denoising, "batch_loss", poisoned)
        with pytest.raises(TrainingError, match=r"not finite at step 5.*after 4 good steps is kept in") as stopped:
            train_in(out, data, settings)
    assert stopped.value.exit_code == 1
    assert str(out / "checkpoint.safetensors") in str(stopped.value)
    assert not (out / "model").exists()
    assert leftovers(out) == []
    kept = load_training(out / "checkpoint.safetensors", settings)
    assert kept.step == 4
    assert all(bool(torch.isfinite(p).all()) for p in [*kept.network.parameters(), *kept.average.shadow_params])
    train_in(out, data, settings)
    train_in(tmp_path / "straight", data, settings)
    assert files(out) == files(tmp_path / "straight")


# --- one folder, one process ---


def test_what_a_killed_process_left_half_written_is_removed_and_nothing_else(tmp_path):
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    (run.path / ".checkpoint.safetensors.x1.part").write_bytes(b"half")
    (run.path / ".model.x2.part" / "unet").mkdir(parents=True)
    (run.path / ".model.x2.part" / "unet" / "config.json").write_text("{")
    (run.path / "mine.part").write_text("kept")
    before = files(run.path)
    with run.alone():
        pass
    assert files(run.path) == {k: v for k, v in before.items() if not k.startswith(".")}
    assert (run.path / "mine.part").read_text() == "kept"


def test_a_folder_in_use_is_refused_and_its_files_are_left(tmp_path):
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    again = Run.open(tmp_path / "run", "train", SETTINGS)
    with run.alone():
        (run.path / ".checkpoint.safetensors.x1.part").write_bytes(b"half")  # being written
        with pytest.raises(OutputError, match=r"run: another run is at work in this folder.*--out"), again.alone():
            pass
        assert leftovers(run.path) == [".checkpoint.safetensors.x1.part"]
        for settings in (SETTINGS, replace(SETTINGS, seed=9)):
            with pytest.raises(OutputError, match="another run is at work"):
                Run.open(tmp_path / "run", "train", settings, force=True)
        assert {"config.json", ".checkpoint.safetensors.x1.part"} == files(run.path).keys()
        assert Run.existing(run.path).config["seed"] == 3
    with again.alone():
        pass
    assert Run.open(tmp_path / "run", "train", replace(SETTINGS, seed=9), force=True).config["seed"] == 9
    assert files(run.path).keys() == {"config.json"}


def test_the_folder_is_free_again_after_an_error_and_after_a_kill(tmp_path):
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    with pytest.raises(KeyError), run.alone():
        raise KeyError
    with run.alone():
        pass
    held = (
        "import os, signal, sys; from geomem.records import Run\n"
        "with Run.existing(sys.argv[1]).alone(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OutputError, match="another run is at work"), run.alone():
            pass
        process.kill()
        process.wait()
    with run.alone():
        pass


def test_lines_of_the_log_that_were_cut_short_are_passed_over(tmp_path):
    """Where the process was killed, or the disk was full, while a line was written; and the run went on later."""
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    assert run.metrics() == []
    run.log(step=1, loss=0.5)
    log = run.path / "metrics.jsonl"
    whole = log.read_bytes()
    for cut in range(1, len(whole)):
        log.write_bytes(whole + whole[:cut])
        assert [line["step"] for line in run.metrics()][:1] == [1], cut


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_log_that_was_cut_short_is_gone_on_with(tmp_path, cut):
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    run.log(step=1, loss=0.5)
    log = run.path / "metrics.jsonl"
    whole = log.read_text()
    log.write_text(whole + whole[:cut])
    run.log(step=2, loss=0.25)
    run.log(step=3, loss=0.125)
    found = [line["step"] for line in run.metrics()]
    assert found[0] == 1
    assert found[-2:] == [2, 3]


def test_a_folder_that_cannot_be_locked_is_an_output_error(tmp_path):
    """As on a file system that is mounted to be read: going on in a run there is refused in words."""
    run = Run.open(tmp_path / "run", "train", SETTINGS)
    (run.path / ".lock").mkdir()
    with pytest.raises(OutputError, match="run: cannot be locked"), run.alone():
        pass
