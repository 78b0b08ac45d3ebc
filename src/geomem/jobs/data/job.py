"""`geomem data`: what data alone tell of memorization, and whether generated samples copy them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from geomem.data.matching import unseen
from geomem.data.rows import check_rows, hold_out_count
from geomem.errors import InputError
from geomem.files import path_of
from geomem.findings.plain import plain
from geomem.jobs.data.findings import findings_of
from geomem.jobs.data.numbers import numbers_of
from geomem.jobs.data.page import page_of
from geomem.jobs.data.request import SMALLEST, DataRequest
from geomem.jobs.data.work import Inputs, Work, extent_of, joined, posterior_seconds, steps_of_sizes
from geomem.jobs.duplicates import DUPLICATES, duplicate_stages
from geomem.jobs.job import Job, Report, Stage
from geomem.measure.copies import compared
from geomem.measure.posterior import local_directions
from geomem.records import Run

__all__ = ["DataJob"]

# Records of a finished run, with the share of the time that each takes, measured on 60,000 images of 28x28 pixels; and the one
# of samples, where there are any.
_SHARES = {
    DUPLICATES: 0.1,
    "condensation": 0.03,
    "data": 0.0,
    "posterior": 0.73,
    "theory": 0.11,
    "directions": 0.01,
    "memorized": 0.02,
}
_COPIES = "copies"
# Directions of each kind that are shown at a point.
_SHOWN = 3


class DataJob(Job[DataRequest, Inputs]):
    """See `DataRequest`."""

    name = "data"
    request = DataRequest

    def open(self, request: DataRequest) -> Inputs:
        """Load data, samples and held-out data."""
        real = request.load(request.data)
        usable = check_rows(real, request.limit)
        training = usable - hold_out_count(real, usable, request.hold_out)
        sizes = request.sizes
        if sizes and not SMALLEST <= min(sizes) <= max(sizes) <= training:
            raise InputError(
                f"--sizes: must lie between {SMALLEST} and the {training:,} distinct training samples of {real.name}, got "
                f"{', '.join(map(str, sizes))}."
            )
        made = None if request.samples is None else request.like(real, request.samples, "--samples")
        held_out = None if request.held_out is None else request.like(real, request.held_out, "--held-out")
        if held_out is not None:
            unseen(real, held_out, few="Leave it out, and rows of the data serve as the control.")
        return Inputs(real, made, held_out)

    def facts(self, request: DataRequest, inputs: Inputs) -> Mapping[str, Any]:
        """Digests of all values, and how much is measured."""
        held = {"": inputs.real, "samples_": inputs.made, "held_out_": inputs.held_out}
        digests = {f"{name}fingerprint": None if d is None else d.fingerprint() for name, d in held.items()}
        return {**digests, "extent": asdict(extent_of(request.quick))}

    def folder(self, request: DataRequest) -> str:
        """Named after the data."""
        named = request.data
        name = named if named == "digits" else path_of(named).resolve().stem
        return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")

    def stages(self, request: DataRequest, inputs: Inputs, run: Run) -> Sequence[Stage]:
        """What the data tell, then what the samples do."""
        work = Work(run, request, inputs)
        extent, real, made = work.extent, inputs.real, inputs.made
        n = min(len(real), request.limit or len(real))
        sizes = steps_of_sizes(n, request.sizes)
        seconds = posterior_seconds([*sizes[:-1] * extent.repeats, n], real.dim, extent)
        singles = {
            "condensation": ("when the score condenses", work.condensation),
            "data": ("describing the data", work.described),
            "directions": (
                "which directions are kept and lost",
                lambda: local_directions(work.data, work.focus, _SHOWN),
            ),
            "memorized": ("ranking training points", work.ranked),
        }
        stages: list[Stage] = []
        for name, share in _SHARES.items():
            if name == DUPLICATES:
                stages += duplicate_stages(run, request, real, seed=request.seed, share=share)
            elif name == "posterior":
                stages.append(Stage(name, work.cells, joined, share, seconds))
            elif name == "theory":
                stages.append(Stage(name, work.theory, work.theory_joined, share, work.theory_seconds))
            else:
                label, make = singles[name]
                stages.append(Stage.single(name, label, make, share=share, all_cores=False))
        if made is not None:

            def copies() -> Any:
                return compared(real, made, inputs.held_out, work.duplicates, seed=request.seed)

            stages.append(Stage.single(_COPIES, "comparing samples with the data", copies, share=0.0))
        return stages

    def report(self, run: Run) -> Report:
        """Numbers, findings and page, from the records."""
        names = [*_SHARES, *([_COPIES] if run.config["samples"] is not None else [])]
        records = run.load_all(names)
        numbers = numbers_of(records, int(run.config["seed"]))
        findings = findings_of(numbers)
        page = page_of(run, records, numbers, findings)
        summary = {**numbers, "findings": findings.plain()}
        return Report(page.box.verdict, plain(summary), page, table=page.table)
