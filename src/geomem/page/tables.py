"""Tables: cells as the page shows them, and the CSV files beside it with all rows in full precision."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

from geomem.intervals import Interval, Rate
from geomem.page.content import Cell, Table
from geomem.records import Run

__all__ = ["cell_text", "csv_rows", "write_tables"]

# First characters that make a spreadsheet run a cell as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell_text(cell: Cell, spec: str) -> str:
    """A cell for people: numbers by `spec`, integers whole, rates in percent, a dash for what is not known.

    >>> cell_text(Interval(3.14, 2.71, math.inf, 9), ".1f"), cell_text(12345, ".1f"), cell_text(None, ".1f")
    ('3.1 [2.7, ∞]', '12,345', '–')
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Rate):
        return str(cell)
    if isinstance(cell, Interval):
        value, low, high = (cell_text(float(v), spec) for v in (cell.value, cell.low, cell.high))
        return f"{value} [{low}, {high}]"
    if cell is None or math.isnan(cell):
        return "–"
    if math.isinf(cell):
        return "∞" if cell > 0 else "-∞"
    # A column of floats may hold counts, and those have no decimals.
    whole = not isinstance(cell, float) and spec[-1:] in "eEfFgG"
    return format(cell, "," if whole else spec)


def csv_rows(table: Table) -> list[list[str]]:
    """Header and all rows of a table as its CSV file holds them.

    Numbers are written in full precision, rates as shares of 1. A column with intervals or rates becomes three: its title, and
    the title with " low" and " high".

    Raises:
        ValueError: If a row has more or fewer cells than there are columns.
    """
    for row in table.rows:
        if len(row) != len(table.columns):
            raise ValueError(f"{table.name}: a row has {len(row)} cells for {len(table.columns)} columns")
    ranged = [any(isinstance(row[i], Interval | Rate) for row in table.rows) for i in range(len(table.columns))]
    rows: list[list[str]] = [[]]
    for column, three in zip(table.columns, ranged, strict=True):
        rows[0] += [column.title + end for end in ("", " low", " high")[: 3 if three else 1]]
    for row in table.rows:
        cells: list[Cell] = []
        for cell, three in zip(row, ranged, strict=True):
            if isinstance(cell, Interval | Rate):
                cells += [cell.value, cell.low, cell.high]
            else:
                cells += [cell, None, None] if three else [cell]
        rows.append([_exact(cell) for cell in cells])
    return rows


def write_tables(run: Run, tables: Sequence[Table]) -> list[Path]:
    """Write each table as <name>.csv into the run's folder: UTF-8, commas, one header line; the paths.

    Raises:
        OutputError: If the folder cannot be written.
    """
    paths = []
    for table in tables:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(csv_rows(table))
        # Bytes, for text mode would change line ends on Windows; file names may hold bytes that are no UTF-8.
        with run.writing(f"{table.name}.csv") as temporary:
            temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))
        paths.append(run.path / f"{table.name}.csv")
    return paths


def _exact(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return repr(float(cell))  # of NumPy's floats, repr would name the type
    return _harmless(cell) if isinstance(cell, str) else str(cell)


def _harmless(text: str) -> str:
    """Text that a spreadsheet does not run; names come from users. An apostrophe before it marks text there."""
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
