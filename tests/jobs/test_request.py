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
