"""The commands that train image networks: `geomem train` and `geomem sweep`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from geomem.jobs.parsing import parse_seeds, parse_sizes, parse_times
from geomem.terminal import interruptible, print_findings, print_table, progress_bar

__all__ = ["sweep", "train"]

# Columns of a sweep's table that fit a terminal; the page has all.
_NARROW = 4

_DATA, _TRAINING = "How data are read", "How networks are trained"
_PRESETS = "mnist, cifar10, celeba (the paper's U-Nets, Table 1), small-unet or mlp (reduced, for a processor)."

Data = Annotated[
    str,
    typer.Argument(
        help="Images: .npy, .npz, folder of images, MNIST or CIFAR-10 files, hf:owner/name, or digits.",
        show_default=False,
    ),
]
Preset = Annotated[str, typer.Option(help=f"Network, and how it is trained: {_PRESETS}", show_default=False)]
Side = Annotated[
    int | None,
    typer.Option(
        "--size",
        help="Cut image files to their centred square, scaled to this many pixels.",
        rich_help_panel=_DATA,
    ),
]
Mode = Annotated[str | None, typer.Option(help="Bring image files to gray or rgb.", rich_help_panel=_DATA)]
Array = Annotated[str | None, typer.Option(help="Name of the array in a .npz file.", rich_help_panel=_DATA)]
Split = Annotated[str, typer.Option(help="Part of a hub data set.", rich_help_panel=_DATA)]
NoiseProcess = Annotated[
    str,
    typer.Option(help="Noise process: vp (DDPM) or ve (variance-exploding, continuous).", rich_help_panel=_TRAINING),
]
Steps = Annotated[int | None, typer.Option(help="Optimizer steps; the preset's by default.", rich_help_panel=_TRAINING)]
Batch = Annotated[int | None, typer.Option(help="Images a step; the preset's by default.", rich_help_panel=_TRAINING)]
Rate = Annotated[
    float | None, typer.Option(help="Adam's learning rate; the preset's by default.", rich_help_panel=_TRAINING)
]
Decay = Annotated[
    float | None,
    typer.Option(help="Decay of the average of the weights; the preset's by default.", rich_help_panel=_TRAINING),
]
Precision = Annotated[
    str,
    typer.Option(
        help="float32, bf16 (products alone), or auto: bf16 where the machine computes in it.",
        rich_help_panel=_TRAINING,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON on standard output.")]
Force = Annotated[bool, typer.Option("--force", help="Replace another run in the output folder.")]


def train(
    data: Data,
    preset: Preset,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run; an interrupted one continues; below geomem-train/ by default."),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Train on this many images, chosen by the seed.", rich_help_panel=_DATA),
    ] = None,
    held_out: Annotated[int, typer.Option(help="Images kept apart, saved as held-out.npy.", rich_help_panel=_DATA)] = 0,
    size: Side = None,
    mode: Mode = None,
    array: Array = None,
    split: Split = "train",
    noise_process: NoiseProcess = "vp",
    steps: Steps = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    ema_decay: Decay = None,
    precision: Precision = "auto",
    tracker: Annotated[
        str | None, typer.Option(help="Log to one of accelerate's trackers too, as tensorboard.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    json_: Json = False,
    force: Force = False,
) -> None:
    """Train a diffusion model on images, and leave it as a diffusers pipeline.

    Interrupted or killed, the same command goes on where it was. For several GPUs or processes: torchrun
    --nproc-per-node N -m geomem train ...
    """
    from geomem.data import load
    from geomem.jobs.train import train as run

    with interruptible(), progress_bar() as progress:
        result = run(
            load(data, size=size, mode=mode, array=array, split=split),
            preset=preset,
            out=out,
            size=limit,
            held_out=held_out,
            noise_process=noise_process,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            ema_decay=ema_decay,
            precision=precision,
            tracker=tracker,
            seed=seed,
            force=force,
            progress=progress,
        )
    if int(os.environ.get("RANK", "0")) == 0:  # of torchrun's processes one speaks
        print_findings(result.page, result.summary, json_, what="model")


def sweep(
    data: Data,
    preset: Preset,
    sizes: Annotated[
        str,
        typer.Option(
            help="Numbers of training images, as 100,1000; or paper: 500, 1000, 2000, ... all, with its extra points.",
            show_default=False,
        ),
    ],
    seeds: Annotated[str, typer.Option(help="Trainings of each size: seeds, as 0,1, or how many.")] = "1",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the sweep; an interrupted one continues; below geomem-sweep/ by default."),
    ] = None,
    on: Annotated[
        str,
        typer.Option(
            help="local, ray, or the address of a Ray cluster that reaches data and folder by the same paths."
        ),
    ] = "local",
    workers: Annotated[
        int | None, typer.Option(help="Cells at a time on this machine; one a core, or one a GPU, by default.")
    ] = None,
    points: Annotated[int, typer.Option(help="Training images, and held-out images, at which spectra are taken.")] = 16,
    times: Annotated[
        str, typer.Option(help="Noise variances, as 0.01,0.1; DDPM's steps 0, 30, 100 and 250 by default.")
    ] = "",
    samples: Annotated[int, typer.Option(help="Samples drawn from each model to look for copies.")] = 200,
    held_out: Annotated[
        int | None,
        typer.Option(
            help="Images kept apart from all training; a fifth, 1,000 at most, by default.", rich_help_panel=_DATA
        ),
    ] = None,
    size: Side = None,
    mode: Mode = None,
    array: Array = None,
    split: Split = "train",
    noise_process: NoiseProcess = "vp",
    steps: Steps = None,
    batch_size: Batch = None,
    learning_rate: Rate = None,
    ema_decay: Decay = None,
    precision: Precision = "auto",
    json_: Json = False,
    force: Force = False,
) -> None:
    """Train on more and more images, and measure which dimensions each model has, and which it lost.

    Cells, one for each size and seed, that are done are not repeated; one that fails keeps no other from being done.
    """
    from geomem.jobs.sweep import Source
    from geomem.jobs.sweep import sweep as run

    source = Source(data, size, mode, array, split)
    with interruptible(), progress_bar() as progress:
        result = run(
            source,
            preset=preset,
            sizes=sizes if sizes == "paper" else parse_sizes(sizes),
            seeds=parse_seeds(seeds),
            out=out,
            on=on,
            workers=workers,
            points=points,
            times=parse_times(times) if times else (),
            samples=samples,
            held_out=held_out,
            noise_process=noise_process,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            ema_decay=ema_decay,
            precision=precision,
            force=force,
            progress=progress,
        )
    if not json_:
        table = result.summary["table"]
        print_table(table["head"][:_NARROW], [row[:_NARROW] for row in table["rows"]])
    print_findings(result.page, result.summary, json_)
