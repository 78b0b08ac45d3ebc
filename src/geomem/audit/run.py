"""`geomem audit`: what anyone's data, and samples of a model trained on them, tell of memorization."""

import json
import re
from pathlib import Path
from typing import Any

from geomem.audit.checks import enough, like, unseen
from geomem.audit.plain import plain
from geomem.audit.settings import LEAST, AuditSettings
from geomem.audit.summary import summarise
from geomem.audit.work import ARRAYS, SHARES, Work
from geomem.errors import InputError
from geomem.images import load
from geomem.records import Result, Run, digest
from geomem.stages import Progress, Stages

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
    out: Path | str | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Audit data, and samples of a model trained on them where given: duplicates, condensation, dimensions, copies.

    Args:
        data: What `images.load` reads.
        samples: Generated samples of the same form, or embeddings where `data` are embeddings; None audits data alone.
        control: Real samples that the model was not trained on; None compares rows of the data with all others.
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
        out: Folder of the run; None is one below geomem-audit/ that is named after what is asked.
        force: Replace another run in the folder.
        progress: Called with what is being done and the share that is done.

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
    if other is not None and made is None:
        raise InputError("--control: is for judging samples; give them with --samples.")
    if other is not None:
        unseen(real, other)
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
        seed=seed,
        quick=quick,
    )
    folder = Run.open(_folder(settings) if out is None else out, "audit", settings, force=force)
    stage = Stages(progress, SHARES)
    Work(folder, settings, real, made, other, stage).all()
    stage.say("writing figures and page")
    return finish(folder)


def finish(folder: Run) -> Result:
    """Summary, figures and page from the arrays of a complete run.

    Raises:
        InputError: For a run that has not finished.
    """
    from geomem.report import audit_page

    names = [*ARRAYS, *(["copies"] if folder.config["samples"] is not None else [])]
    arrays = folder.load_all(names)
    summary = summarise(arrays, int(folder.config["seed"]))
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
