"""What every bench shares: one JSON file per result, with what one needs to trace it, and tables for a terminal.

A payload may hold ``"tables": {name: {"columns": [...], "rows": [[...], ...]}}``, which ``python -m
bench.pages.render`` puts into README.md and docs.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from efm_fast.errors import InputError
from efm_fast.files import write_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"
WIDTH = 100

Row = Mapping[str, object] | Sequence[object]

_LIBRARIES = ("efm_fast", "numpy", "triton", "pykeops", "torchcfm", "POT", "scikit-learn", "diffusers")
# the instruction sets that decide which kernels run
_FLAGS = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "avx512_fp16", "avx_vnni"),
    *("amx_tile", "amx_bf16", "amx_int8", "asimd", "sve", "bf16", "i8mm"),
)
# what else the machine was doing when this process began: times taken beside other work mean little
_LOAD = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_result(name: str, payload: Mapping[str, Any]) -> Path:
    """Write ``bench/results/<name>.json``, whole or not at all, and return its path.

    Beside ``payload`` it holds "name", "date", "command", "commit", "hardware", "load" (of the machine when the
    process began, in processes) and "versions".

    Args:
        name: of the file, without ending.
        payload: what was measured; anything JSON knows, tensors excluded.

    Raises:
        InputError: ``name`` is no plain file name, or ``payload`` holds a reserved key.
        RunError: the file cannot be written.
    """
    checked_name("name", name)
    head = conditions()
    taken = sorted({"name", *head} & set(payload))
    if taken:
        raise InputError(f"payload: the keys {', '.join(taken)} are filled in here")
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_text(path, json.dumps({"name": name, **head, **payload}, indent=1) + "\n")
    return path


def checked_name(argument: str, name: str) -> str:
    """Return ``name`` if it can be a file's, else raise InputError that names ``argument``."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{argument}: expected letters, digits, '.', '_' and '-', got {name!r}")
    return name


def conditions() -> dict[str, Any]:
    """When, by which command, from which commit, on what hardware and with which versions this process runs."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": command(),
        "commit": commit(),
        "hardware": hardware(),
        "load": _LOAD,
        "versions": versions(),
    }


def command(arguments: Sequence[str] | None = None) -> str:
    """The command line without a path of this machine: files relative to the project, others by their last name."""
    words = list(sys.argv if arguments is None else arguments)
    program, rest = _portable(words[0] or "python"), [_portable(word) for word in words[1:]]
    if re.fullmatch(r"bench/\w+/.*\.py", program):  # run as a module of the package `bench`
        module = program.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
        return " ".join(["python -m", module, *rest])
    return " ".join(["python", program, *rest] if program.endswith(".py") else [program, *rest])


def _portable(word: str) -> str:
    option, equals, value = word.rpartition("=")
    path = Path(value).expanduser()
    if not path.is_absolute():
        return word
    inside = path.is_relative_to(ROOT) and ".venv" not in path.parts
    return option + equals + (path.relative_to(ROOT).as_posix() if inside else path.name)


def commit() -> dict[str, Any] | None:
    """The checked-out commit, and whether code differs from it; None outside git."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return None
    # results and the pages made of them are what a bench changes: they say nothing about the code it ran
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results", ":!docs", ":!*.md"
    )
    return {"hash": revision, "dirty": bool(changed)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def hardware() -> dict[str, Any]:
    """Processor, cores, threads in use, memory in GiB, instruction sets, and the GPUs with their driver."""
    model, flags = _processor()
    facts: dict[str, Any] = {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "instruction_sets": [flag for flag in _FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.machine()}",
        "gpus": [],
    }
    if torch.cuda.is_available():
        for k in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(k)
            facts["gpus"].append(
                {
                    "name": gpu.name,
                    "memory_gib": round(gpu.total_memory / 2**30, 1),
                    "capability": f"{gpu.major}.{gpu.minor}",
                    "multiprocessors": gpu.multi_processor_count,
                }
            )
        facts["gpu_driver"] = _driver()
    return facts


def _processor() -> tuple[str, set[str]]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine(), set()
    fields = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", text, re.MULTILINE))
    flags = fields.get("flags") or fields.get("Features") or ""
    return fields.get("model name", platform.machine()), set(flags.split())


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split("\n")[0].strip() if done.returncode == 0 else None


def versions() -> dict[str, str | None]:
    """Versions of Python, torch, CUDA and the libraries a bench may use; None where one is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), "torch": torch.__version__}
    found["cuda"] = torch.version.cuda
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def cell(value: object) -> str:
    """``value`` as text of a table: three digits of a float, "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)


def as_text(rows: Sequence[Mapping[str, object]]) -> dict[str, Any]:
    """Rows as a table for people, as a payload has it: "columns" and "rows" of cells, "" where a row has no value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[cell(row.get(name, "")) for name in names] for row in rows]
    return {"columns": [name.replace("_", " ") for name in names], "rows": cells}


def format_table(rows: Sequence[Row], columns: Sequence[str], width: int = WIDTH) -> str:
    """A table of plain text that is never wider than ``width`` characters.

    Args:
        rows: one mapping from column to value each, or one sequence of values; a sequence shorter than
            ``columns`` lets its last value run over the columns that it lacks.
        columns: headings, in order.
        width: characters of a line; the widest columns wrap until the table fits.
    """
    texts = [[cell(value) for value in _values(row, columns)] for row in rows]
    widths = _widths(texts, columns, width)
    lines = _lines(list(columns), widths)
    lines.append("  ".join("-" * w for w in widths))
    for text in texts:
        lines += _lines(text, widths)
    return "\n".join(line.rstrip() for line in lines)


def print_table(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """Print :func:`format_table` of ``rows`` in 100 columns."""
    print(format_table(rows, columns), flush=True)


def _values(row: Row, columns: Sequence[str]) -> list[object]:
    return [row.get(column) for column in columns] if isinstance(row, Mapping) else list(row)


def _widths(texts: list[list[str]], columns: Sequence[str], width: int) -> list[int]:
    """The natural width of every column, the widest ones narrowed until all fit."""
    spanning = {id(text): len(text) - 1 for text in texts if len(text) < len(columns)}
    widths = [
        max([len(column)] + [len(t[k]) for t in texts if k < len(t) and spanning.get(id(t)) != k])
        for k, column in enumerate(columns)
    ]
    room = width - 2 * (len(columns) - 1)
    while sum(widths) > room and max(widths) > 1:
        widths[widths.index(max(widths))] -= 1
    return widths


def _lines(text: list[str], widths: list[int]) -> list[str]:
    """One row as lines: cells wrap inside their columns, a short row's last cell runs to the end of the line."""
    last = len(text) - 1
    spaces = [*widths[:last], sum(widths[last:]) + 2 * (len(widths) - last - 1)]
    wrapped = [textwrap.wrap(value, space) or [""] for value, space in zip(text, spaces, strict=True)]
    height = max(len(parts) for parts in wrapped)
    return [
        "  ".join(
            (parts[k] if k < len(parts) else "").ljust(space)
            for parts, space in zip(wrapped, spaces, strict=True)
        )
        for k in range(height)
    ]
