"""What a job is: a request, parts that each make one labelled array, and a report made from them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import xarray as xr

from geomem.jobs.request import Request
from geomem.page import Page, Picture, Table
from geomem.records import Run

__all__ = ["Job", "Join", "Part", "Report", "Result", "Stage", "Tell", "split"]

# Called with the share of a part that is done, and what is being done.
Tell = Callable[[float, str], None]
Join = Callable[[Sequence[xr.Dataset]], xr.Dataset]

R = TypeVar("R", bound=Request)
Inputs = TypeVar("Inputs")


@dataclass(frozen=True)
class Part:
    """A piece of work that makes one labelled array, independent of the other parts of its stage.

    Attributes:
        name: Of its record.
        label: What is being done, for people.
        make: Makes the record.
        cost: Its share of the stage, in any unit.
    """

    name: str
    label: str
    make: Callable[[Tell], xr.Dataset]
    cost: float = 1.0


def split(name: str, what: str, count: int, step: int, make: Callable[[range, Tell], xr.Dataset]) -> list[Part]:
    """Parts that make some of `count` pieces each.

    Args:
        name: Of the stage; a part's is that and its first piece.
        what: What is being done.
        count: Number of pieces.
        step: Pieces of a part.
        make: Makes the record of some pieces.
    """
    pieces = [range(first, min(first + step, count)) for first in range(0, count, step)]
    return [
        Part(f"{name}_{some.start}", f"{what} · {some.stop:,} of {count:,}", partial(make, some), len(some))
        for some in pieces
    ]


@dataclass(frozen=True)
class Stage:
    """Parts that may be computed in any order and anywhere, once the stages before are saved.

    Attributes:
        name: Of the record that `join` makes.
        parts: Names the parts; called when the stages before are saved.
        join: Makes one record of the parts', in their order, which then replaces them; None keeps theirs.
        share: Share of the whole job's time.
        seconds: About how long all parts take in one process, or what says so once the stages before are saved. Long stages are
            spread over processes by default.
        all_cores: Whether a part computed in this process may use all cores. Its last bits then depend on their number, so it
            is for stages of one part, which never leave this process.
        keep_going: Whether the other parts are computed, and a report is made, where one fails.
        notice: What should be known before the parts are computed, as what they cost; None for nothing.
    """

    name: str
    parts: Callable[[], Sequence[Part]]
    join: Join | None = None
    share: float = 1.0
    seconds: float | Callable[[], float] = 0.0
    all_cores: bool = False
    keep_going: bool = False
    notice: Callable[[], str | None] = lambda: None

    @classmethod
    def single(
        cls, name: str, label: str, make: Callable[[], xr.Dataset], *, share: float = 1.0, all_cores: bool = True
    ) -> "Stage":
        """A stage of one part, which may use all cores.

        One that works on many small blocks is to use one: its threads would wait for each other at each of them, on shared cores
        for most of the time.
        """
        return cls(name, lambda: [Part(name, label, lambda tell: make())], share=share, all_cores=all_cores)


@dataclass(frozen=True)
class Report:
    """What a finished run says.

    Attributes:
        title: The finding in one sentence.
        summary: Numbers and words as JSON holds them: summary.json, and what --json prints.
        page: The page; None for a job that leaves figures alone.
        pictures: Figures of a job without a page.
        table: What the terminal shows of the numbers.
        lines: What it says beside the title, of a job without a page.
        left: The file or folder that the job is for, where that is neither page nor figure.
    """

    title: str
    summary: Mapping[str, Any]
    page: Page | None = None
    pictures: Sequence[Picture] = field(default=())
    table: Table | None = None
    lines: Sequence[str] = ()
    left: Path | None = None


@dataclass(frozen=True)
class Result:
    """What a command left.

    Attributes:
        folder: Of the run.
        page: The page, or the figure or model of a run without one.
        summary: What summary.json holds.
        report: What was made from the records.
    """

    folder: Path
    page: Path
    summary: Mapping[str, Any]
    report: Report


class Job(ABC, Generic[R, Inputs]):
    """One command.

    Attributes:
        name: As on the command line.
        request: Its request's class.
    """

    name: str
    request: type[R]

    def answer(self, request: R) -> Table | None:
        """What answers a request that needs no run; None for one that does."""
        return None

    def expanded(self, request: R) -> Mapping[str, R]:
        """The requests that one stands for, by the name of their folder below --out; itself as a rule."""
        return {"": request}

    @abstractmethod
    def open(self, request: R) -> Inputs:
        """Load what the request names, and refuse what cannot be done, before anything is written.

        Raises:
            InputError: Saying what is wrong and what to do.
        """

    def facts(self, request: R, inputs: Inputs) -> Mapping[str, Any]:
        """What results depend on beside the request: digests of data and weights. Part of config.json."""
        return {}

    def settings(self, request: R, inputs: Inputs) -> dict[str, Any]:
        """All that results depend on, as config.json holds it: the request's options, and the facts."""
        facts = self.facts(request, inputs).items()
        plain = {key: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for key, v in facts}
        held: dict[str, Any] = json.loads(json.dumps({**request.recorded(), **plain}))
        return held

    def notice(self, request: R, inputs: Inputs) -> str | None:
        """What should be known before the work begins, as how long it takes; None for nothing."""
        return None

    @abstractmethod
    def stages(self, request: R, inputs: Inputs, run: Run) -> Sequence[Stage]:
        """The work, in order."""

    @abstractmethod
    def report(self, run: Run) -> Report:
        """What the records of a finished run say.

        Raises:
            InputError: If records are missing or damaged.
        """

    def follows(self, request: R, inputs: Inputs, folder: Path) -> bool:
        """Whether this process only helped another one that carries out the same request, and is done."""
        return False

    def folder(self, request: R) -> str:
        """A readable name for the default folder, below geomem-<command>/."""
        return self.name

    def title(self, request: R) -> str:
        """The name of the run in config.json."""
        return self.name

    def default_folder(self, request: R, digest: str) -> Path:
        """Where a run goes that no folder was named for: only the same request shares it."""
        return Path(f"geomem-{self.name}") / f"{self.folder(request)}-{digest}"
