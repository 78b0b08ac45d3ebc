"""Pages as a browser shows them: they open, hold their figures, log no error and ask the network for nothing."""

import base64
import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from commands import geomem

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt-get install chromium)"),
]
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions"]
# The page's policy forbids everything that it does not name.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@pytest.fixture(scope="module", params=["data digits", "demo"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    result = geomem(*request.param.split(), "--quick", "--out", "run", cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder / "run"


def browse(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    command = [CHROMIUM, *QUIET, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def requests(page: Path, folder: Path) -> tuple[set[str], str]:
    """Addresses that a page makes the browser ask for (not those that the browser asks for itself), and the console."""
    log = folder / "net.json"
    shown = browse(page, folder, "--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom")
    record = json.loads(log.read_text())
    started = record["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [e["params"] for e in record["events"] if e["type"] == started and "url" in e.get("params", {})]
    console = "\n".join(line for line in shown.stderr.splitlines() if "CONSOLE" in line)
    return {p["url"] for p in asked if p.get("initiator", "not an origin") != "not an origin"}, console


def test_page_asks_for_nothing_and_logs_no_error(run: Path, tmp_path: Path) -> None:
    assert requests(run / "index.html", tmp_path) == (set(), "")


def test_a_page_that_asked_or_failed_would_be_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<h1></h1><img src='http://127.0.0.1:9/picture.png'><script>nothing()</script>")
    asked, console = requests(page, tmp_path)
    assert asked == {"http://127.0.0.1:9/picture.png"}
    assert "nothing is not defined" in console


def test_what_got_into_a_page_neither_runs_nor_asks(run: Path, tmp_path: Path) -> None:
    """By its content security policy, if ever a name or a number were not escaped."""
    harm = (
        "<img src='http://127.0.0.1:9/picture.png'><link rel=stylesheet href='http://127.0.0.1:9/style.css'>"
        "<iframe src='http://127.0.0.1:9/'></iframe><script>document.title = 'ran'</script><img src=x onerror=\"document.title = 'ran'\">"
    )
    copy = tmp_path / "copy.html"
    copy.write_text((run / "index.html").read_text().replace("</body>", f"{harm}</body>"))
    asked, console = requests(copy, tmp_path)
    assert asked == set()
    assert "violates the following Content Security Policy" in console
    assert "<title>ran" not in browse(copy, tmp_path, "--dump-dom").stdout


def test_every_figure_is_decoded_at_its_full_size(run: Path, tmp_path: Path) -> None:
    """The browser's own word on each image, by a script added to a copy of the page."""
    page = (run / "index.html").read_text()
    script = (
        "<script>addEventListener('load', () => { document.title = JSON.stringify([...document.images].map("
        "i => [i.complete, i.naturalWidth, i.naturalHeight, i.alt.length])); });</script>"
    )
    copy = tmp_path / "copy.html"
    allowed = page.replace(POLICY, f"{POLICY}; script-src 'unsafe-inline'")
    assert allowed != page
    copy.write_text(allowed.replace("</body>", f"{script}</body>"))
    title = browse(copy, tmp_path, "--dump-dom").stdout.split("<title>")[1].split("</title>")[0]
    images = json.loads(title)
    saved = sorted(run.glob("*.png"))
    assert len(images) == len(saved) >= 9
    assert all(complete and alt > 20 for complete, _, _, alt in images)
    sizes = sorted(struct.unpack(">II", path.read_bytes()[16:24]) for path in saved)
    assert sorted((width, height) for _, width, height, _ in images) == sizes
    assert all(base64.b64encode(path.read_bytes()).decode() in page for path in saved)


@pytest.mark.parametrize("width", [360, 1200])
def test_page_is_no_wider_than_the_screen(run: Path, tmp_path: Path, width: int) -> None:
    """Wide figures and tables scroll in their own frames, so a phone shows text without moving sideways."""
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<title></title><iframe id=f src='{(run / 'index.html').as_uri()}' style='width:{width}px;height:700px;border:0'>"
        "</iframe><script>addEventListener('load', () => { const d = document.getElementById('f').contentDocument"
        ".documentElement; document.title = JSON.stringify([d.scrollWidth, d.clientWidth]); });</script>"
    )
    shown = browse(frame, tmp_path, "--allow-file-access-from-files", "--dump-dom")
    needed, given = json.loads(shown.stdout.split("<title>")[1].split("</title>")[0])
    assert needed <= given


def test_page_can_be_printed_and_shown_in_the_dark(run: Path, tmp_path: Path) -> None:
    paper = tmp_path / "page.pdf"
    browse(run / "index.html", tmp_path, f"--print-to-pdf={paper}")
    assert paper.read_bytes()[:5] == b"%PDF-"
    assert paper.stat().st_size > 20_000
    pictures = []
    for scheme in ("light", "dark"):
        shot = tmp_path / f"{scheme}.png"
        dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        browse(run / "index.html", tmp_path, "--window-size=800,600", f"--screenshot={shot}", *dark)
        pictures.append(shot.read_bytes())
    assert pictures[0] != pictures[1]
