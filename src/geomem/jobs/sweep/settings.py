"""All that a sweep depends on, from its request and the data: sizes, times, the paper's constants of Alg. 3, and how cells are trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geomem.data import DataSet
from geomem.errors import InputError
from geomem.jobs.sweep.request import SweepRequest
from geomem.jobs.train.settings import settings_of
from geomem.noise import ddpm_times
from geomem.spectra.dimension import PRESETS, Preset
from geomem.training.images import divided, shape_of
from geomem.training.presets import TrainSettings, unlisted
from geomem.training.unet import SHAPES

__all__ = ["SweepSettings", "cell_name", "paper_sizes", "reading_of", "settings_for", "times_of"]

# Images held out by default: at most this share of the data, and this number.
_SHARE, _HELD_OUT = 5, 1000
_SMALLEST = 2
# Noise levels in which samples are drawn.
_SAMPLING_STEPS = 50
# Sizes that the paper adds to 500, 1,000, 2,000 ... all, for a closer look at few images (Supp. A).
_EXTRA = {"mnist": (2, 4, 8, 16, 32, 64, 128, 256, 325, 400, 500), "celeba": (100, 200)}
# Alg. 3 elsewhere: the share of the largest values that the paper leaves out of MNIST's, and its threshold.
_DISCARDED, _THRESHOLD = 100 / 784, 15.0


@dataclass(frozen=True)
class SweepSettings:
    """All that a sweep's results depend on; a cell is one size and one seed.

    Attributes:
        training: How each cell is trained; its `size`, `seed` and `split_seed` are replaced by the cell's.
        sizes: Numbers of training images, ascending.
        seeds: Seeds of weights, noise, and of which images are trained on and held out.
        points: Training images, and held-out images, at which spectra are measured.
        times: Noise variances t of the spectra, ascending.
        discard: Singular values that Alg. 3 leaves out.
        threshold: Its threshold.
        samples: Samples drawn from each model, to look for copies.
        sampling_steps: Noise levels of the probability-flow ODE that draws them.
    """

    training: TrainSettings
    sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    points: int
    times: tuple[float, ...]
    discard: int
    threshold: float
    samples: int
    sampling_steps: int

    @property
    def cells(self) -> tuple[tuple[int, int], ...]:
        """(size, seed) of each cell; all seeds of a size follow each other."""
        return tuple((size, seed) for size in self.sizes for seed in self.seeds)

    @property
    def alg3(self) -> Preset:
        """How Alg. 3 reads spectra."""
        return Preset(self.discard, self.threshold, 0)

    @classmethod
    def read(cls, held: Mapping[str, Any]) -> "SweepSettings":
        """From a run's configuration.

        Raises:
            KeyError: If one is missing.
        """
        return cls(**{**unlisted(cls, held), "training": TrainSettings.read(held["training"])})


def cell_name(size: int, seed: int) -> str:
    """Name of a cell's record and folder.

    >>> cell_name(400, 1)
    'n000400-seed1'
    """
    return f"n{size:06d}-seed{seed}"


def paper_sizes(network: str, available: int) -> tuple[int, ...]:
    """The paper's sizes (Supp. A) as far as there are images: 500, 1,000, 2,000 ... all, and its extra points.

    >>> paper_sizes("celeba", 2900)
    (100, 200, 500, 1000, 2000, 2900)
    """
    doubled = [500]
    while doubled[-1] * 2 < available:
        doubled.append(doubled[-1] * 2)
    chosen = {*doubled, *_EXTRA.get(network, ()), available}
    return tuple(sorted(size for size in chosen if size <= available))


def reading_of(shape: tuple[int, ...]) -> Preset:
    """Alg. 3's constants for images of a shape: the paper's for its own three, and MNIST's in proportion elsewhere."""
    own = next((name for name, known in SHAPES.items() if known == tuple(shape)), None)
    if own is not None:
        return PRESETS[own]
    dim = shape[0] * shape[1] * shape[2]
    return Preset(round(_DISCARDED * dim), _THRESHOLD, 0)


def times_of(asked: tuple[float, ...], step: int) -> tuple[float, ...]:
    """Times of the spectra: those asked for, or DDPM's at the step of the paper's reading and at steps 30, 100 and 250."""
    return tuple(sorted(set(asked))) or tuple(float(t) for t in ddpm_times()[sorted({step, 30, 100, 250})])


def settings_for(data: DataSet, request: SweepRequest) -> SweepSettings:
    """Settings of a sweep.

    Raises:
        InputError: For what cannot be done with the data.
    """
    distinct = divided(data, None, 1, 0)[0].size + 1
    apart = min(_HELD_OUT, distinct // _SHARE) if request.hold_out is None else request.hold_out
    if not 2 <= apart <= distinct - _SMALLEST:
        raise InputError(
            f"--hold-out: {apart:,} of the {distinct:,} distinct images of {data.name} cannot be held out; at least 2 must be, and as "
            "many left to train on."
        )
    asked = request.sizes
    sizes = paper_sizes(request.preset, distinct - apart) if isinstance(asked, str) else tuple(sorted(set(asked)))
    if sizes[-1] + apart > distinct:
        raise InputError(
            f"--sizes: {data.name} has {distinct:,} distinct images, fewer than {sizes[-1]:,} training images and {apart:,} held-out ones "
            f"(--hold-out). The largest size can be {distinct - apart:,}."
        )
    template = settings_of(data, request, size=sizes[-1], held_out=apart, seed=0, split_seed=0)
    alg3 = reading_of(shape_of(data))
    return SweepSettings(
        training=template,
        sizes=sizes,
        seeds=request.seeds,
        points=min(request.points, apart),
        times=times_of(request.times, alg3.step),
        discard=alg3.discard,
        threshold=alg3.threshold,
        samples=request.samples,
        sampling_steps=_SAMPLING_STEPS,
    )
