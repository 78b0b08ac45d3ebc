"""One self-contained HTML page: sections of findings, figures and tables, with settings and environment at its end."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from geomem.records import Run

__all__ = ["Picture", "Section", "Table", "write_page"]


@dataclass(frozen=True)
class Picture:
    """A figure with its file name, caption, and a text that stands for it where it cannot be seen."""

    name: str
    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    findings: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


def write_page(
    run: Run,
    name: str,
    *,
    title: str,
    lead: str,
    sections: Sequence[Section],
    again: str,
    method: str,
    short: Sequence[str] = (),
) -> None:
    """Write `name` into the run's folder, and each picture beside it as PNG.

    Args:
        run: The run.
        name: File name of the page.
        title: The finding in a sentence.
        lead: What was done, at what scale.
        sections: The page's body.
        again: The command that repeats the run.
        short: The most important findings, under the title.
        method: Template with the words on how to read the page, "demo" or "audit".

    Raises:
        OutputError: If the folder cannot be written.
    """
    loader = Environment(
        loader=PackageLoader("geomem.page"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = []
    for section in sections:
        figures = [{"png": _png(run, p), "alt": p.alt, "caption": p.caption} for p in section.pictures]
        shown.append(
            {"heading": section.heading, "findings": section.findings, "figures": figures, "tables": section.tables}
        )
    html = loader.get_template("page.html.j2").render(
        title=title,
        lead=lead,
        sections=shown,
        again=again,
        short=short,
        method=f"{method}.html.j2",
        command=f"geomem {run.config['command']}",
        settings=json.dumps(run.config, indent=2),
        environment=run.environment(),
    )
    run.write_text(name, html)


def _png(run: Run, picture: Picture) -> str:
    """Save the picture beside the page; its bytes in base64."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png")
    with run.writing(f"{picture.name}.png") as temporary:
        temporary.write_bytes(buffer.getvalue())
    return base64.b64encode(buffer.getvalue()).decode()
