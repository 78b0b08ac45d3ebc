"""One self-contained HTML page a run: the verdict first, what supports it below, settings and environment at the end.

index.html   the page, with its pictures inside; its content security policy forbids scripts and anything from the network
<name>.png   each picture
<name>.csv   each table with all its rows
"""

import base64
import io
import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import pyplot

from geomem.figures.style import style
from geomem.page.content import Column, Page, Picture, Section, Table
from geomem.page.tables import cell_text, csv_rows, write_tables
from geomem.records import Run

__all__ = ["write_page", "write_picture"]

_SHORT = 5


def write_page(run: Run, page: Page, *, command: str, again: str, name: str = "index.html") -> Path:
    """Write the page into the run's folder, each picture beside it as PNG and each table as CSV; the page's path.

    Pictures are closed.

    Args:
        run: The run.
        page: What the page says. Sections that hold nothing are left out.
        command: The command that made the run, as "audit", for the page's first line.
        again: The command line that repeats the run.
        name: File name of the page.

    Raises:
        ValueError: For more than five short findings, for names that are no file names or are taken, or for a row that does not
            fit its table's columns. Nothing is written then.
        OutputError: If the folder cannot be written.
    """
    if len(page.short) > _SHORT:
        raise ValueError(f"at most {_SHORT} short findings, got {len(page.short)}")
    sections = [s for s in page.sections if s.text or s.findings or s.pictures or s.tables]
    pictures = [p for p in (page.picture, *(p for s in sections for p in s.pictures)) if p is not None]
    tables = [t for t in (page.table, *(t for s in sections for t in s.tables)) if t is not None]
    _check_names([f"{p.name}.png" for p in pictures] + [f"{t.name}.csv" for t in tables])
    shown_tables = {table.name: _shown_table(table) for table in tables}

    environment = run.environment()
    shown_pictures = {picture.name: _shown_picture(run, picture) for picture in pictures}
    write_tables(run, tables)
    loader = Environment(
        loader=PackageLoader("geomem.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    loader.filters["unbroken"] = _unbroken
    html = loader.get_template("report.html.j2").render(
        version=environment["geomem"],
        command=command.removeprefix("geomem "),
        page=page,
        sections=[_shown_section(section, shown_pictures, shown_tables) for section in sections],
        picture=page.picture and shown_pictures[page.picture.name],
        table=page.table and shown_tables[page.table.name],
        again=again,
        settings=json.dumps(_known(run.config), indent=2, ensure_ascii=False),
        environment=_known(environment),
    )
    # File names may hold bytes that are no UTF-8, which Python keeps as lone surrogates.
    return run.write_text(name, html.encode("utf-8", "backslashreplace").decode())


def _check_names(names: Iterable[str]) -> None:
    """Refuse names that would leave the folder, or write two things to one file."""
    taken = set()
    for name in names:
        if Path(name).name != name or "\\" in name:
            raise ValueError(f"{name!r} is no file name")
        if name.casefold() in taken:
            raise ValueError(f"two parts of the page have the name {name!r}")
        taken.add(name.casefold())


def _shown_section(
    section: Section, pictures: Mapping[str, dict[str, Any]], tables: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "heading": section.heading,
        "text": section.text,
        "findings": section.findings,
        "pictures": [pictures[picture.name] for picture in section.pictures],
        "tables": [tables[table.name] for table in section.tables],
        "open": section.open,
    }


def write_picture(run: Run, picture: Picture) -> Path:
    """Save a picture as <name>.png in the run's folder.

    Raises:
        OutputError: If the folder cannot be written.
    """
    _saved(run, picture)
    return run.path / f"{picture.name}.png"


def _saved(run: Run, picture: Picture) -> bytes:
    """Save the picture; its bytes."""
    buffer = io.BytesIO()
    # Resolution and ground are read when a figure is saved, not when it is made.
    with style():
        picture.figure.savefig(buffer, format="png")
    pyplot.close(picture.figure)
    with run.writing(f"{picture.name}.png") as temporary:
        temporary.write_bytes(buffer.getvalue())
    return buffer.getvalue()


def _shown_picture(run: Run, picture: Picture) -> dict[str, Any]:
    """Save the picture beside the page, and what the template needs of it."""
    png = _saved(run, picture)
    width, height = struct.unpack(">II", png[16:24])
    return {
        "png": base64.b64encode(png).decode(),
        "width": width,
        "height": height,
        "caption": picture.caption,
        "alt": picture.alt,
    }


def _shown_table(table: Table) -> dict[str, Any]:
    """What the template needs of a table.

    Raises:
        ValueError: If a row does not fit the columns.
    """
    csv_rows(table)
    rows = table.rows if table.shown is None else table.rows[: table.shown]
    return {
        "name": table.name,
        "caption": table.caption,
        "columns": [{"title": c.title, "words": _holds_words(table.rows, i)} for i, c in enumerate(table.columns)],
        "rows": [_texts(row, table.columns) for row in rows],
        "total": len(table.rows),
    }


def _texts(row: Sequence[Any], columns: Sequence[Column]) -> list[str]:
    return [cell_text(cell, column.spec) for cell, column in zip(row, columns, strict=True)]


def _holds_words(rows: Sequence[Sequence[Any]], column: int) -> bool:
    """Whether a column is text, which stands to the left; numbers stand to the right."""
    return any(isinstance(row[column], str) for row in rows)


def _unbroken(text: str) -> str:
    """Text with intervals that no line break divides: large type makes that an eyesore."""
    return re.sub(r" ?\[[^\[\] ]+, [^\[\] ]+\]", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _known(held: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {k: _known(v) if isinstance(v, Mapping) else v for k, v in held.items() if v is not None}
