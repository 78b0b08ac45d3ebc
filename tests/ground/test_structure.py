"""How the packages lie on each other: CONTRIBUTING's table, and no circles."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "geomem"
# Rows of CONTRIBUTING's table, from below; those of one row may import each other.
ROWS = [
    {
        "errors",
        "seeds",
        "noise",
        "intervals",
        "folder",
        "interrupts",
        "netcdf",
        "records",
        "precision",
        "files",
        "limits",
        "memory",
    },
    {"theory"},
    {"scores"},
    {"spectra"},
    {"manifolds"},
    {"data"},
    {"models"},
    {"training"},
    {"measure"},
    {"findings", "figures", "page"},
    {"jobs", "terminal"},
    {"paper"},
    {"cli", "__main__"},
]
ROW = {name: i for i, row in enumerate(ROWS) for name in row}


def modules() -> dict[str, Path]:
    out = {}
    for path in SOURCE.rglob("*.py"):
        parts = ["geomem", *path.relative_to(SOURCE).with_suffix("").parts]
        out[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return out


MODULES = modules()


def imported(name: str, *, eagerly: bool) -> set[str]:
    """Modules of geomem that a module imports; eagerly: when it is itself imported, so not within functions."""
    found: set[str] = set()

    def look(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                continue
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("geomem"):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found.update(m if m in MODULES else str(node.module) for m in whole)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and eagerly:
                continue
            for part in ("body", "orelse", "finalbody", "handlers"):
                look(getattr(node, part, []))

    look(ast.parse(MODULES[name].read_text()).body)
    return found - {name}


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"geomem"}))
def test_no_module_imports_from_a_row_above(name: str) -> None:
    row = ROW[name.split(".")[1]]
    above = {other for other in imported(name, eagerly=False) - {"geomem"} if ROW[other.split(".")[1]] > row}
    assert not above


def test_modules_do_not_import_each_other_in_circles() -> None:
    arrows = {name: imported(name, eagerly=True) & set(MODULES) for name in MODULES}
    # A package imports its modules, and is imported by whoever imports one of them: that is no circle of its own making.
    arrows = {name: {o for o in others if not name.startswith(f"{o}.")} for name, others in arrows.items()}
    done: set[str] = set()
    way: list[str] = []

    def walk(name: str) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        way.append(name)
        for other in sorted(arrows[name]):
            walk(other)
        way.pop()
        done.add(name)

    for name in sorted(arrows):
        walk(name)


# Calls that open or look at what is at a path.
OPENING = {
    "exists",
    "expanduser",
    "fromfile",
    "glob",
    "is_dir",
    "is_file",
    "iterdir",
    "memmap",
    "read_bytes",
    "read_text",
    "rglob",
}


@pytest.mark.parametrize("name", sorted(n for n in MODULES if n.startswith(("geomem.data", "geomem.models"))))
def test_only_one_module_opens_what_users_name(name: str) -> None:
    calls = [node.func for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Call)]
    methods = {call.attr for call in calls if isinstance(call, ast.Attribute)}
    functions = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not methods & OPENING
    assert "open" not in functions
    assert "np.load" not in {ast.unparse(call) for call in calls}
