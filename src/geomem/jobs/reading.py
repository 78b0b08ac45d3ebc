"""How data are read: the options that audit, data, train and sweep share."""

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geomem.jobs.request import RUN, Request, option
from geomem.limits import LARGEST_SIDE

if TYPE_CHECKING:
    from geomem.data import DataSet

__all__ = ["FORMS", "Budgeted", "Reading", "data_option"]

# Heading of these options in help.
_GROUP = "How data are read"
# What data may be, for help.
FORMS = ".npy, .npz, folder of images, MNIST or CIFAR-10 files, hf:owner/name, or digits"


def data_option(what: str, default: Any = MISSING, *, positional: bool = False) -> Any:
    """A field that names data: `what` they are, as "Images", and what may be given; no default where none is named."""
    return option(default, help=f"{what}: {FORMS}.", positional=positional, path=True)


@dataclass(frozen=True, kw_only=True)
class Reading(Request):
    """How the data that a request names are read."""

    size: int | None = option(
        None, help="Center-crop and resize images to this many pixels a side.", least=1, most=LARGEST_SIDE, group=_GROUP
    )
    mode: str | None = option(None, help="Convert images to gray or rgb.", choices=("gray", "rgb"), group=_GROUP)
    background: str = option(
        "white",
        help="Background of transparent pixels in image files: white or black; ignore drops the alpha channel.",
        choices=("white", "black", "ignore"),
        group=_GROUP,
    )
    array: str | None = option(None, help="Name of the array in a .npz file.", group=_GROUP)
    skip_unreadable: bool = option(
        False, help="Leave out image files and subfolders that cannot be read; the page counts them.", group=_GROUP
    )
    split: str = option("train", help="Split of a hub data set.", group=_GROUP)
    limit: int | None = option(
        None, help="Number of rows to use, drawn at random; all by default.", least=1, group=_GROUP
    )

    def load(self, source: str | Path) -> "DataSet":
        """The data, not yet limited.

        Raises:
            InputError: As `data.load`.
        """
        from geomem.data import load

        return load(
            source,
            size=self.size,
            mode=self.mode,
            array=self.array,
            split=self.split,
            background=self.background,
            skip_unreadable=self.skip_unreadable,
        )

    def omitted(self, data: "DataSet") -> str | None:
        """What was left out of data, for people; None for nothing."""
        return " ".join(data.notes) if self.skip_unreadable and data.notes else None

    def like(self, real: "DataSet", source: str | Path, named: str) -> "DataSet":
        """Data that are to be compared with `real`, which the option `named` names.

        Raises:
            InputError: As `data.matching.like`.
        """
        from geomem.data.matching import like

        return like(
            real,
            source,
            named,
            size=self.size,
            mode=self.mode,
            array=self.array,
            background=self.background,
            skip_unreadable=self.skip_unreadable,
        )


@dataclass(frozen=True, kw_only=True)
class Budgeted(Reading):
    """Data are read and analyzed within a memory budget."""

    memory: float = option(2.0, help="Memory budget (GiB).", above=0, recorded=False, group=RUN)

    @property
    def bytes(self) -> int:
        """The memory budget in bytes."""
        return int(self.memory * 2**30)
