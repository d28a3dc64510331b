"""The package keeps its shape: imports run one way, import is quick and quiet, names are documented."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import efm_fast

ROOT = Path(__file__).parent.parent
# a module may import from its own rank or a lower one
RANKS = [
    {
        "errors",
        "extras",
        "types",
        "checks",
        "files",
        "native",
        "stop",
        "yaml12",
        "streams",
        "plugins",
        "sealed",
        "processes",
    },
    {"field", "sections"},
    {"data", "lines", "plots", "presets"},
    {"metrics", "nets", "couplings"},
    {"methods"},
    {"config"},
    {"runs", "hub", "pipelines", "settings", "info"},
    {"sampling", "diagnosis"},
    {"pictures"},
    {"training", "evaluation"},
    {"page"},
    {"cli"},
    {"__main__"},
]


def rank(room: str) -> int:
    return next(k for k, rooms in enumerate(RANKS) if room in rooms)


def imported_rooms(path: Path) -> set[str]:
    """First path parts below efm_fast that a module of efm_fast imports, inside its functions too."""
    package = ["efm_fast", *path.relative_to(ROOT / "efm_fast").with_suffix("").parts][:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") for alias in node.names]
            rooms |= {part[1] for part in parts if part[0] == "efm_fast" and len(part) > 1}
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        base = [*base, *(node.module.split(".") if node.module else [])]
        if base[0] == "efm_fast":
            names = [base[1]] if len(base) > 1 else [alias.name for alias in node.names]
            rooms |= {name for name in names if not name.startswith("__")}
    return rooms


@pytest.mark.parametrize(
    "path", sorted((ROOT / "efm_fast").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_run_one_way(path: Path) -> None:
    room = path.relative_to(ROOT / "efm_fast").parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for other in imported_rooms(path) - {room, "kernels", "_C"}:
        assert rank(other) <= rank(room), f"{room} imports {other}"


def test_the_import_graph_has_no_arrow_up() -> None:
    """Prints the graph of rooms, from the top: `pytest tests/test_package.py -k graph -s` shows it."""
    graph: dict[str, set[str]] = {}
    for path in (ROOT / "efm_fast").rglob("*.py"):
        room = path.relative_to(ROOT / "efm_fast").parts[0].removesuffix(".py")
        if room != "__init__":
            graph.setdefault(room, set()).update(imported_rooms(path) - {room, "kernels", "_C"})
    for level in reversed(range(len(RANKS))):
        for room in sorted(RANKS[level] & graph.keys()):
            print(f"{level:2}  {room:<12} -> {', '.join(sorted(graph[room], key=rank, reverse=True))}")
    assert not [(a, b) for a, others in graph.items() for b in others if rank(b) > rank(a)]
    assert {room for rooms in RANKS for room in rooms} == graph.keys(), "a rank for every room, and no other"


#: Methods of a run that hand it to the room above: imported when they are called.
LATE = {("efm_fast.runs.run", "efm_fast.hub")}


def imported_modules(path: Path, modules: set[str]) -> set[str]:
    """Those of ``modules`` that a module of efm_fast imports, inside its functions too."""
    package = ["efm_fast", *path.relative_to(ROOT / "efm_fast").parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            inner = {f"{name}.{alias.name}" for alias in node.names}
            found |= inner & modules or {name}
    return found & modules


def circles(graph: dict[str, set[str]]) -> set[str]:
    """The modules that import themselves by way of others: what is left when all others are taken away."""
    left = dict(graph)
    while True:
        needed = set().union(*left.values()) if left else set()
        free = {name for name, others in left.items() if not others & left.keys() or name not in needed}
        if not free:
            return set(left)
        left = {name: others - free for name, others in left.items() if name not in free}


def test_no_modules_import_each_other_in_a_circle() -> None:
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / "efm_fast").rglob("*.py")
    }
    graph = {name: imported_modules(path, set(paths)) - {name} for name, path in paths.items()}
    assert sum(map(len, graph.values())) > 300
    for name, other in LATE:
        assert other in graph[name], "an exception that is no longer needed"
        graph[name].remove(other)
    assert circles(graph) == set()


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}, "e": set()}) == {"b", "c"}


SOURCES = [
    path
    for pattern in ("efm_fast/**/*.py", "kernels/*.py", "bench/**/*.py", "tests/**/*.py", "csrc/**/*.*")
    for path in ROOT.glob(pattern)
    if path.suffix in (".py", ".h", ".cpp", ".cu")
]


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    assert len(SOURCES) > 300
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert not {name: length for name, length in lengths.items() if length > 400}


def functions() -> Iterator[tuple[str, ast.FunctionDef, bool]]:
    """Every Python function with its place, and whether it is a Triton kernel."""
    for path in SOURCES:
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    is_kernel = any("triton.jit" in ast.unparse(mark) for mark in node.decorator_list)
                    yield f"{path.relative_to(ROOT)}:{node.name}", node, is_kernel


def test_no_function_is_longer_than_eighty_lines() -> None:
    """A Triton kernel's list of arguments, which has no records, does not count."""
    long = []
    for name, node, is_kernel in functions():
        first = node.body[0].lineno if is_kernel else node.lineno
        if (node.end_lineno or 0) - first + 1 > 80:
            long.append(name)
    assert not long


def test_no_function_takes_more_than_eight_arguments() -> None:
    """Options of public functions that are given by name, and those of the command line, do not count."""
    many = []
    for name, node, is_kernel in functions():
        by_place = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
        is_command = any("app.command" in ast.unparse(mark) for mark in node.decorator_list)
        by_name = 0 if node.name in efm_fast.__all__ else len(node.args.kwonlyargs)
        if not is_kernel and not is_command and len(by_place) + by_name > 8:
            many.append(name)
    assert not many


def test_kernels_never_import_the_package() -> None:
    """The C++ of csrc has tests/extension/test_include_graph.py."""
    paths = list((ROOT / "kernels").rglob("*.py"))
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "efm_fast" for name in names), path


def test_import_is_quick_and_touches_neither_triton_nor_extension_nor_cuda() -> None:
    script = (
        "import sys, time, torch\n"
        "started = time.process_time()\n"
        "import efm_fast\n"
        "assert time.process_time() - started < 2.0\n"
        "assert not torch.cuda.is_initialized()\n"
        "new = [m for m in ('triton', 'efm_fast._C', 'matplotlib', 'sklearn', 'diffusers') if m in sys.modules]\n"
        "assert not new, new\n"
        "efm_fast.train, efm_fast.sample, efm_fast.riesz_sum\n"
        "new = [m for m in ('triton', 'matplotlib', 'diffusers') if m in sys.modules]\n"
        "assert not new, new\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", [n for n in efm_fast.__all__ if not n.startswith("__")])
def test_public_functions_say_what_they_take_give_and_raise(name: str) -> None:
    value = getattr(efm_fast, name)
    assert inspect.getdoc(value), name
    if not inspect.isfunction(value):
        return
    text = inspect.getdoc(value) or ""
    for parameter in inspect.signature(value).parameters:
        assert parameter in text, f"{name}: {parameter} is not documented"
    assert "Raises" in text or "errors are those of" in text, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = efm_fast.trian
