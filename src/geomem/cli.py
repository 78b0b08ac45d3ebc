"""The command line: a table of commands over typed functions, which are imported when they run.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 bad input, 3 the
output cannot be written, 130 interrupted.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from geomem.cli_images import sweep, train
from geomem.errors import GeomemError, InputError, Interrupted
from geomem.jobs.parsing import parse_sizes, parse_times, parse_variances
from geomem.jobs.progress import duration
from geomem.terminal import (
    interruptible,
    print_claims,
    print_experiments,
    print_findings,
    print_theory,
    progress_bar,
    say,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="geomem",
    help="Which dimensions of its data a diffusion model still has, and which it has lost to memorization.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
_MODEL = "Of a model"
Force = Annotated[bool, typer.Option("--force", help="Replace another run in the output folder.")]


def _version(asked: bool) -> None:
    if asked:
        from geomem import __version__

        print(f"geomem {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run; an interrupted one continues.")] = Path("geomem-demo"),
    seed: Seed = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Seconds instead of minutes, hardly trained networks.")
    ] = False,
    json_: Json = False,
    force: Force = False,
) -> None:
    """Train, measure and report on real digits and the paper's linear manifold, in about two minutes."""
    from geomem.jobs.demo import run

    with interruptible(), progress_bar() as progress:
        result = run(out, seed=seed, quick=quick, force=force, progress=progress)
    print_findings(result.page, result.summary, json_)


