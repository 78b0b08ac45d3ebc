"""What `geomem reproduce` is asked for."""

from collections.abc import Collection
from dataclasses import dataclass

from geomem.errors import InputError
from geomem.jobs.request import Request, option

__all__ = ["SCALES", "ReproduceRequest"]

SCALES: Collection[str] = ("quick", "reduced", "full")


@dataclass(frozen=True)
class ReproduceRequest(Request):
    """The paper's figures, with verdicts on what it says about them."""

    name: str = option("", help="An experiment, as fig4, or all; without one, the list of them.", positional=True)
    scale: str = option(
        "quick",
        help="quick (80 seconds at most), full (the paper's own parameters) or, for fig6, reduced (small networks).",
        choices=SCALES,
    )
    data: str | None = option(
        None,
        help="Folder of the data that do not come with geomem (fig6, reduced and full).",
        path=True,
        recorded=False,
    )
    steps: int | None = option(
        None, help="Training steps of the networks (fig5, fig6, fig15, fig16) instead of the scale's.", least=1
    )
    seed: int = option(0, help="Random seed.", least=0)
    list: bool = option(False, help="List the experiments and how long they take.", recorded=False)

    def check(self) -> None:
        """Refuse steps for all experiments at once."""
        if self.name == "all" and self.steps is not None:
            raise InputError("--steps: give it with one experiment that trains networks.")
