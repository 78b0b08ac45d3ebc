"""The options of `geomem theory`."""

from dataclasses import dataclass

from geomem.errors import InputError
from geomem.jobs.parsing import parse_times, parse_variances, times_text, variances_text
from geomem.jobs.request import Request, option

__all__ = ["TheoryRequest"]


# Beyond it, squares or their inverses leave the range of numbers.
_LARGEST = 1e100


@dataclass(frozen=True)
class TheoryRequest(Request):
    """Compute condensation time, effective samples and Jacobian spectra of Gaussian data: table and figure."""

    variances: tuple[float, ...] = option(
        help="Variances with multiplicities, such as 1x2,0.3x5.",
        read=parse_variances,
        write=variances_text,
        least=0,
        most=_LARGEST,
    )
    samples: float = option(help="Number of training samples N.", least=2)
    dim: int | None = option(
        None, help="Ambient dimension d; the remaining directions have variance 0.", least=1, most=200_000
    )
    times: tuple[float, ...] = option(
        tuple(parse_times("1e-3:10:40")),
        help="Noise variances: from:to:count (log-spaced), or a comma-separated list.",
        read=parse_times,
        write=times_text,
        least=1 / _LARGEST,
        most=_LARGEST,
    )
    seed: int = option(0, help="Random seed.", least=0)
    quick: bool = option(False, help="Rough results: few draws of the random matrices.")

    def check(self) -> None:
        """Refuse fewer dimensions than variances, and data without any variance."""
        if self.dim is not None and self.dim < len(self.variances):
            raise InputError(
                f"--dim: {self.dim} is less than the {len(self.variances)} variances given; leave it out or make it larger."
            )
        small = [value for value in self.variances if 0 < value < 1 / _LARGEST]
        if small:
            raise InputError(f"--variances: {small[0]:g} is neither 0 nor at least {1 / _LARGEST:g}; rescale them.")
        if not any(self.variances):
            raise InputError("--variances: all are 0, so there is no manifold; give at least one above 0.")

    @property
    def spectrum(self) -> tuple[float, ...]:
        """s_i (d,): the variances, followed by zeros."""
        return (*self.variances, *[0.0] * ((self.dim or 0) - len(self.variances)))
