"""The options of `geomem sweep`."""

from dataclasses import dataclass, field

from geomem.errors import InputError
from geomem.jobs.parsing import numbers_text, parse_seeds, parse_sizes, parse_times, seeds_text, times_text
from geomem.jobs.reading import Reading, data_option
from geomem.jobs.request import option
from geomem.jobs.train.options import TrainingOptions

__all__ = ["PAPER", "SweepRequest"]

# The sizes of the paper.
PAPER = "paper"


def _parse(text: str) -> tuple[int, ...] | str:
    return PAPER if text.strip() == PAPER else parse_sizes(text)


def _text(sizes: tuple[int, ...] | str) -> str:
    return sizes if isinstance(sizes, str) else numbers_text(sizes)


@dataclass(frozen=True)
class SweepRequest(TrainingOptions, Reading):
    """Train on increasing numbers of images, and measure the dimensions of each model.

    One model is trained for each number of images and each seed. Models that are done are not trained again; one that fails does
    not affect the others.
    """

    data: str = data_option("Images", positional=True)
    sizes: tuple[int, ...] | str = option(
        help="Numbers of training images, such as 100,1000; or paper: 500, 1000, 2000, ... all, with its extra points.",
        read=_parse,
        write=_text,
        least=2,
    )
    # Sizes say how many images are used.
    limit: None = field(default=None, init=False, repr=False)
    seeds: tuple[int, ...] = option(
        (0,),
        help="Number of trainings of each size, or their seeds, such as 0,1.",
        read=parse_seeds,
        write=seeds_text,
        least=0,
    )
    points: int = option(
        16, help="Number of training images to measure at, and of held-out images.", least=2, most=10**6
    )
    times: tuple[float, ...] = option(
        (),
        help="Noise variances of the spectra, such as 0.01,0.1; by default DDPM's steps 0, 30, 100 and 250.",
        read=parse_times,
        write=times_text,
        above=0,
    )
    samples: int = option(
        200, help="Number of samples to draw from each model and check for copies.", least=1, most=10**6
    )
    hold_out: int | None = option(
        None, help="Number of images to hold out of all training sets; by default a fifth, at most 1,000.", least=2
    )

    def check(self) -> None:
        """Refuse sizes and seeds that make no sweep."""
        if isinstance(self.sizes, str) and self.sizes != PAPER:
            raise InputError(f"--sizes: {self.sizes!r} is not known; give numbers, or {PAPER}.")
        if not self.sizes or not self.seeds:
            raise InputError("--sizes, --seeds: at least one size and one seed are needed.")
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"--seeds: no seed may be given twice, got {numbers_text(self.seeds)}.")
