"""Requests: one place for an option's name, type, default, help and bounds."""

import json
from dataclasses import dataclass

import pytest

from geomem.cli import main
from geomem.errors import InputError
from geomem.jobs.parsing import parse_times, times_text
from geomem.jobs.registry import COMMANDS, request_named
from geomem.jobs.request import Execution, Request, flag, option, options


@dataclass(frozen=True)
class Counting(Request):
    """Count things."""

    data: str = option(help="What to count.", positional=True, path=True)
    limit: int | None = option(None, help="At most so many.", least=2)
    share: float = option(0.5, help="A share.", above=0, below=1)
    kind: str = option("plain", help="A kind.", choices=("plain", "fancy"))
    times: tuple[float, ...] = option((), help="Times.", read=parse_times, write=times_text, above=0)
    fast: bool = option(False, help="Fast.")
    memory: float = option(2.0, help="Memory.", recorded=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 1}, "--limit: must be at least 2, got 1."),
        ({"share": 1.0}, "--share: must be below 1, got 1."),
        ({"share": 0.0}, "--share: must be above 0, got 0."),
        ({"share": float("nan")}, "--share: must be finite, got nan."),
        ({"kind": "odd"}, "--kind: 'odd' is not known; choose one of plain, fancy."),
        ({"times": (0.1, -1.0)}, "--times: must be above 0, got -1."),
    ],
)
def test_bounds(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        Counting("x", **values)  # type: ignore[arg-type]
    assert str(error.value) == message


def test_json_and_back() -> None:
    request = Counting("x", limit=3, times=(0.1, 1.0), memory=1.0)
    assert Counting.read(json.loads(request.to_json())) == request


def test_config_leaves_out_what_results_do_not_depend_on() -> None:
    assert "memory" not in Counting("x").recorded()
    assert Counting.read(Counting("x", limit=4).recorded()) == Counting("x", limit=4)


def test_the_command_line_has_what_differs_from_the_defaults() -> None:
    request = Counting("my photos", limit=3, times=tuple(parse_times("0.1:1:5")), fast=True)
    line = request.command_line("geomem count", out="run")
    assert line == "geomem count 'my photos' --limit 3 --times 0.1:1.0:5 --fast --out run"


def test_paths_become_absolute_where_they_exist(tmp_path, monkeypatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Counting("photos").absolute().data == str(tmp_path / "photos")
    assert Counting("digits").absolute().data == "digits"


def test_an_object_cannot_leave_the_process() -> None:
    assert Counting("x").portable
    assert not Counting(object()).portable  # type: ignore[arg-type]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_states_every_option_of_a_request(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for kind in (request_named(command), Execution):
        for name, (_, said) in options(kind).items():
            assert said.positional or flag(name) in shown
            assert " ".join(said.help.split()[:3]) in shown
            assert said.help.endswith((".", "]"))


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_options_are_refused_in_a_line(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--nonsense", "3"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("geomem: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"limit": 10**400}, r"--limit: must be at most 9,223,372,036,854,775,807, got a number of 401 digits"),
        ({"limit": -(10**400)}, r"--limit: must be at least 2, got a number of 401 digits"),
        ({"limit": 10**5000}, r"--limit: must be at most .*, got a number of 5001 digits"),
        ({"times": (10**400,)}, r"--times: must be at most .*, got a number of 401 digits"),
        ({"most": 11}, r"--most: must be at most 10, got 11"),
    ],
)
def test_integers_of_any_length_are_refused_in_a_sentence(values, message):
    @dataclass(frozen=True)
    class Bounded(Counting):
        most: int = option(1, help="A bounded number.", most=10)

    with pytest.raises(InputError, match=message):
        Bounded("x", **values)


@pytest.mark.parametrize("name", ["~nobody-here/x", "a" * 100])
def test_paths_that_are_not_there_stay_as_they_are(name):
    assert Counting(name).absolute().data == name


def test_path_that_cannot_be_looked_at_is_refused(tmp_path):
    (tmp_path / "circle").symlink_to("circle")
    for path in (tmp_path / "circle", tmp_path / ("a" * 300)):
        with pytest.raises(InputError, match="cannot be read"):
            Counting(str(path)).absolute()
