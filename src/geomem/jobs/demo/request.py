"""What `geomem demo` is asked for."""

from dataclasses import dataclass

from geomem.jobs.request import Request, option

__all__ = ["DemoRequest"]


@dataclass(frozen=True)
class DemoRequest(Request):
    """See a gap open and close: real digits and a linear manifold, in two minutes."""

    seed: int = option(0, help="Random seed.", least=0)
    quick: bool = option(False, help="Hardly trained networks and few points, in seconds.")
