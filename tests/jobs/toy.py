"""A job that counts: parts record numbers, so that the engine can be tested by itself. Started as a worker process, it registers first."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from geomem.errors import InputError
from geomem.jobs import registry
from geomem.jobs.job import Job, Part, Report, Stage, Tell
from geomem.jobs.request import Request, option
from geomem.page import Box, Page
from geomem.records import Run
from geomem.seeds import derived_generator

# What a worker process is started with, in place of ("-m", "geomem.jobs.worker").
WORKER = ("-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); from jobs import toy; toy.work()")


@dataclass(frozen=True)
class ToyRequest(Request):
    """Count to a number."""

    data: str = option(help="A file with a number.", positional=True, path=True)
    count: int = option(4, help="Number of parts.", least=1)
    fail: str = option("", help="Part that fails.", recorded=False)
    how: str = option("error", help="How it fails.", choices=("error", "bug", "killed"), recorded=False)
    keep_going: bool = option(False, help="Whether other parts are computed where one fails.", recorded=False)
    seed: int = option(0, help="Random seed.", least=0)


class ToyJob(Job[ToyRequest, float]):
    """See `ToyRequest`."""

    name = "toy"
    request = ToyRequest

    def open(self, request: ToyRequest) -> float:
        path = Path(request.data)
        if not path.is_file():
            raise InputError(f"{path}: does not exist.")
        return float(path.read_text())

    def facts(self, request: ToyRequest, inputs: float) -> Mapping[str, Any]:
        return {"value": inputs}

    def stages(self, request: ToyRequest, inputs: float, run: Run) -> Sequence[Stage]:
        def first() -> xr.Dataset:
            return xr.Dataset({"start": ((), inputs)})

        def parts() -> list[Part]:
            start = float(run.load("first")["start"])  # a stage may read what earlier ones saved

            def make(i: int) -> Any:
                def made(tell: Tell) -> xr.Dataset:
                    return counted(request, start, i, tell)

                return made

            return [Part(f"part_{i}", f"part {i}", make(i)) for i in range(request.count)]

        def join(arrays: Sequence[xr.Dataset]) -> xr.Dataset:
            return xr.concat(arrays, "part")

        return [
            Stage.single("first", "reading", first),
            Stage("counted", parts, None if request.keep_going else join, keep_going=request.keep_going),
        ]

    def report(self, run: Run) -> Report:
        names = ["counted"] if run.has("counted") else [f"part_{i}" for i in range(run.config["count"])]
        found = [run.load(name) for name in names if run.has(name)]
        if not found:
            raise InputError(f"{run.path}: is not finished.")
        total = sum(float(arrays["sum"].sum()) for arrays in found)
        box = Box(f"The sum is {total:.3f}.", "Sure.", "Count on.")
        return Report(box.verdict, {"sum": total}, page=Page(box, ["One finding."], []))


def counted(request: ToyRequest, start: float, i: int, tell: Tell) -> xr.Dataset:
    if request.fail == f"part_{i}":
        if request.how == "killed":
            os.kill(os.getpid(), 9)
        if request.how == "bug":
            raise ZeroDivisionError("division by zero")
        raise InputError(f"part {i} was told to fail.")
    numbers = torch.randn(300, 300, generator=derived_generator(request.seed, "toy", i), dtype=torch.float64)
    tell(0.5, f"part {i} halfway")
    time.sleep(0.05)
    product = (numbers @ numbers).sum() + start
    return xr.Dataset({"sum": ((), float(product)), "threads": ((), torch.get_num_threads())})


def register() -> None:
    registry.COMMANDS["toy"] = registry.Command("Count.", f"{__name__}:ToyRequest", f"{__name__}:ToyJob")


def work() -> None:
    from geomem.jobs.worker import main

    register()
    main(*sys.argv[1:])
