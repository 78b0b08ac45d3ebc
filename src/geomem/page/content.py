"""What a page is made of: a box with the verdict, short findings, one table, and sections that fold."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from geomem.intervals import Interval, Rate

__all__ = ["Box", "Cell", "Column", "Page", "Picture", "Section", "Table"]

Cell = str | int | float | Interval | Rate | None


@dataclass(frozen=True)
class Box:
    """What a reader should know after ten seconds.

    Attributes:
        verdict: The finding in one sentence.
        sure: How sure that is, and why.
        next: What to do next.
    """

    verdict: str
    sure: str
    next: str


@dataclass(frozen=True)
class Picture:
    """A figure with its file name (without .png), its caption, and a text for those who cannot see it."""

    name: str
    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True)
class Column:
    """Heading of a column, and how its numbers are shown (a format spec); CSV has them in full."""

    title: str
    spec: str = "z.1f"


@dataclass(frozen=True)
class Table:
    """Rows of numbers and names. The page shows the first `shown` rows, the CSV file <name>.csv all of them.

    Attributes:
        name: File name without .csv.
        columns: Headings.
        rows: Cells; intervals and rates become three columns in CSV (value, low, high), None is empty.
        caption: What the table shows, in a sentence.
        shown: Rows on the page; None for all.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    shown: int | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what folds under it."""

    heading: str
    text: Sequence[str] = ()
    """Paragraphs."""
    findings: Sequence[str] = ()
    """Sentences of a list."""
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    open: bool = False


@dataclass(frozen=True)
class Page:
    """A page: verdict, how sure and what to do in one box; at most five short findings; one table; sections that fold.

    Attributes:
        box: The verdict.
        short: At most five short findings.
        table: The one table that stands open; None for none.
        picture: The one picture that stands open; None for none.
        sections: What folds.
        lead: What was done, at what scale, in small print.
    """

    box: Box
    short: Sequence[str]
    sections: Sequence[Section]
    table: Table | None = None
    picture: Picture | None = None
    lead: str = ""
