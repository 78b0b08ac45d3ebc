"""The stages that look for duplicates, which `geomem data` and `geomem audit` begin with."""

from collections.abc import Sequence
from functools import cached_property

import xarray as xr

from geomem.data import DataSet
from geomem.data.duplicates import Search
from geomem.data.used import found_in, search_in, search_record, used_rows_of
from geomem.jobs.job import Part, Stage, Tell, split
from geomem.jobs.reading import Budgeted
from geomem.records import Run

__all__ = ["DUPLICATES", "SEARCH", "duplicate_stages"]

# The record with which the search begins, and the one that it makes, see `data.used`.
SEARCH, DUPLICATES = "search", "duplicates"
# Rows of a part, and seconds of one core for a pair of rows: measured on images.
_PART, _PAIR_SECONDS = 2**15, 2.5e-10


def duplicate_stages(run: Run, request: Budgeted, data: DataSet, *, seed: int, share: float) -> list[Stage]:
    """Where the search for near duplicates begins, and the search, in parts."""
    work = _Work(run, request, data, seed)
    return [
        Stage.single(SEARCH, "measuring distances between neighbours", work.begun, share=share / 2, all_cores=False),
        Stage(DUPLICATES, work.parts, work.joined, share / 2, work.seconds),
    ]


class _Work:
    """Makes the records; what several parts need is computed once in a process."""

    def __init__(self, run: Run, request: Budgeted, data: DataSet, seed: int) -> None:
        self.run, self.request, self.data, self.seed = run, request, data, seed

    @cached_property
    def record(self) -> xr.Dataset:
        """What the first stage saved."""
        return self.run.load(SEARCH)

    @cached_property
    def search(self) -> Search:
        """The search, which holds coordinates of all rows."""
        return search_in(self.data, self.record, memory=self.request.bytes)

    def begun(self) -> xr.Dataset:
        """Typical distance, axes and order."""
        return search_record(self.data, limit=self.request.limit, seed=self.seed, memory=self.request.bytes)

    def parts(self) -> Sequence[Part]:
        """Ranges of rows."""

        def some(places: range, tell: Tell) -> xr.Dataset:
            return found_in(self.search, places)

        return split(DUPLICATES, "looking for duplicates", self.record.sizes["kept"], _PART, some)

    def joined(self, parts: Sequence[xr.Dataset]) -> xr.Dataset:
        """All of them."""
        self.__dict__.pop("search", None)  # its memory is not needed any more
        return used_rows_of(self.data, self.record, parts)

    def seconds(self) -> float:
        """About how long the search takes on one core."""
        return float(self.record.sizes["kept"]) ** 2 * _PAIR_SECONDS
