"""The command line, made from the requests' fields; what a command needs is imported when it runs.

Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 bad input, 3 the output
cannot be written, 130 interrupted, 143 ended by SIGTERM.
"""

import inspect
import sys
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter
from cyclopts.group import Group

from geomem import __version__
from geomem.errors import GeomemError, InputError, Interrupted, OutputError, reason_of
from geomem.jobs.registry import COMMANDS, request_named
from geomem.jobs.request import EXECUTION, RUN, Execution, Option, Request, flag, options
from geomem.terminal import interruptible, print_results, print_table, printing, progress_bar, say

__all__ = ["app", "main"]

_HELP = "Which dimensions of its data does a diffusion model still have, and which has it lost to memorization?"
# Order of the headings under which help lists options; what the command is about comes first.
_GROUPS = {"": 0, RUN: 9}
# Commands that read what others left; they are functions, not jobs.
_READERS = {
    "report": ("Draw a run's figures and page again from its records.", "geomem.jobs.again:report"),
    "claims": (
        "Judge every statement of the paper from the records of its reproduction.",
        "geomem.paper.command:claims",
    ),
}


def app(command: str | None = None) -> App:
    """The application; of its commands only `command` is imported, the others are names with a line of help."""
    made = App(
        name="geomem",
        help=_HELP,
        version=__version__,
        help_flags=["--help", "-h"],
        result_action="return_value",
        help_format="plaintext",
        suppress_keyboard_interrupt=False,  # `interruptible` says what is saved
    )
    for order, (name, (help_, *_)) in enumerate(COMMANDS.items()):
        made.command(_job(name, help_) if name == command else _stub(help_), name=name, sort_key=order)
    for name, (help_, place) in _READERS.items():
        made.command(_reader(place) if name == command else _stub(help_), name=name, help=help_, sort_key=len(COMMANDS))
    return made


def _stub(help_: str) -> Callable[[], None]:
    def stub() -> None:
        raise AssertionError("a command that was not named")

    stub.__doc__ = help_
    return stub


def _reader(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def _job(name: str, help_: str) -> Callable[..., None]:
    """A function whose parameters are the fields of a command's request, and of how it is carried out."""
    kind = request_named(name)
    positional = [key for key, (_, said) in options(kind).items() if said.positional]

    def command(*given: Any, **values: Any) -> None:
        values |= dict(zip(positional, given, strict=False))  # those left out have defaults
        request = kind(**{key: v for key, v in values.items() if key not in EXECUTION})
        _carry_out(request, Execution(**{key: v for key, v in values.items() if key in EXECUTION}))

    parameters = [*_parameters(kind), *_parameters(Execution)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    said = inspect.getdoc(kind) if kind.__doc__ and not kind.__doc__.startswith(kind.__name__) else None
    paragraphs = (said or help_).split("\n\nRaises:")[0].split("\n\n")
    command.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return command


def _parameters(kind: type[Request]) -> list[inspect.Parameter]:
    hints = get_type_hints(kind)
    found = [_parameter(name, hints[name], field, said) for name, (field, said) in options(kind).items()]
    return sorted(found, key=lambda p: p.kind)


def _parameter(name: str, hint: Any, field: Field[Any], said: Option) -> inspect.Parameter:
    """A field as a parameter. Text that is not of a plain type is read by the field's own reader."""
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    converter: Callable[[Any, Sequence[Any]], Any] | None = None
    if said.read is not None:
        # Anything, because cyclopts lets pydantic, where that is imported, check what was read against the hint.
        read, hint = said.read, Any

        def converted(type_: Any, tokens: Sequence[Any]) -> Any:
            return read(tokens[0].value)

        converter = converted

    elif any(part is str for part in _members(hint)):
        hint = str if field.default is MISSING else str | None
    help_ = said.help
    if default not in (inspect.Parameter.empty, None, (), False, ""):
        help_ = f"{help_} [default: {said.write(default) if said.write else default}]"
    parameter = Parameter(
        name=None if said.positional else flag(name),
        help=help_,
        converter=converter,
        negative="",
        show_default=False,
        n_tokens=None if converter is None else 1,
        accepts_keys=None if converter is None else False,
        metavar=None if converter is None else "STR",
        group=Group(said.group or "Options", sort_key=_GROUPS.get(said.group, 1)),
    )
    place = inspect.Parameter.POSITIONAL_ONLY if said.positional else inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, place, default=default, annotation=Annotated[hint, parameter])


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _carry_out(request: Request, how: Execution) -> None:
    from geomem.jobs.engine import run
    from geomem.jobs.registry import job_of

    job = job_of(request)
    answer = job.answer(request)
    if answer is not None:
        print_table(answer)
        return
    results = []
    with progress_bar() as progress:
        for name, one in job.expanded(request).items():
            out = Path(how.out) / name if how.out and name else how.out
            results.append(
                run(one, out=out, force=how.force, workers=how.workers, on=how.on, progress=progress, say=say)
            )
    print_results([result for result in results if result is not None], how.json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point: runs a command, and turns its errors into one message and an exit code."""
    warnings.showwarning = lambda message, *rest, **named: say(f"warning: {message}")
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((word for word in words if not word.startswith("-")), None)
    try:
        with interruptible(), printing():
            app(named)(words, exit_on_error=False, print_error=False)
    except Interrupted as error:
        say(str(error))
        sys.exit(error.exit_code)
    except GeomemError as error:
        say(f"error: {error}")
        sys.exit(error.exit_code)
    except CycloptsError as error:
        say(f"error: {error.__cause__ if isinstance(error.__cause__, InputError) else _of_usage(error)}")
        sys.exit(InputError.exit_code)
    except OSError as error:  # outside any job, as where a library finds no folder for temporary files
        say(f"error: files cannot be written or read ({reason_of(error)}); check the free space and the permissions.")
        sys.exit(OutputError.exit_code)
    except Exception as error:
        from geomem.jobs.boundary import unexpected

        say(f"error: {unexpected(error, f'running geomem {named}')}")
        sys.exit(GeomemError.exit_code)


def _of_usage(error: CycloptsError) -> str:
    """What was wrong with the words of a command line, in one line."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        return f"{error.argument.name}: is required; see geomem {' '.join(error.command_chain or ())} --help."
    said = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return f"{said.rstrip('.')}. See geomem --help."
