"""The options of `geomem data`."""

from dataclasses import dataclass

from geomem.errors import InputError
from geomem.jobs.parsing import numbers_text, parse_sizes
from geomem.jobs.reading import FORMS, Budgeted, data_option
from geomem.jobs.request import option

__all__ = ["SMALLEST", "DataRequest"]

# Smallest training subset, and fewest rows that can be held out.
SMALLEST, _FEWEST = 16, 8


@dataclass(frozen=True)
class DataRequest(Budgeted):
    """Analyze data: duplicates, condensation, dimensions, samples needed; or check whether samples copy them."""

    data: str = data_option("Training data", positional=True)
    samples: str | None = option(
        None, help=f"Generated samples to check for copies (or embeddings, if DATA are embeddings): {FORMS}.", path=True
    )
    held_out: str | None = option(None, help=f"Held-out data, the control for copies: {FORMS}.", path=True)
    hold_out: int | None = option(
        None, help="Number of rows to hold out; by default a fifth, at most 1,000.", least=_FEWEST
    )
    sizes: tuple[int, ...] = option(
        (),
        help="Numbers of training samples to compare, such as 100,1000; by default in fourfold steps up to all.",
        read=parse_sizes,
        write=numbers_text,
    )
    t: float | None = option(
        None, help="Reference noise variance of the findings; by default where the empirical score condenses.", above=0
    )
    seed: int = option(0, help="Random seed.", least=0)
    quick: bool = option(False, help="Rough results in seconds: fewer points, noise levels and subsets.")

    def check(self) -> None:
        """Refuse held-out data without anything to compare them with."""
        if self.held_out is not None and self.samples is None:
            raise InputError("--held-out: is the control for generated samples; give those with --samples.")
