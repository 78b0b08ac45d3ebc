"""The page: what stands where, tables beside it in full, nothing that a name could break, and nothing wider than the screen."""

import base64
import csv
import html
import json
import math
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from geomem.errors import OutputError
from geomem.intervals import Interval, Rate
from geomem.page import Box, Column, Page, Picture, Section, Table, cell_text, csv_rows, write_page, write_tables
from geomem.records import Run
from runs import begun

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)> & 'more'",
    "two\nlines\r\nand\ttabs",
    "a_name_without_spaces_" * 40,
    "not\udcffutf-8.png",
    '=HYPERLINK("http://x","y")',
    "{{ 7 * 7 }}",
]
AGAIN = "geomem audit digits --seed 3"


@dataclass(frozen=True)
class Settings:
    data: str = "dïgits"
    model: str | None = None
    nested: tuple[int, ...] = (1, 2)
    seed: int = 3


def figure(width: float = 7.2) -> Figure:
    drawn = Figure(figsize=(width, 2))
    drawn.subplots().plot([0, 1], [0, 1])
    return drawn


def picture(name: str) -> Picture:
    return Picture(name, figure(), f"Caption of {name}.", f"Text that stands for {name}.")


def table(name: str, count: int = 3, **more: object) -> Table:
    columns = [Column("N", ","), Column("dimension"), Column("copies"), Column("image", "")]
    rows = [[1000 * i, Interval(i / 3, -0.1, math.inf, 5), Rate.of(1, 3 + i), f"image {i}"] for i in range(count)]
    return Table(name, columns, rows, f"Caption of {name}.", **more)


PAGE = Page(
    box=Box("It has lost 3.1 [2.6, 3.6] dimensions", "Quite sure.", "Train on more images."),
    short=["First finding.", "Second finding."],
    picture=picture("front"),
    table=table("first"),
    lead="898 images were used.",
    sections=[
        Section("Dimensions", ["A paragraph."], ["A sentence."], [picture("inner")], [table("second", 30, shown=4)]),
        Section("Copies", findings=["None found."], open=True),
        Section("Left out"),
    ],
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return begun(tmp_path / "run", "audit", Settings())


def written(run: Run, page: Page, **more: str) -> str:
    return write_page(run, page, command="audit", again=AGAIN, **more).read_text(encoding="utf-8")


def read_csv(run: Run, name: str) -> list[list[str]]:
    with (run.path / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream))


