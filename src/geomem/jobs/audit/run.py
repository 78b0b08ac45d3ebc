"""`geomem audit`: what anyone's data, and samples of a model trained on them, tell of memorization."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geomem.data import load
from geomem.errors import InputError
from geomem.findings.plain import plain
from geomem.jobs.audit.options import ModelOptions
from geomem.jobs.audit.probing import MODEL_ARRAYS, MODEL_SHARES, Probing
from geomem.jobs.audit.settings import LEAST, AuditSettings
from geomem.jobs.audit.summary import summarise
from geomem.jobs.audit.work import ARRAYS, SHARES, Work
from geomem.jobs.checks import enough, like, unseen
from geomem.jobs.progress import Progress, Stages
from geomem.models.model import opened
from geomem.records import Result, Run, digest
from geomem.scores import Score
from geomem.spectra import batch_within

__all__ = ["finish", "run"]


def run(
    data: str | Path,
    *,
    samples: str | Path | None = None,
    control: str | Path | None = None,
    size: int | None = None,
    mode: str | None = None,
    array: str | None = None,
    split: str = "train",
    limit: int | None = None,
    sizes: tuple[int, ...] = (),
    held_out: int | None = None,
    t: float | None = None,
    seed: int = 0,
    quick: bool = False,
    model: str | Path | Score | None = None,
    options: ModelOptions | None = None,
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str, float], None] | None = None,
) -> Result:
    """Audit data, and a model trained on them or its samples: duplicates, condensation, dimensions, copies, the verdict.

    Args:
        data: What `images.load` reads.
        samples: Generated samples of the same form, or embeddings where `data` are embeddings; None audits data alone.
        control: Real samples that the model was not trained on; None compares rows of the data with all others, and leaves
            a model's dimensions without anything to be compared with.
        size: Cut and scale image files to this side.
        mode: "gray" or "rgb" for image files.
        array: Array of a .npz file.
        split: Part of a hub data set.
        limit: Use this many rows, chosen by the seed.
        sizes: Numbers of training samples to compare; () for fourfold steps up to all.
        held_out: Rows kept apart; None is a fifth, 1,000 at most.
        t: Noise variance that the findings speak of, data units squared; None is where Σw² = 1/2 at held-out points.
        seed: Seed of everything random.
        quick: Fewer points, times and subsets.
        model: A diffusers folder or hub id, see `scores.load`, or a score: trained on all of `data`.
        options: What is asked of it; None for the defaults.
        out: Folder of the run; None is one below geomem-audit/ that is named after what is asked.
        force: Replace another run in the folder.
        progress: Called with what is being done and the share that is done.
        tell: Called with what the model's spectra consist of and the seconds that they will take, before they are begun.

    Returns:
        Folder, page, and summary.

    Raises:
        InputError: For data that cannot be read or are too few, samples of another shape, or options out of range.
        OutputError: If the folder cannot be used.
    """
    for name, value, least in (("seed", seed, 0), ("limit", limit, LEAST), ("held-out", held_out, LEAST // 5)):
        if value is not None and value < least:
            raise InputError(f"--{name}: must be at least {least}, got {value}.")
    if t is not None and not 0 < t < float("inf"):
        raise InputError(f"--t: must be finite and above 0, got {t:g}.")
    real = load(data, size=size, mode=mode, array=array, split=split)
    enough(real, limit, sizes, held_out)
    made = None if samples is None else like(real, samples, "samples", mode, array)
    other = None if control is None else like(real, control, "control", mode, array)
    if other is not None and made is None and model is None:
        raise InputError("--control: is for judging a model or samples; give them with --model or --samples.")
    if other is not None:
        unseen(real, other, of_model=model is not None)
    asked = options or ModelOptions()
    if model is None and asked != ModelOptions():
        raise InputError(
            "--scheduler, --label, --points, --times, --preset, --probe, --directions, --draws, --memory, --device: are for --model."
        )
    chosen = None
    if model is not None:
        asked.check()
        if made is not None and asked.draws:
            raise InputError("--draws: samples were given with --samples; leave one of the two out.")
        chosen = opened(model, real, scheduler=asked.scheduler, label=asked.label, device=asked.device)
        batch_within(chosen.score, asked.bytes, dtype=chosen.dtype, device=chosen.device)  # refuses what does not fit
    settings = AuditSettings(
        data=str(data),
        fingerprint=real.fingerprint(),
        size=size,
        mode=mode,
        array=array,
        split=split,
        limit=limit,
        sizes=tuple(sorted(set(sizes))),
        held_out=held_out,
        points=24 if quick else 64,
        spectra=8 if quick else 32,
        ranked=64 if quick else 512,
        repeats=1 if quick else 3,
        steps=6 if quick else 12,
        reach=30.0,
        t=t,
        samples=None if samples is None else str(samples),
        samples_fingerprint=None if made is None else made.fingerprint(),
        control=None if control is None else str(control),
        control_fingerprint=None if other is None else other.fingerprint(),
        model=None if chosen is None else asked.settings(chosen, quick=quick, draws=made is None),
        seed=seed,
        quick=quick,
    )
    folder = Run.open(_folder(settings) if out is None else out, "audit", settings, force=force)
    shares = SHARES
    if chosen is not None:
        first = MODEL_SHARES["data stages"]
        shares = {**{name: first * share for name, share in SHARES.items()}, **MODEL_SHARES}
    stage = Stages(progress, shares)
    work = Work(folder, settings, real, made, other, stage)
    work.all()
    if chosen is not None:
        Probing(work, chosen, memory=asked.bytes, tell=tell).all()
    stage.say("writing figures and page")
    return finish(folder)


def finish(folder: Run) -> Result:
    """Summary, figures and page from the arrays of a complete run.

    Raises:
        InputError: For a run that has not finished.
    """
    from geomem.jobs.audit.page import audit_page

    asked = folder.config["model"]
    names = [*ARRAYS, *(MODEL_ARRAYS if asked is not None else [])]
    names += ["copies"] if folder.config["samples"] is not None or (asked and asked["draws"]) else []
    arrays = folder.load_all(names)
    summary = summarise(arrays, int(folder.config["seed"]), None if asked is None else asked["preset"])
    page = audit_page(folder, arrays, summary)
    stated: dict[str, Any] = plain(summary)
    folder.write_text("summary.json", json.dumps(stated, indent=2) + "\n")
    return Result(folder.path, page, stated)


def _folder(settings: AuditSettings) -> Path:
    """A folder that only the same question shares."""
    name = re.sub(
        r"[^A-Za-z0-9]+",
        "-",
        Path(settings.data).expanduser().resolve().stem if settings.data != "digits" else "digits",
    )
    return Path("geomem-audit") / f"{name.strip('-')}-{digest(settings)}"
