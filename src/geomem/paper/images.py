"""Figs. 6 and 7 and Sec. 6.3: networks trained on more and more images, their spectra and dimension.

`quick` trains perceptrons on scikit-learn's digits; `reduced` small U-Nets on MNIST and Fashion-MNIST at 16x16, and perceptrons on a
colour set; `full` the U-Nets of Table 1 on the paper's data at the paper's sizes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomem.errors import InputError
from geomem.jobs.job import Stage
from geomem.jobs.sweep.cells import open_sweep, sweep_stage
from geomem.jobs.sweep.numbers import reading_of, reference_time, rows
from geomem.jobs.sweep.request import SweepRequest
from geomem.paper.experiment import Experiment, Records
from geomem.paper.image_claims import CLAIMS
from geomem.records import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BUNDLED", "EXPERIMENTS", "SCALED", "ImageSettings", "ImageSweep", "drawn_images", "image_stages", "sources"]

# Data that come with the installation.
BUNDLED = ("digits",)
# Files in which data are looked for, in the folder of all data and with their name.
_FILES = ("{}.npy", "{}.npz", "{}/train-images-idx3-ubyte.gz", "{}/train-images-idx3-ubyte", "{}")


@dataclass(frozen=True)
class ImageSweep:
    """A sweep over the sizes of one data set.

    Attributes:
        preset: One of `training.PRESETS`.
        sizes: Numbers of training images, or "paper".
        trainings: Trainings of each size, with as many seeds.
        steps: Optimizer steps; None for the preset's.
        batch_size: Batch size; None for the preset's.
        held_out: Held-out images; None for the default.
        points: Training images, and held-out images, at which spectra are measured.
        samples: Samples drawn from each model.
        image_size: Side in pixels to which images are center-cropped and resized; None to keep them as they are.
    """

    preset: str
    sizes: tuple[int, ...] | str
    trainings: int = 1
    steps: int | None = None
    batch_size: int | None = None
    held_out: int | None = None
    points: int = 16
    samples: int = 200
    image_size: int | None = None


@dataclass(frozen=True)
class ImageSettings:
    """Sweeps by the name of their data; `seed` is the first of each sweep's."""

    sweeps: Mapping[str, ImageSweep]
    seed: int = 0


SCALED = {
    "quick": ImageSettings(
        {"digits": ImageSweep("mlp", (2, 8, 32, 128, 512, 1400), steps=1200, points=12, samples=100)}
    ),
    "reduced": ImageSettings(
        {
            "mnist": ImageSweep(
                "small-unet", (30, 100, 300, 1000, 2000, 4000), steps=10_000, batch_size=32, image_size=16
            ),
            "fashion-mnist": ImageSweep(
                "small-unet", (30, 300, 1000, 4000), steps=10_000, batch_size=32, image_size=16
            ),
            "emoji": ImageSweep("mlp", (2, 64, 1000, 3000), steps=5000, held_out=500),
        }
    ),
    "full": ImageSettings(
        {
            "mnist": ImageSweep("mnist", "paper", points=32, samples=1000),
            "cifar10": ImageSweep("cifar10", "paper", points=32, samples=1000),
            "celeba": ImageSweep("celeba", "paper", points=32, samples=1000, image_size=64),
        }
    ),
}


def image_stages(settings: ImageSettings, data: Path | None, run: Run) -> Sequence[Stage]:
    """A sweep for each data set, whose cells are the parts; `data` is the folder that holds all that are not bundled."""
    return [
        sweep_stage(name, open_sweep(request), run, prefix=f"{name}-", join=True)
        for name, request in sources(settings, data).items()
    ]


def sources(settings: ImageSettings, data: Path | None) -> Mapping[str, SweepRequest]:
    """What is asked of each data set's sweep.

    Raises:
        InputError: If some data are not in the folder.
    """
    return {name: _request(name, one, settings.seed, data) for name, one in settings.sweeps.items()}


def with_steps(settings: ImageSettings, steps: int) -> ImageSettings:
    """The same with another number of optimizer steps in every sweep."""
    return replace(settings, sweeps={name: replace(one, steps=steps) for name, one in settings.sweeps.items()})


def _request(name: str, one: ImageSweep, seed: int, data: Path | None) -> SweepRequest:
    """The sweep over one data set.

    Raises:
        InputError: If the data are not in the folder.
    """
    path = _found(name, data)
    return SweepRequest(
        path,
        one.sizes,
        tuple(range(seed, seed + one.trainings)),
        preset=one.preset,
        hold_out=one.held_out,
        points=one.points,
        samples=one.samples,
        steps=one.steps,
        batch_size=one.batch_size,
        size=one.image_size,
    )


def _found(name: str, data: Path | None) -> str:
    """Where the data are.

    Raises:
        InputError: If they are not in the folder.
    """
    if name in BUNDLED:
        return name
    if data is None:
        raise InputError(
            f"{name}: these data do not come with geomem; give the folder that holds them with --data (it should hold "
            f"{', or '.join(file.format(name) for file in _FILES)})."
        )
    for file in _FILES:
        path = Path(data).expanduser() / file.format(name)
        if path.exists():
            return str(path.resolve())
    raise InputError(f"{data}: holds no {name}; it should hold {', or '.join(file.format(name) for file in _FILES)}.")


def drawn_images(records: Records, settings: Any, note: str) -> "Figure":
    """Figs. 6 and 7 from the records of all data sets."""
    from geomem.figures.sweep import image_figure

    times = {name: reference_time(arrays) for name, arrays in records.items()}
    readings = {name: reading_of(arrays) for name, arrays in records.items()}
    return image_figure(records, {name: rows(arrays) for name, arrays in records.items()}, times, readings, note)


EXPERIMENTS = (
    Experiment(
        "fig6",
        "Figs. 6 and 7, Sec. 6.3",
        "image networks over the number of images: spectra, dimension, copies, and Alg. 3's second differences",
        SCALED,
        {"quick": 70, "reduced": 7200, "full": 1.4e6},
        None,
        drawn_images,
        CLAIMS,
        stages=image_stages,
        also=("fig7",),
        check_data=sources,
        with_steps=with_steps,
    ),
)
