"""The demo's networks: one for each number of training samples, trained in stacks of two.

A stack is a part of the run. It leaves its checkpoint in the run's folder, from which it resumes and from which the parts that
measure read the networks, and its loss curve as its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xarray as xr
from torch import Tensor, nn

from geomem.jobs.demo.cases import Case
from geomem.jobs.demo.settings import T_RANGE, CaseSettings
from geomem.jobs.job import Part, Stage, Tell
from geomem.records import Run
from geomem.training import TrainConfig, TrainState, load_checkpoint, save_checkpoint, train

__all__ = ["Stack", "network", "networks_stage", "stacks"]

# Networks of a stack: two of the demo's size train in little more time than one.
_STACKED = 2
# Checkpoints of a stack, and values of its loss curve.
_SAVES = 12


@dataclass(frozen=True)
class Stack:
    """Networks that are trained together, on the data set `case`."""

    case: str
    settings: CaseSettings
    index: int

    @property
    def name(self) -> str:
        """Of the record, and of the checkpoint without its ending."""
        return f"{self.case}_networks_{self.index}"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training samples."""
        return self.settings.sizes[self.index * _STACKED : (self.index + 1) * _STACKED]

    @property
    def file(self) -> str:
        """Name of the checkpoint."""
        return f"{self.name}.safetensors"


def stacks(case: str, settings: CaseSettings) -> list[Stack]:
    """The stacks of one data set."""
    return [Stack(case, settings, i) for i in range(-(-len(settings.sizes) // _STACKED))]


def networks_stage(cases: Sequence[Case], run: Run, seed: int, *, share: float, seconds: float) -> Stage:
    """Trains all networks."""

    def part(case: Case, stack: Stack) -> Part:
        label = f"training networks · {case.name}, N = {' and '.join(f'{n:,}' for n in stack.sizes)}"
        cost = case.settings.steps * case.settings.hidden**2 * len(stack.sizes)
        return Part(stack.name, label, lambda tell: _trained(stack, case.data, run, seed, tell), cost)

    def parts() -> list[Part]:
        return [part(case, stack) for case in cases for stack in stacks(case.name, case.settings)]

    return Stage("networks", parts, share=share, seconds=seconds)


def network(case: Case, size: int, run: Run) -> nn.Module:
    """The network trained on the first `size` samples, with averaged weights, from its checkpoint.

    Raises:
        InputError: If the checkpoint is missing or damaged.
    """
    stack = next(stack for stack in stacks(case.name, case.settings) if size in stack.sizes)
    state = load_checkpoint(run.path / stack.file)
    return state.ensemble.member(stack.sizes.index(size), state.average)


def _trained(stack: Stack, data: Tensor, run: Run, seed: int, tell: Tell) -> xr.Dataset:
    """Train a stack from where its last checkpoint left it; its loss curve."""
    settings, path = stack.settings, run.path / stack.file
    if path.exists():
        state = load_checkpoint(path)
    else:
        config = TrainConfig(
            stack.sizes,
            steps=settings.steps,
            hidden=settings.hidden,
            batch_size=settings.batch_size,
            t_min=T_RANGE[0],
            t_max=T_RANGE[1],
            seed=seed,
        )
        state = TrainState(config, data.shape[1], float(data.std(correction=0)))
    every = max(1, settings.steps // _SAVES)
    total, since = torch.zeros(len(stack.sizes)), state.step
    for step in train(state, data):
        total = total + step.loss
        tell(step.step / settings.steps, "")
        if step.step % every == 0 or step.step == settings.steps:
            run.log(part=stack.name, step=step.step, loss=(total / (step.step - since)).tolist())
            with run.writing(stack.file) as temporary:
                save_checkpoint(temporary, state)
            total, since = torch.zeros_like(total), step.step
    return _curve(stack, run)


def _curve(stack: Stack, run: Run) -> xr.Dataset:
    """The losses that were logged; a stack that was killed between log and checkpoint has logged a step twice."""
    logged = {line["step"]: line["loss"] for line in run.metrics() if line.get("part") == stack.name and "step" in line}
    loss = {"units": "1", "long_name": "weighted squared error of the noise, mean over the steps since the last value"}
    return xr.Dataset(
        {"loss": (("step", "size"), list(logged.values()), loss)},
        coords={"step": list(logged), "size": list(stack.sizes)},
    )
