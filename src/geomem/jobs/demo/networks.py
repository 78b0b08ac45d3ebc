"""The demo's networks: one for each number of training samples, trained in stacks of two.

A stack is a part of the run. It leaves its checkpoint in the run's folder, from which it resumes and from which the parts that
measure read the networks, and its loss curve as its record.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import xarray as xr
from torch import nn

from geomem.jobs.demo.cases import Case
from geomem.jobs.demo.settings import T_RANGE, CaseSettings
from geomem.jobs.job import Part, Stage, Tell
from geomem.records import Run
from geomem.training import EnsembleObjective, EnsembleSettings, load_training, members, train_in

__all__ = ["Stack", "network", "networks_stage", "stacks"]

# Networks of a stack: two of the demo's size train in little more time than one.
_STACKED = 2


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

    def training(self, case: Case, seed: int) -> EnsembleSettings:
        """How it is trained."""
        return EnsembleSettings(
            sizes=self.sizes,
            dim=case.data.shape[1],
            sigma_data=float(case.data.std(correction=0)),
            steps=self.settings.steps,
            hidden=self.settings.hidden,
            batch_size=self.settings.batch_size,
            t_min=T_RANGE[0],
            t_max=T_RANGE[1],
            seed=seed,
        )


def stacks(case: str, settings: CaseSettings) -> list[Stack]:
    """The stacks of one data set."""
    return [Stack(case, settings, i) for i in range(-(-len(settings.sizes) // _STACKED))]


def networks_stage(cases: Sequence[Case], run: Run, seed: int, *, share: float, seconds: float) -> Stage:
    """Trains all networks."""

    def part(case: Case, stack: Stack) -> Part:
        label = f"training networks · {case.name}, N = {' and '.join(f'{n:,}' for n in stack.sizes)}"
        cost = case.settings.steps * case.settings.hidden**2 * len(stack.sizes)
        return Part(stack.name, label, lambda tell: _trained(stack, case, run, seed, tell), cost)

    def parts() -> list[Part]:
        return [part(case, stack) for case in cases for stack in stacks(case.name, case.settings)]

    return Stage("networks", parts, share=share, seconds=seconds)


def network(case: Case, size: int, run: Run, seed: int) -> nn.Module:
    """The network trained on the first `size` samples, with averaged weights, from its checkpoint.

    Raises:
        InputError: If the checkpoint is missing or damaged.
    """
    stack = next(stack for stack in stacks(case.name, case.settings) if size in stack.sizes)
    return members(load_training(run.path / stack.file, stack.training(case, seed)))[stack.sizes.index(size)]


def _trained(stack: Stack, case: Case, run: Run, seed: int, tell: Tell) -> xr.Dataset:
    """Train a stack from where its checkpoint left it; its loss curve."""
    train_in(
        run,
        stack.file,
        stack.training(case, seed),
        lambda state: EnsembleObjective(state, case.data),
        tell=lambda at: tell(at.share, ""),
        labels={"part": stack.name},
    )
    # A stack that was killed has logged some steps twice.
    logged = {line["step"]: line["loss"] for line in run.metrics() if line.get("part") == stack.name and "loss" in line}
    losses = [loss if isinstance(loss, list) else [loss] for loss in logged.values()]
    words = {"units": "1", "long_name": "weighted squared error of the noise, mean over the steps since the last value"}
    return xr.Dataset(
        {"loss": (("step", "size"), losses, words)}, coords={"step": list(logged), "size": list(stack.sizes)}
    )
