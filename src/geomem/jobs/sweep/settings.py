"""What a sweep over data-set sizes is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geomem.errors import InputError
from geomem.noise import ddpm_times
from geomem.spectra.dimension import PRESETS as READINGS
from geomem.spectra.dimension import Preset
from geomem.training.presets import TrainSettings, unlisted
from geomem.training.unet import SHAPES

__all__ = ["SCORES", "SETS", "SweepSettings", "cell_name", "paper_sizes", "reading_of", "times_of"]

# Where spectra are taken, and of which scores.
SETS, SCORES = ("training", "held-out"), ("network", "empirical")
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
        seeds: Seeds of weights, noise, and of which images are trained on and kept apart.
        points: Training images, and images kept apart, at which spectra are taken.
        times: Noise variances t of the spectra, ascending.
        discard: Singular values that Alg. 3 leaves out.
        threshold: Its threshold.
        samples: Samples drawn from each model, to look for copies.
        sampling_steps: Noise levels of the flow that draws them.
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
        return READINGS[own]
    dim = shape[0] * shape[1] * shape[2]
    return Preset(round(_DISCARDED * dim), _THRESHOLD, 0)


def times_of(asked: tuple[float, ...], step: int) -> tuple[float, ...]:
    """Times of the spectra: those asked for, or DDPM's at the step of the paper's reading and at steps 30, 100 and 250."""
    if asked:
        if not all(0 < t < float("inf") for t in asked):
            raise InputError("--times: must be finite and above 0.")
        return tuple(sorted(set(asked)))
    return tuple(float(t) for t in ddpm_times()[sorted({step, 30, 100, 250})])
