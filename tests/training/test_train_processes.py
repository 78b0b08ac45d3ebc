"""Several processes train one model: under torchrun, and as the second of them."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from geomem.errors import InputError
from geomem.jobs.engine import run
from geomem.jobs.train.job import TrainJob
from geomem.jobs.train.request import TrainRequest
from geomem.records import Run
from geomem.training.loop import Training
from geomem.training.presets import TrainSettings
from runs import begun
from training.folders import state_of

SHARED = ["train", "digits", "--preset", "mlp", "--steps", "20", "--precision", "float32", "--out", "shared"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_the_model_of_one_and_one_of_them_speaks(tmp_path):
    """Weights move as those of one process do, to rounding, which Adam makes larger where gradients are nearly 0."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "geomem"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

    def together():
        return subprocess.run(
            [*torchrun, *SHARED], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280
        )

    done = together()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("mlp trained on all images") == 1
    assert (tmp_path / "shared" / "model" / "unet" / "config.json").exists()
    alone = run(TrainRequest("digits", preset="mlp", steps=20, precision="float32"), out=tmp_path / "alone").folder
    (_, one), (_, two) = state_of(alone), state_of(tmp_path / "shared")
    settings = TrainSettings.read(Run.existing(alone).config["settings"])
    start = dict(Training(settings).network.named_parameters())
    assert one.keys() == two.keys()
    for kind in ("weights", "average"):
        moved = math.sqrt(sum(float((one[f"{kind}/{k}"] - p).detach().square().sum()) for k, p in start.items()))
        apart = math.sqrt(sum(float((one[f"{kind}/{k}"] - two[f"{kind}/{k}"]).square().sum()) for k in start))
        assert moved > 1e-3
        assert apart < 1e-2 * moved
    first, second = (Run.existing(folder).metrics() for folder in (alone, tmp_path / "shared"))
    lines = [[line for line in lines if "loss" in line] for lines in (first, second)]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]] == list(range(1, 21))
    assert [b["loss"] for b in lines[1]] == pytest.approx([a["loss"] for a in lines[0]], rel=1e-4)
    # A finished one is only reported again; nobody waits for anybody.
    again = together()
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


def test_a_process_that_is_not_the_first_waits_for_the_folder_and_the_model_and_says_nothing(monkeypatch, tmp_path):
    """Of one step, by the second of two processes."""
    import accelerate

    out, waits = tmp_path / "run", []
    request = TrainRequest("digits", preset="mlp", steps=1)
    job = TrainJob()

    def wait():
        waits.append(out.exists())
        if len(waits) == 1:
            begun(out, "train", {})  # as the first process does

    second = SimpleNamespace(
        is_main_process=False,
        num_processes=1,
        process_index=1,
        device=torch.device("cpu"),
        wait_for_everyone=wait,
        prepare=lambda network: network,
        backward=lambda loss: loss.backward(),
        reduce=lambda value, reduction: value,
    )
    monkeypatch.setattr(accelerate, "Accelerator", lambda **options: second)
    inputs = job.open(request)
    assert not job.follows(request, inputs, out)  # alone
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert not job.follows(request, inputs, out)
    assert waits == []
    monkeypatch.setenv("RANK", "1")
    second.process_index = 0  # takes the whole batch, as there is nobody else
    assert run(request, out=out) is None
    assert waits == [False, True]
    assert not (out / "checkpoint.safetensors").exists()
    # The first process has left the model by now: nothing is trained again.
    (out / "model").mkdir()
    waits.append(True)
    assert run(request, out=out) is None
    assert len(waits) == 4


def test_batches_that_processes_cannot_share_are_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InputError, match="--batch-size: 128 images cannot be shared evenly by 3 processes"):
        run(TrainRequest("digits", preset="mlp", steps=1), out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
