"""docs/claims.md, docs/errata.md and the gallery's page, written from records."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xarray as xr

from geomem.errors import InputError, OutputError
from geomem.files import is_file, path_of
from geomem.folder import atomic_path
from geomem.jobs.boundary import readable
from geomem.paper.claims import needs
from geomem.paper.claims import verdicts as all_verdicts
from geomem.paper.errata import ERRATA
from geomem.paper.experiment import Experiment
from geomem.paper.experiments import EXPERIMENTS
from geomem.paper.records import records_of
from geomem.paper.verdict import Table, Verdict
from geomem.records import Run

__all__ = ["documents", "stale", "verdicts_of", "write"]

_GENERATED = "<!-- Written by `geomem claims` from the records in {records}; change those, not this page. -->\n"


def verdicts_of(records: Path | str) -> list[Verdict]:
    """Verdicts from the runs in the folders of `records` that have experiments' names.

    Raises:
        InputError: If the folder holds no run of an experiment, or one that is not finished.
    """
    runs = _runs(path_of(records))
    with readable(Path(records)):
        return all_verdicts({name: arrays for name, (_, arrays) in runs.items()})


def documents(records: Path | str, out: Path | str, verdicts: Sequence[Verdict] | None = None) -> dict[Path, str]:
    """Path to text: claims.md and errata.md in `out`, and the README.md of the records' folder; links are relative.

    `verdicts` are those of `verdicts_of`, where they are known already.

    Raises:
        InputError: As `verdicts_of`, and if an experiment that a claim needs is missing.
    """
    folder, target = path_of(records), path_of(out)
    runs = _runs(folder)
    missing = [name for name in EXPERIMENTS if name not in runs]
    if missing:
        raise InputError(
            f"{folder}: has no run of {', '.join(missing)}; make all of them with geomem reproduce all --out {folder}."
        )
    gallery, back = (Path(os.path.relpath(*pair)).as_posix() for pair in ((folder, target), (target, folder)))
    with readable(folder):
        if verdicts is None:
            verdicts = all_verdicts({name: arrays for name, (_, arrays) in runs.items()})
        errata = _errata(runs["equations"][1]["numbers"], runs["equations"][0])
        return {
            target / "claims.md": _GENERATED.format(records=gallery) + _claims(verdicts, runs, gallery),
            target / "errata.md": _GENERATED.format(records=gallery) + errata,
            folder / "README.md": _GENERATED.format(records="this folder") + _gallery(runs, back),
        }


def write(records: Path | str, out: Path | str, verdicts: Sequence[Verdict] | None = None) -> list[Path]:
    """Write the documents; their paths.

    Raises:
        InputError: As `documents`.
        OutputError: If a file cannot be written.
    """
    texts = documents(records, out, verdicts)
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror}).") from error
    return list(texts)


def stale(records: Path | str, out: Path | str, verdicts: Sequence[Verdict] | None = None) -> list[Path]:
    """Documents that are missing or differ from the records."""
    return [
        path
        for path, text in documents(records, out, verdicts).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]


_Runs = Mapping[str, tuple[Run, Mapping[str, xr.Dataset]]]


def _runs(folder: Path) -> _Runs:
    runs = {}
    for name in EXPERIMENTS:
        if is_file(folder / name / "config.json"):
            run = Run.existing(folder / name)
            if run.config["command"] != f"reproduce {name}":
                raise InputError(
                    f"{folder / name}: was made by geomem {run.config['command']}; move it to a folder of its name."
                )
            with readable(run.path):
                runs[name] = (run, records_of(run))
    if not runs:
        raise InputError(
            f"{folder}: holds no run of an experiment; make them with geomem reproduce all --out {folder}, or name the "
            "folder that holds them with --records."
        )
    return runs


def _claims(verdicts: Sequence[Verdict], runs: _Runs, gallery: str) -> str:
    lines = [
        "# What the paper says, and what holds\n",
        "*Losing dimensions: geometric memorization in generative diffusion*, statement by statement. The evidence is theory, "
        "simulation, and small networks trained on synthetic data and on images. Each verdict is computed from records by the "
        f"rule stated with it. Figures are in the [gallery]({gallery}/README.md), misprints in the [errata](errata.md). Intervals "
        "are 95%; ± is a standard error. Each network is trained once unless the number of trainings is given, so intervals are "
        "over points, not over trainings.\n",
        "| statement | where | verdict |",
        "|---|---|---|",
    ]
    lines += [
        f"| [{v.claim.statement}](#{v.claim.key}) | {v.claim.place} | **{v.evidence.verdict}** |" for v in verdicts
    ]
    for v in verdicts:
        figures = ", ".join(f"[{name}]({gallery}/{name}/{name}.png)" for name in needs(v.claim))
        lines += [
            f'\n<a id="{v.claim.key}"></a>\n',
            f"## {v.claim.statement}\n",
            f"**{v.evidence.verdict[0].upper()}{v.evidence.verdict[1:]}.** {v.claim.place}; records: {figures}.\n",
            f"*Decided by:* {v.claim.statistic}.\n",
            *(f"- {sentence}" for sentence in v.evidence.found),
        ]
        if v.evidence.table is not None:
            lines += ["", *_table(v.evidence.table)]
    lines += ["\n## Records\n", *_table(_provenance(runs))]
    return "\n".join(lines) + "\n"


def _errata(numbers: xr.Dataset, run: Run) -> str:
    lines = [
        "# Errata\n",
        "Equations of *Losing dimensions: geometric memorization in generative diffusion* whose printed form a number refutes. "
        "Its source is named with it. A derived form marked *heuristic* is closer, but not exact either. Printed forms that need "
        f"a condensation time use the exact one. Simulations are over {run.config['datasets']:,} data sets (fewer where each takes "
        "long), ± one standard error. [equations.md](equations.md) lists where each equation is in geomem.\n",
        "| where | printed | derived | quantity | value as printed | value as derived | deciding value |",
        "|---|---|---|---|---|---|---|",
    ]
    for erratum in ERRATA:
        row = numbers.sel(place=erratum.place)
        printed, derived, decides, error = (float(row[k]) for k in ("printed", "derived", "decides", "error"))
        decided = f"{decides:.4g}" + (f" ± {error:.1g}" if error else "")
        cells = (
            erratum.place,
            erratum.printed,
            erratum.derived,
            erratum.number,
            f"{printed:.4g}",
            f"{derived:.4g}" + (" (heuristic)" if erratum.heuristic else ""),
            f"**{decided}** ({erratum.by})",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    lines.append(
        "\nFig. 14 is drawn from Eq. 18; its caption names Eq. 10, which is a density. The text before Eq. 15 takes d much smaller "
        "than N; the expansion needs ln N much smaller than the rank."
    )
    return "\n".join(lines) + "\n"


def _gallery(runs: _Runs, documents: str) -> str:
    lines = [
        "# Gallery\n",
        "Every figure of the paper, and the statements that it makes without one, at full scale unless the command says "
        f"otherwise. Verdicts are in [claims.md]({documents}/claims.md).\n",
    ]
    for name, experiment in EXPERIMENTS.items():
        also = f" (also {', '.join(experiment.also)})" if experiment.also else ""
        lines += [
            f"## {name}{also}: {experiment.place}\n",
            f"{experiment.title[0].upper()}{experiment.title[1:]}.\n",
            f"![{name}]({name}/{name}.png)\n",
            f"`geomem reproduce {name}{_options(runs[name][0], experiment)}`\n",
        ]
    lines += ["## Records\n", *_table(_provenance(runs))]
    return "\n".join(lines) + "\n"


def _options(run: Run, experiment: Experiment) -> str:
    """Scale, training steps and seed of a run, as options."""
    for scale, settings in experiment.settings.items():
        held = json.loads(json.dumps(asdict(settings)))
        other = {key for key, value in held.items() if run.config[key] != value}
        if other <= ({"seed", "steps"} if experiment.with_steps else {"seed"}):
            folder = " --data FOLDER" if experiment.check_data and scale != "quick" else ""
            return f" --scale {scale}{folder}" + "".join(f" --{key} {run.config[key]}" for key in sorted(other))
    return " (with settings of its own)"


def _provenance(runs: _Runs) -> Table:
    rows = []
    for name, (run, records) in runs.items():
        where: Mapping[str, Any] = run.environment()
        steps = run.config.get("steps")
        trained = f"{steps:,}, begun {_training(run)}" if isinstance(steps, int) else ""
        if "sweeps" in run.config:
            trained = ", ".join(f"{arrays.attrs['steps']:,} ({name})" for name, arrays in records.items())
        rows.append((name, str(where["commit"]), str(run.config["seed"]), trained, str(where["started"])[:10]))
    return Table(("experiment", "commit", "seed", "training steps", "date"), tuple(rows))


def _training(run: Run) -> str:
    """When and at which commit the training of a run's networks began, from its log."""
    begun = [line for line in run.metrics() if "commit" in line]
    return f"{begun[0]['time'][:10]} at {begun[0]['commit']}" if begun else "unknown"


def _table(table: Table) -> list[str]:
    rows = [table.header, tuple("---" for _ in table.header), *table.rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
