"""`geomem audit`: is this model memorizing?"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.data.matching import unseen
from geomem.data.rows import check_rows, used_rows
from geomem.errors import InputError
from geomem.findings.plain import plain
from geomem.jobs.audit.findings import findings_of
from geomem.jobs.audit.numbers import numbers_of
from geomem.jobs.audit.page import page_of
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.audit.screening import SCREENED, Screening
from geomem.jobs.audit.work import Inputs, Work, joined
from geomem.jobs.job import Job, Report, Stage
from geomem.measure.verdict import EMPIRICAL, MODEL
from geomem.models import opened
from geomem.records import Run
from geomem.spectra import batch_within

__all__ = ["AuditJob"]

_DRAWN, _COPIES = "drawn", "copies"
# Images of the ranking in the summary.
_RANKED = 100
# Records that every finished run has.
_RECORDS = ("duplicates", "points", "cost", EMPIRICAL, MODEL)


class AuditJob(Job[AuditRequest, Inputs]):
    """See `AuditRequest`."""

    name = "audit"
    request = AuditRequest

    def open(self, request: AuditRequest) -> Inputs:
        """Load data and samples, and open the model."""
        training = request.load(request.trained_on)
        check_rows(training, request.limit)
        held_out = None if request.held_out is None else request.like(training, request.held_out, "--held-out")
        if held_out is not None:
            unseen(training, held_out, few="Give more: nothing else shows what is lost.")
        samples = None if request.samples is None else request.like(training, request.samples, "--samples")
        model = opened(request.model, training, scheduler=request.scheduler, label=request.label, device=request.device)
        request.directions_of(math.prod(model.shape))
        low, high = model.reach
        for t in request.times:
            if not low <= t <= high:
                raise InputError(
                    f"--times: {t:g} is out of reach of the model, which was trained from {low:.4g} to {high:.4g}."
                )
        batch_within(model.score, int(request.memory * 2**30), dtype=model.dtype, device=model.device)
        return Inputs(model, training, held_out, samples)

    def facts(self, request: AuditRequest, inputs: Inputs) -> Mapping[str, Any]:
        """Digests of data and weights, and how many samples and directions are taken."""
        data = {"trained_on": inputs.training, "held_out": inputs.held_out, "samples": inputs.samples}
        digests = {f"{name}_fingerprint": None if d is None else d.fingerprint() for name, d in data.items()}
        measured = {"draws": request.drawn, "directions": request.directions_of(math.prod(inputs.model.shape))}
        return {"model_fingerprint": inputs.model.fingerprint(), **digests, "measured": measured}

    def folder(self, request: AuditRequest) -> str:
        """Named after the model."""
        named = request.model if isinstance(request.model, str) else type(request.model).__name__
        path = Path(named).expanduser()
        parts = path.resolve().parts[-2:] if path.exists() else (named,)
        return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-")

    def stages(self, request: AuditRequest, inputs: Inputs, run: Run) -> Sequence[Stage]:
        """Training rows, points, samples and copies, then the spectra of both scores."""
        work = Work(run, request, inputs)

        def duplicates() -> Any:
            return used_rows(inputs.training, limit=request.limit, seed=request.seed)

        stages = [
            Stage.single("duplicates", "looking for duplicates", duplicates, share=0.02),
            Stage.single("points", "choosing images and noise levels", work.points, share=0.02),
            Stage.single("cost", "measuring the cost", work.cost, share=0.01),
        ]
        if request.drawn:
            drawn = partial(work.seconds, _DRAWN)
            stages.append(Stage(_DRAWN, work.draws, _samples, 0.05, drawn, notice=work.notice))
        if request.drawn or inputs.samples is not None:
            stages.append(Stage.single(_COPIES, "comparing samples with the training data", work.copies, share=0.02))
        if work.screens:
            seconds = partial(work.seconds, SCREENED)
            stages.append(Stage(SCREENED, Screening(work).parts, joined, 0.1, seconds))
        for name, share in ((EMPIRICAL, 0.2), (MODEL, 0.6)):
            parts, seconds = partial(work.spectra, name), partial(work.seconds, name)
            stages.append(Stage(name, parts, joined, share, seconds))
        if not request.drawn:
            stages[-2] = replace(stages[-2], notice=work.notice)
        return stages

    def report(self, run: Run) -> Report:
        """Numbers, findings and page, from the records."""
        has_samples = run.config["samples"] is not None or run.config["measured"]["draws"]
        screened = "screened" in run.load("cost").attrs
        records = run.load_all([*_RECORDS, *([_COPIES] if has_samples else []), *([SCREENED] if screened else [])])
        numbers = numbers_of(records, int(run.config["seed"]))
        findings = findings_of(numbers)
        page = page_of(run, records, numbers, findings)
        summary = {**numbers, "findings": findings.plain()}
        if numbers["screening"] is not None:  # the whole ranking is in a table
            screening = numbers["screening"]
            summary["screening"] = {**screening, "ranking": screening["ranking"][:_RANKED]}
        return Report(page.box.verdict, plain(summary), page, table=page.table)


def _samples(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    return xr.concat(parts, "sample")
