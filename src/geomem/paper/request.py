"""What `geomem reproduce` is asked for."""

from collections.abc import Collection
from dataclasses import dataclass

from geomem.errors import InputError
from geomem.jobs.request import Request, option

__all__ = ["SCALES", "ReproduceRequest"]

SCALES: Collection[str] = ("quick", "reduced", "full")


@dataclass(frozen=True)
class ReproduceRequest(Request):
    """Reproduce the paper's figures, with verdicts on its statements about them."""

    name: str = option(
        "", help="Experiment, such as fig4, or all; by default the experiments are listed.", positional=True
    )
    scale: str = option(
        "quick",
        help="quick (80 seconds at most), full (the paper's own parameters) or, for fig6, reduced (small networks).",
        choices=SCALES,
    )
    data: str | None = option(
        None,
        help="Folder of data that are not part of geomem (needed for fig6, reduced and full).",
        path=True,
        recorded=False,
    )
    steps: int | None = option(
        None, help="Number of training steps (fig5, fig6, fig15, fig16); by default the scale's.", least=1
    )
    seed: int = option(0, help="Random seed.", least=0)
    list: bool = option(False, help="List the experiments and how long they take.", recorded=False)

    def check(self) -> None:
        """Refuse steps for all experiments at once."""
        if self.name == "all" and self.steps is not None:
            raise InputError("--steps: give it with one experiment that trains networks.")
