"""What `geomem demo` is asked for."""

from dataclasses import dataclass

from geomem.jobs.request import Request, option

__all__ = ["DemoRequest"]


@dataclass(frozen=True)
class DemoRequest(Request):
    """Watch a gap open and close: real digits and a linear manifold, in two minutes."""

    seed: int = option(0, help="Random seed.", least=0)
    quick: bool = option(False, help="Rough results in seconds: barely trained networks and few points.")