@app.command()
def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="Training data: .npy, .npz, folder of images, MNIST or CIFAR-10 files, hf:owner/name, or digits.",
            show_default=False,
        ),
    ],
    samples: Annotated[
        str | None, typer.Option(help="Generated samples to compare with the data, in any of the same forms.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="Real samples that the model never saw; by default rows of the data serve.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Cut image files to their centred square, scaled to this many pixels.")
    ] = None,
    mode: Annotated[str | None, typer.Option(help="Bring image files to gray or rgb.")] = None,
    array: Annotated[str | None, typer.Option(help="Name of the array in a .npz file.")] = None,
    split: Annotated[str, typer.Option(help="Part of a hub data set.")] = "train",
    limit: Annotated[int | None, typer.Option(help="Use this many rows, chosen by the seed.")] = None,
    sizes: Annotated[
        str, typer.Option(help="Numbers of training samples, as 100,1000; fourfold steps by default.")
    ] = "",
    held_out: Annotated[
        int | None, typer.Option(help="Images set aside as new ones; a fifth, 1,000 at most, by default.")
    ] = None,
    t: Annotated[
        float | None,
        typer.Option("--t", help="Noise variance (sigma squared) to report at; by default where memorization sets in."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="A model trained on the data: diffusers folder or hub id.", rich_help_panel=_MODEL),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Folder of the scheduler, where the model has none.", rich_help_panel=_MODEL)
    ] = None,
    label: Annotated[
        int | None, typer.Option(help="Class of the data, for a class-conditional model.", rich_help_panel=_MODEL)
    ] = None,
    points: Annotated[
        int | None, typer.Option(help="Training and new images whose spectra are taken; 32.", rich_help_panel=_MODEL)
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            help="Noise variances of the spectra, as 0.1,1 or from:to:count; five around where memorization sets in.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="The paper's thresholds: mnist, cifar10 or celeba.", rich_help_panel=_MODEL)
    ] = None,
    probe: Annotated[
        str,
        typer.Option(help="How its Jacobian is measured; antithetic is the paper's Alg. 2.", rich_help_panel=_MODEL),
    ] = "orthonormal",
    directions: Annotated[
        int | None,
        typer.Option(
            help="Random directions, where all would be too many: sums of survival alone.", rich_help_panel=_MODEL
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(help="Samples to draw and compare with the data; 128.", rich_help_panel=_MODEL)
    ] = None,
    memory: Annotated[float, typer.Option(help="GiB that its evaluations may hold.", rich_help_panel=_MODEL)] = 2.0,
    device: Annotated[
        str | None, typer.Option(help="Where it runs; a GPU by default where there is one.", rich_help_panel=_MODEL)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; below geomem-audit/ by default.")] = None,
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A rough answer in seconds, with wide intervals.")] = False,
    json_: Json = False,
    force: Force = False,
) -> None:
    """Is a model memorizing these data, or would one? Which images, which features, how many more samples are needed?"""
    from geomem.jobs.audit.options import ModelOptions
    from geomem.jobs.audit.run import run

    options = ModelOptions(
        scheduler=scheduler,
        label=label,
        points=points,
        times=() if times is None else tuple(parse_times(times)),
        preset=preset,
        probe=probe,
        directions=directions,
        draws=draws,
        memory=memory,
        device=device,
    )

    def tell(what: str, seconds: float) -> None:
        say(f"spectra of the model: {what}: about {duration(seconds)}. Interrupted, they go on where they were.")

    with interruptible(), progress_bar() as progress:
        result = run(
            data,
            samples=samples,
            control=control,
            size=size,
            mode=mode,
            array=array,
            split=split,
            limit=limit,
            sizes=parse_sizes(sizes),
            held_out=held_out,
            t=t,
            seed=seed,
            quick=quick,
            model=model,
            options=options,
            out=out,
            force=force,
            progress=progress,
            tell=tell,
        )
    print_findings(result.page, result.summary, json_)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
) -> None:
    """Draw a run's figures and page again from its records."""
    from geomem.jobs.redraw import redraw

    print(redraw(run))


@app.command()
def theory(
    variances: Annotated[str, typer.Option(help="Variances with multiplicities, as 1x2,0.3x5.")],
    samples: Annotated[float, typer.Option(help="Number of training samples N.")],
    dim: Annotated[int | None, typer.Option(help="Ambient dimension d; the rest has variance 0.")] = None,
    times: Annotated[
        str, typer.Option(help="Diffusion times: from:to:count, log-spaced, or a list with commas.")
    ] = "1e-3:10:40",
    out: Annotated[Path | None, typer.Option(help="Folder of the run; below geomem-theory/ by default.")] = None,
    seed: Seed = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Few draws of the random matrices.")] = False,
    json_: Json = False,
    force: Force = False,
) -> None:
    """Condensation time, effective samples and Jacobian spectra of Gaussian data: table and figure."""
    from geomem.jobs.theory import run

    result = run(
        parse_variances(variances, dim), samples, parse_times(times), out=out, seed=seed, quick=quick, force=force
    )
    if json_:
        arrays = result.arrays.to_dict()
        print(json.dumps({"figure": str(result.figure), **arrays}, indent=2))
        return
    print_theory(result)


app.command()(train)
app.command()(sweep)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="An experiment, as fig4, or all.", show_default=False)] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="quick (80 seconds at most on two cores), full (the paper's own parameters) or, for fig6, reduced (small networks)."
        ),
    ] = "quick",
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data that do not come with geomem (fig6, reduced and full).")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the experiments and how long they take.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Training steps of the networks (fig5, fig15, fig16); the scale's by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run (for all: of the runs' folders); below geomem-reproduce/ by default."),
    ] = None,
    seed: Seed = 0,
    json_: Json = False,
    force: Force = False,
) -> None:
    """The paper's figures, with verdicts on what it says about them."""
    from geomem.paper import EXPERIMENTS, expected_seconds, experiment_named, run, run_all
    from geomem.paper.run import left_out

    if list_:
        print_experiments()
        return
    if name is None:
        raise InputError(f"give an experiment: {', '.join(EXPERIMENTS)}, or all (see --list).")
    if name == "all" and steps is not None:
        raise InputError("--steps: give it with one experiment that trains networks.")
    passed = left_out(scale, data) if name == "all" else []
    names = [n for n in EXPERIMENTS if n not in passed] if name == "all" else [name]
    if passed:
        say(f"{', '.join(passed)} is passed over: at {scale} scale it needs data (--data).")
    stated = []
    with interruptible(), progress_bar() as progress:
        seconds = sum(expected_seconds(n, scale, steps, seed) for n in names)
        if scale == "full" or seconds > 120:
            # Table 1's networks have no place on a processor: their time is that of a GPU.
            where = (
                "on one GPU (40 TFLOP/s)"
                if scale == "full" and any(experiment_named(n).reads for n in names)
                else "here"
            )
            say(
                f"{name} at {scale} scale takes about {duration(seconds)} {where} from the start; interrupted, it goes on where it was."
            )
        options: dict[str, Any] = {
            "scale": scale,
            "seed": seed,
            "out": out,
            "data": data,
            "force": force,
            "progress": progress,
        }
        for result in run_all(**options) if name == "all" else (run(name, steps=steps, **options),):
            stated.append({"figure": str(result.page), **result.summary})
            if not json_:
                print_claims(result.summary["title"], result.summary["claims"])
                print(f"Figure: {result.page}\n")
    if json_:
        print(json.dumps(stated if name == "all" else stated[0], indent=2))


@app.command()
def claims(
    records: Annotated[Path, typer.Option(help="Folder that holds a run of every experiment.")] = Path("docs/gallery"),
    out: Annotated[Path, typer.Option(help="Folder of claims.md and errata.md.")] = Path("docs"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the documents differ from the records.")
    ] = False,
    json_: Json = False,
) -> None:
    """A verdict on every statement of the paper, from the records of its reproduction: docs/claims.md and errata.md."""
    from geomem.paper.document import stale, verdicts_of, write

    verdicts = verdicts_of(records)
    if json_:
        print(json.dumps([v.plain() for v in verdicts], indent=2))
    else:
        for v in verdicts:
            print(f"{v.evidence.verdict:>14}  {v.claim.statement} ({v.claim.place})")
    if not check:
        for path in write(records, out, verdicts):
            say(f"wrote {path}")
        return
    old = stale(records, out, verdicts)
    if old:
        names = ", ".join(str(path) for path in old)
        raise GeomemError(f"{names}: not what the records say; write them again with geomem claims.")
    say("the documents say what the records say.")


def main() -> None:
    """Entry point: runs a command and turns its errors into one message and an exit code."""
    warnings.showwarning = lambda message, *rest, **named: say(f"warning: {message}")
    try:
        app()
    except Interrupted as error:
        say(str(error))
        sys.exit(error.exit_code)
    except GeomemError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
