"""Training of the demo's networks: stacks, and resuming in the middle of one."""

import signal
from pathlib import Path

import pytest
import torch

from geomem.errors import InputError
from geomem.jobs.demo.cases import Case
from geomem.jobs.demo.networks import network, networks_stage, stacks
from geomem.jobs.demo.settings import CaseSettings
from geomem.records import Run
from geomem.scores import GaussianScore
from runs import begun

SETTINGS = CaseSettings((4, 8, 16), steps=24, hidden=16, batch_size=8, times=(0.1,), focus=0.1)


@pytest.fixture
def case() -> Case:
    rows = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Case("digits", rows[:16], rows[16:], GaussianScore.fit(rows), SETTINGS)


def opened(folder: Path) -> Run:
    return begun(folder, "demo", {"seed": 0})


def test_stacks_hold_all_sizes_once() -> None:
    made = stacks("digits", SETTINGS)
    assert [stack.sizes for stack in made] == [(4, 8), (16,)]
    assert [stack.name for stack in made] == ["digits_networks_0", "digits_networks_1"]


def test_a_stack_that_was_stopped_resumes_to_the_same_networks(case: Case, tmp_path: Path) -> None:
    runs = [opened(tmp_path / name) for name in ("straight", "stopped")]
    first, second = (networks_stage([case], run, 0, share=1, seconds=0).parts()[0] for run in runs)
    assert first.cost == 24 * 16**2 * 2
    curve = first.make(lambda share, label: None)

    with pytest.raises(KeyboardInterrupt):
        second.make(lambda share, label: signal.raise_signal(signal.SIGINT))
    resumed = second.make(lambda share, label: None)
    # The step during which it was stopped counts, but is not in the curve.
    assert curve.sel(step=resumed["step"]).identical(resumed)
    assert curve["step"].values.tolist() == list(range(1, 25))
    assert resumed.sizes["step"] >= 23
    for size in (4, 8):
        weights = [network(case, size, run, 0).state_dict() for run in runs]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_stack_of_one_network_has_a_curve(case: Case, tmp_path: Path) -> None:
    curve = networks_stage([case], opened(tmp_path), 0, share=1, seconds=0).parts()[1].make(lambda share, label: None)
    assert curve["loss"].sizes == {"step": 24, "size": 1}


def test_a_network_that_was_not_trained_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="digits_networks_1"):
        network(case, 16, opened(tmp_path / "run"), 0)
