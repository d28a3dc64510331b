"""The versions that `make oldest` installs are the lower bounds that pyproject.toml promises."""

from __future__ import annotations

import re
from importlib.metadata import requires
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST = Path(__file__).parent / "oldest.txt"
BOUND = re.compile(r"([A-Za-z0-9_-]+)(?:\[[^]]*\])?>=([0-9.]+)")
#: Extras whose packages need not be old: tools for measuring and for building pages.
TOOLS = ("bench", "docs")


def promised() -> dict[str, str]:
    build = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project]")[0]
    rows = re.findall(r'"([^"]+)"', build.partition("requires")[2].partition("]")[0])
    for row in requires("efm_fast") or []:
        extra = re.search(r"extra == .(\w+)", row)
        if (extra is None or extra[1] not in TOOLS) and not row.startswith("efm_fast["):
            rows.append(row)
    found = {}
    for row in rows:
        bound = BOUND.match(row)
        assert bound is not None, f"{row}: has no lower bound"
        found[bound[1].lower()] = bound[2]
    return found


def test_the_oldest_versions_are_the_promised_ones() -> None:
    lines = [line for line in OLDEST.read_text(encoding="utf-8").split("\n") if line and line[0] != "#"]
    constrained = dict(line.lower().split("==") for line in lines)
    assert constrained == promised()