class Reader(HTMLParser):
    """Checks that each tag is closed where it must be; keeps tags and the words between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.held: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.held == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.held.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.held.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.held and self.held[-1] != "style":
            self.words.append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_parts_stand_in_their_order(run):
    body = written(run, PAGE).split("<body>")[1]
    order = [
        "geomem 0.1.0 · audit",
        "<h1>It has lost",
        "How sure",
        "Quite sure.",
        "What to do next",
        "Train on more images.",
    ]
    order += [
        "First finding.",
        "Second finding.",
        "Text that stands for front.",
        "Caption of front.",
        "Caption of first.",
        "first.csv",
    ]
    order += [
        "898 images were used.",
        "<details>",
        "<h2>Dimensions</h2>",
        "A paragraph.",
        "A sentence.",
        "stands for inner.",
    ]
    order += ["Caption of second.", "second.csv", "<details open>", "<h2>Copies</h2>", "None found.", "<details>"]
    order += ["Settings and environment", AGAIN, "&#34;seed&#34;: 3", "numpy"]
    at = 0
    for part in order:
        at = body.index(part, at)


def test_structure_speaks_to_those_who_cannot_see_it(run):
    page = Reader(written(run, PAGE))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("main") == tags.count("h1") == 1
    assert "script" not in tags
    assert tags.count("details") == tags.count("summary") == 3  # a section that holds nothing is left out
    assert [a["alt"] for a in page.attributes("img")] == ["Text that stands for front.", "Text that stands for inner."]
    assert {a["scope"] for a in page.attributes("th")} == {"col", "row"}
    assert tags.count("figure") == tags.count("figcaption") == 4
    assert "Left out" not in "".join(page.words)


def test_at_most_five_short_findings(run):
    written(run, replace(PAGE, short=["A finding."] * 5))
    before = sorted(run.path.iterdir())
    with pytest.raises(ValueError, match="at most 5 short findings, got 6"):
        written(run, replace(PAGE, short=["A finding."] * 6), name="other.html")
    assert sorted(run.path.iterdir()) == before


def test_page_of_the_box_alone(run):
    page = Reader(written(run, Page(PAGE.box, [], [])))
    assert [tag for tag, _ in page.tags if tag in ("ul", "figure", "details")] == ["details"]


def test_nothing_is_shown_as_none(run):
    path = run.path / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "commit": None}))
    words = "".join(Reader(written(run, PAGE)).words)
    assert "None" not in words.replace("None found.", "")
    assert "null" not in words
    assert "commit" not in words
    assert '"data": "dïgits"' in words


def test_pictures_are_in_the_page_and_beside_it(run):
    page = Reader(written(run, PAGE))
    for name, shown in zip(("front", "inner"), page.attributes("img"), strict=True):
        png = (run.path / f"{name}.png").read_bytes()
        assert shown["src"] == "data:image/png;base64," + base64.b64encode(png).decode()
        assert (shown["width"], shown["height"]) == tuple(map(str, struct.unpack(">II", png[16:24])))
        assert shown["width"] == str(round(7.2 * 160))  # as geomem.figures.style says, outside of its block too


def test_pictures_are_closed(run):
    drawn = pyplot.figure()
    written(run, replace(PAGE, picture=Picture("front", drawn, "", "Nothing.")))
    assert not pyplot.fignum_exists(drawn.number)


def test_tables_show_their_first_rows_and_name_the_file_with_all(run):
    text = written(run, PAGE)
    words = re.sub(r"<[^>]+>", "", text)
    assert "all 3 rows: first.csv" in words
    assert "The first 4 are shown; all 30 rows: second.csv" in words
    assert [a["href"] for a in Reader(text).attributes("a")] == ["first.csv", "second.csv"]
    assert "image 3" in text
    assert "image 4" not in text
    assert len(read_csv(run, "second")) == 31


@pytest.mark.parametrize(("count", "said"), [(0, "0 rows: few.csv"), (1, "1 row: few.csv"), (2, "all 2 rows: few.csv")])
def test_few_rows(run, count, said):
    page = replace(PAGE, table=table("few", count), sections=[])
    assert f">{said}<" in re.sub(r"</?a[^>]*>", "", written(run, page))
    assert len(read_csv(run, "few")) == count + 1


def test_csv_holds_every_number_in_full(run):
    values = [0.1 + 0.2, 1e-300, -1 / 3, math.pi * 1e9, float(np.nextafter(1, 2)), math.inf]
    columns = [Column("x", ".1f"), Column("range", ".0f"), Column("rate"), Column("n")]
    rows = [[v, Interval(v, -v, 2 * v, 9), Rate.of(1, 7), 10**15 + i] for i, v in enumerate(values)]
    paths = write_tables(run, [Table("full", columns, rows)])
    assert paths == [run.path / "full.csv"]
    head, *lines = read_csv(run, "full")
    assert head == ["x", "range", "range low", "range high", "rate", "rate low", "rate high", "n"]
    rate = Rate.of(1, 7)
    for i, (line, v) in enumerate(zip(lines, values, strict=True)):
        assert [float(cell) for cell in line] == [v, v, -v, 2 * v, 1 / 7, rate.low, rate.high, 10**15 + i]
        assert line[-1] == str(10**15 + i)
    assert paths[0].read_bytes().count(b"\n") == len(values) + 1
    assert b"\r" not in paths[0].read_bytes()


def test_csv_of_cells_that_are_missing_or_of_several_kinds():
    rows = [[None, None], ["none", 1.5], [np.float64(0.1), Interval(1, 0, 2, 3)]]
    assert csv_rows(Table("mixed", [Column("a"), Column("b")], rows)) == [
        ["a", "b", "b low", "b high"],
        ["", "", "", ""],
        ["none", "1.5", "", ""],
        ["0.1", "1", "0", "2"],
    ]


def test_csv_runs_nothing_in_a_spreadsheet():
    words = ["=1+1", "@SUM(A1)", "+1 cat", "-cat.png", "-1.5", "+2", "cat = dog"]
    rows = csv_rows(Table("words", [Column("name", "")], [[word] for word in words]))
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'@SUM(A1)", "'+1 cat", "'-cat.png", "-1.5", "+2", "cat = dog"]


@pytest.mark.parametrize(
    ("cell", "spec", "text"),
    [
        ("a name", ".1f", "a name"),
        (None, ".1f", "–"),
        (math.nan, ".1f", "–"),
        (-math.inf, ".1f", "-∞"),
        (1234567, ".1f", "1,234,567"),
        (1234567, "d", "1234567"),
        (0.12345, ".3g", "0.123"),
        (0.5, ".0%", "50%"),
        (Interval(1, 0.5, math.inf, 3), ".2f", "1.00 [0.50, ∞]"),
        (Interval(1.0, 0.5, 2.0, 3), ".2f", "1.00 [0.50, 2.00]"),
        (Rate(1, 8, 0.003, 0.527), ".1f", "12.5% [0.3, 52.7]"),
    ],
)
def test_cells_for_people(cell, spec, text):
    assert cell_text(cell, spec) == text


def test_what_users_write_is_text(run):
    """In every part of a page, and in its tables."""
    all_of_it = " ".join(HOSTILE)
    names = Table("names", [Column(all_of_it, "")], [[name] for name in HOSTILE], all_of_it)
    section = Section(all_of_it, HOSTILE, HOSTILE, [Picture("hostile", figure(), all_of_it, all_of_it)], [names])
    page = Page(Box(all_of_it, all_of_it, all_of_it), HOSTILE[:5], [section], lead=all_of_it)
    text = write_page(run, page, command=all_of_it, again=all_of_it).read_text(encoding="utf-8")
    shown = Reader(text)
    assert not {"script", "iframe"} & {tag for tag, _ in shown.tags}
    assert len(shown.attributes("img")) == 1
    assert not any(key.startswith("on") for _, attributes in shown.tags for key in attributes)
    for name in HOSTILE:
        assert html.escape(name.encode("utf-8", "backslashreplace").decode()[:20]).replace("&quot;", "&#34;").replace(
            "&#x27;", "&#39;"
        ).replace("\r\n", "\n") in text.replace("\r\n", "\n")
    saved = [row[0] for row in read_csv(run, "names")[1:]]
    assert saved == [*HOSTILE[:4], "not\\udcffutf-8.png", f"'{HOSTILE[5]}", HOSTILE[6]]


@pytest.mark.parametrize("name", ["../out", "a/b", "a\\b", "/etc/x"])
def test_files_stay_in_the_folder(run, name):
    with pytest.raises(ValueError, match="is no file name"):
        written(run, replace(PAGE, table=table(name)))
    with pytest.raises(ValueError, match="is no file name"):
        written(run, replace(PAGE, picture=picture(name)))
    assert not (run.path / "index.html").exists()


def test_two_parts_cannot_share_a_file(run):
    with pytest.raises(ValueError, match=r"two parts of the page have the name 'inner\.png'"):
        written(run, replace(PAGE, picture=picture("Inner")))
    written(run, replace(PAGE, table=table("inner")))  # a picture and a table are two files


def test_row_that_does_not_fit_is_refused_before_anything_is_written(run):
    before = sorted(run.path.iterdir())
    with pytest.raises(ValueError, match="bad: a row has 1 cells for 2 columns"):
        written(run, replace(PAGE, table=Table("bad", [Column("a"), Column("b")], [[1]])))
    assert sorted(run.path.iterdir()) == before


def test_lost_folder_is_an_output_error(run):
    write_page(run, PAGE, command="geomem audit", again=AGAIN)
    environment = run.environment()
    run.environment = lambda: environment
    shutil.rmtree(run.path)
    with pytest.raises(OutputError, match="cannot be written"):
        written(run, PAGE)


def test_style_for_paper_and_the_dark(run):
    style = written(run, PAGE).split("<style>")[1].split("</style>")[0]
    screen, paper = style.split("@media print")
    assert "details::details-content { content-visibility: visible" in paper
    assert "details-content" not in screen
    assert "@media screen and (prefers-color-scheme: dark)" in screen
    assert not re.search(r"url\(|@import|https?:", style)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)")


def browse(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        f"--user-data-dir={page.parent / 'profile'}",
    ]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture
def crowded(run: Run) -> Path:
    """A page in which everything is too long, with all sections open."""
    long, wide = (
        "a_name_without_any_space_" * 20,
        Table("wide", [Column(f"column {i}") for i in range(40)], [[1e6] * 40]),
    )
    names = Table(long[:80], [Column(long, "")] * 2, [[long, long]], long)
    section = Section(long, [long], [long], [Picture("large", figure(20), long, long)], [wide, names], open=True)
    page = Page(Box(long, long, long), [long], [section], lead=long)
    return write_page(run, page, command=long, again=long)


@browser
@pytest.mark.slow
def test_page_is_no_wider_than_the_screen(crowded, tmp_path):
    """In frames, for a headless window is never narrower than 500 pixels; wide parts scroll in boxes of their own."""
    frames = "".join(
        f"<iframe src='{crowded.as_uri()}' style='width:{w}px;height:900px;border:0'></iframe>" for w in (360, 1200)
    )
    script = (
        "addEventListener('load', () => { document.title = JSON.stringify([...document.querySelectorAll('iframe')].map(f => {"
        "const d = f.contentDocument; d.querySelectorAll('details').forEach(x => x.open = true); const r = d.documentElement;"
        "return [r.scrollWidth, f.contentWindow.innerWidth, [...d.querySelectorAll('.scroll')].filter(b => b.scrollWidth > b.clientWidth).length]; })); })"
    )
    both = tmp_path / "frames.html"
    both.write_text(f"<title></title>{frames}<script>{script}</script>")
    dom = browse(both, "--allow-file-access-from-files", "--dump-dom")
    found = json.loads(dom.split("<title>")[1].split("</title>")[0])
    assert [width for _, width, _ in found] == [360, 1200]
    assert all(needed <= width for needed, width, _ in found)
    assert all(scrolling >= 1 for _, _, scrolling in found)


@browser
@pytest.mark.slow
def test_closed_sections_are_open_on_paper(run, tmp_path):
    """The same pages on paper whether sections are open on the screen or not."""
    sizes = []
    for opened in (False, True):
        sections = [Section(f"Section {i}", ["A paragraph."] * 60, open=opened) for i in range(3)]
        page = write_page(run, replace(PAGE, sections=sections), command="audit", again=AGAIN)
        if opened:
            page.write_text(page.read_text().replace("<details>", "<details open>"))
        paper = tmp_path / "page.pdf"
        browse(page, "--no-pdf-header-footer", f"--print-to-pdf={paper}")
        sizes.append(len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())))
    assert sizes[0] == sizes[1] >= 4
