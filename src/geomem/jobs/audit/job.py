"""`geomem audit`: is this model memorizing?"""

import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from geomem.data import DataSet
from geomem.data.captions import captioned
from geomem.data.matching import unseen
from geomem.data.rows import check_rows
from geomem.errors import InputError
from geomem.files import exists, path_of
from geomem.findings.plain import plain
from geomem.jobs.audit.closer import CHOSEN, CLOSER, Closer
from geomem.jobs.audit.drawn import COPIES, DRAWN, Drawn, joined_samples
from geomem.jobs.audit.findings import findings_of
from geomem.jobs.audit.numbers import numbers_of
from geomem.jobs.audit.opening import base_of, model_of, worded
from geomem.jobs.audit.page import page_of
from geomem.jobs.audit.request import AuditRequest
from geomem.jobs.audit.screening import SCREENED, Screening
from geomem.jobs.audit.spectra import Spectra
from geomem.jobs.audit.tuned import tuned_report, tuned_stages
from geomem.jobs.audit.work import Inputs, Work, joined
from geomem.jobs.duplicates import DUPLICATES, duplicate_stages
from geomem.jobs.job import Job, Report, Stage
from geomem.measure.pairs import EMPIRICAL, MODEL
from geomem.measure.tuned import LEAST_TUNED
from geomem.measure.verdict import LEAST_IMAGES
from geomem.records import Run
from geomem.spectra import batch_within

__all__ = ["AuditJob"]

# Images of the ranking in the summary.
_RANKED = 100
# Records that every finished run has.
_RECORDS = (DUPLICATES, "points", "cost", SCREENED, CHOSEN, CLOSER)


class AuditJob(Job[AuditRequest, Inputs]):
    """See `AuditRequest`."""

    name = "audit"
    request = AuditRequest

    def open(self, request: AuditRequest) -> Inputs:
        """Load data and samples, and open the model."""
        training = None if request.trained_on is None else request.load(request.trained_on)
        held_out: DataSet | None = None
        if request.held_out is not None and training is None:
            held_out = request.load(request.held_out)
        elif request.held_out is not None and training is not None:
            held_out = request.like(training, request.held_out, "--held-out")
        base = held_out if training is None else training
        assert base is not None
        check_rows(base, request.limit, least=LEAST_TUNED if request.tuned else 2 * LEAST_IMAGES)
        if held_out is not None and training is not None:
            least = {"least": LEAST_TUNED} if request.tuned else {}
            unseen(training, held_out, few="Give more: nothing else shows what is lost.", **least)
        samples = None if request.samples is None else request.like(base, request.samples, "--samples")
        own = request.trained_on or request.held_out
        assert own is not None
        asked = () if request.captions is None else captioned(base, own, request.captions).captions
        model = model_of(request, base, asked)
        classes = [] if all(word.isdigit() for word in asked) else sorted(set(asked))
        if training is not None and request.trained_on is not None:
            training = worded(request, model, training, request.trained_on, "--trained-on", classes)
        if held_out is not None and request.held_out is not None:
            held_out = worded(request, model, held_out, request.held_out, "--held-out", classes)
        reference = base_of(request, model, base, asked)
        request.directions_of(math.prod(model.shape))
        low, high = model.reach
        for t in request.times:
            if not low <= t <= high:
                raise InputError(
                    f"--times: {t:g} is out of reach of the model, which was trained from {low:.4g} to {high:.4g}."
                )
        batch_within(model.score, request.bytes, dtype=model.dtype, device=model.device)
        return Inputs(model, training, held_out, samples, reference)

    def facts(self, request: AuditRequest, inputs: Inputs) -> Mapping[str, Any]:
        """Digests of data and weights, and how many samples and directions are taken."""
        data = {"trained_on": inputs.training, "held_out": inputs.held_out, "samples": inputs.samples}
        digests = {f"{name}_fingerprint": None if d is None else d.fingerprint() for name, d in data.items()}
        if inputs.reference is not None:
            digests["base_fingerprint"] = inputs.reference.fingerprint()
        measured = {"draws": request.drawn, "directions": request.directions_of(math.prod(inputs.model.shape))}
        return {"model_fingerprint": inputs.model.fingerprint(), **digests, "measured": measured}

    def folder(self, request: AuditRequest) -> str:
        """Named after the model."""
        named = request.model if isinstance(request.model, str) else type(request.model).__name__
        path = path_of(named)
        parts = path.resolve().parts[-2:] if exists(path) else (named,)
        return re.sub(r"[^A-Za-z0-9]+", "-", "-".join(parts)).strip("-")

    def stages(self, request: AuditRequest, inputs: Inputs, run: Run) -> Sequence[Stage]:
        """Training rows, noise levels and cost; screening, the closer look, samples and copies; whole spectra where asked for."""
        work = Work(run, request, inputs)
        if inputs.reference is not None:
            return tuned_stages(work, inputs.reference)
        closer, screening, spectra, samples = Closer(work), Screening(work), Spectra(work), Drawn(work)

        stages = [
            *duplicate_stages(run, request, inputs.base, seed=request.seed, share=0.02),
            Stage.single("points", "choosing images and noise levels", work.points, share=0.02),
            Stage.single("cost", "measuring the cost", work.cost, share=0.01),
            Stage(SCREENED, screening.parts, joined, 0.4, partial(work.seconds, SCREENED), notice=work.notice),
            Stage.single(CHOSEN, "choosing images for a closer look", closer.chosen, share=0.01),
            Stage(CLOSER, closer.parts, closer.joined, 0.3, closer.seconds),
        ]
        if request.drawn:
            stages.append(
                Stage(DRAWN, lambda: samples.draws(work.drawn), joined_samples, 0.2, partial(work.seconds, DRAWN))
            )
        if request.drawn or inputs.samples is not None:
            stages.append(Stage.single(COPIES, "comparing samples with the training data", samples.copies, share=0.02))
        for name, share in ((EMPIRICAL, 0.5), (MODEL, 1.5)) if request.probe is not None else ():
            stages.append(Stage(name, partial(spectra.parts, name), joined, share, partial(work.seconds, name)))
        return stages

    def report(self, run: Run) -> Report:
        """Numbers, findings and page, from the records."""
        if run.config.get("adapter") is not None or run.config.get("base") is not None:
            return tuned_report(run)
        has_samples = run.config["samples"] is not None or run.config["measured"]["draws"]
        probed = (EMPIRICAL, MODEL) if run.config["probe"] is not None else ()
        records = run.load_all([*_RECORDS, *([COPIES] if has_samples else []), *probed])
        numbers = numbers_of(records, int(run.config["seed"]), run.metrics())
        findings = findings_of(numbers)
        page = page_of(run, records, numbers, findings)
        summary = {**numbers, "findings": findings.plain()}
        screening = numbers["screening"]  # its whole ranking is in a table
        summary["screening"] = {**screening, "ranking": screening["ranking"][:_RANKED]}
        return Report(page.box.verdict, plain(summary), page, table=page.table)
