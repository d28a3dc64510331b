"""Put the tables of bench/results/ into README.md and docs: ``python -m bench.pages.render [--check] [FILE ...]``.

A page marks a section with the result file it is made of and, after a slash, one of its tables:

    <!-- bench:field_kernel-cpu/D=2 -->
    ... written by this script ...
    <!-- /bench -->

Without a slash all tables of the file follow each other; ``/D=2[0,3]`` takes rows 0 and 3 of a table. Below every
section stand the date, the commit, the hardware and the command of the run, so that each figure can be traced. With
``--check`` nothing is written, and the exit status is 1 if a page says anything else than its results. A picture of
docs/pictures that bears the name of one in bench/results is a copy of it.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from bench.common.record import RESULTS, ROOT, cell
from efm_fast.errors import EfmError, InputError
from efm_fast.files import write_text

SECTION = re.compile(
    r"(?P<open><!-- bench:(?P<name>[^\s>]+) -->\n)(?P<body>.*?)(?P<close><!-- /bench -->)", re.DOTALL
)


def pages() -> list[Path]:
    """README.md and all pages of docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def stale_pictures(check: bool) -> list[str]:
    """Pictures of docs/pictures that a bench drew and drew anew since; they are renewed unless ``check``."""
    names = []
    for shown in sorted((ROOT / "docs" / "pictures").glob("*.png")):
        drawn = RESULTS / shown.name
        if drawn.exists() and drawn.read_bytes() != shown.read_bytes():
            names.append(shown.name)
            if not check:
                shutil.copyfile(drawn, shown)
    return names


def rendered(text: str, results: Path = RESULTS) -> str:
    """``text`` with every section made anew from ``results``.

    Raises:
        InputError: a section names a result or a table that is not there, or is not closed.
    """
    if len(re.findall(r"<!-- bench:", text)) != len(SECTION.findall(text)):
        raise InputError("a section is not closed: expected <!-- /bench --> after each <!-- bench:NAME -->")
    return SECTION.sub(lambda found: found["open"] + section(found["name"], results) + found["close"], text)


def section(name: str, results: Path = RESULTS) -> str:
    """The text of one section: its tables, and where they come from.

    Raises:
        InputError: the result or the table is not there.
    """
    file, _, wanted = name.partition("/")
    wanted, _, numbers = wanted.partition("[")
    path = results / f"{file}.json"
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"bench:{name}: there is no {path.name} in bench/results") from None
    tables = result.get("tables", {})
    if wanted and wanted not in tables:
        raise InputError(f"bench:{name}: expected one of {', '.join(tables)} after the slash")
    if numbers:
        rows = tables[wanted]["rows"]
        tables[wanted]["rows"] = [rows[int(number)] for number in numbers.rstrip("]").split(",")]
    parts = [markdown(**tables[wanted])] if wanted else [_titled(title, tables[title]) for title in tables]
    return "\n".join([*parts, source(result)])


def _titled(title: str, table: dict[str, Any]) -> str:
    return f"**{title}**\n\n{markdown(**table)}"


def markdown(columns: list[str], rows: list[list[object]]) -> str:
    """A Markdown table; a row shorter than ``columns`` leaves the rest empty."""
    lines = [_line(columns), "|" + "---|" * len(columns)]
    for row in rows:
        lines.append(_line([cell(value) for value in row] + [""] * (len(columns) - len(row))))
    return "\n".join(lines) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", r"\|") for text in cells) + " |"


def source(result: dict[str, Any]) -> str:
    """One line that says when, where, from which commit and by which command a result was measured."""
    commit, hardware, versions = result["commit"], result["hardware"], result["versions"]
    where = [gpu["name"] for gpu in hardware["gpus"]] or [f"{hardware['cpu']}, {hardware['threads']} threads"]
    text = f"{result['date'][:10]}, {', '.join(where)}, torch {versions['torch']}"
    load = result.get("load") or 0.0
    if load > 1.0:
        text += f", beside other work (load {load:.1f} on {hardware['cores']} cores)"
    if commit is not None:
        text += f", commit {commit['hash'][:10]}" + (" with local changes" if commit["dirty"] else "")
    return f"*{text}: `{result['command']}` wrote `bench/results/{result['name']}.json`.*\n"


def main(arguments: list[str] | None = None) -> int:
    """Render or check; 1 if a checked page disagrees, 2 if a page cannot be rendered."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.pages.render",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="default: README.md and all of docs"
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is stale")
    options = parser.parse_args(arguments)
    renewed = [] if options.files else stale_pictures(options.check)
    for name in renewed:
        print(f"{'stale' if options.check else 'renewed'}: docs/pictures/{name}")
    stale = bool(renewed)
    for path in options.files or pages():
        text = path.read_text(encoding="utf-8")
        try:
            fresh = rendered(text)
        except EfmError as problem:
            print(f"{path.name}: {problem}", file=sys.stderr)
            return 2
        if fresh == text:
            continue
        stale = True
        if options.check:
            names = (path.name, f"{path.name} from bench/results")
            sys.stdout.writelines(
                line + "\n"
                for line in difflib.unified_diff(
                    text.split("\n"), fresh.split("\n"), *names, n=0, lineterm=""
                )
            )
        else:
            write_text(path, fresh)
            print(f"rendered {path.name}")
    return int(stale and options.check)


if __name__ == "__main__":
    sys.exit(main())
