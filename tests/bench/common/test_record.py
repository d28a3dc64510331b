from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.common import record
from efm_fast.errors import InputError


def test_a_result_says_where_it_comes_from(results: Path) -> None:
    path = record.write_result("some-bench", {"tables": {"t": {"columns": ["a"], "rows": [[1]]}}})
    assert path == results / "some-bench.json"
    got = json.loads(path.read_text())
    assert list(got) == ["name", "date", "command", "commit", "hardware", "load", "versions", "tables"]
    assert got["name"] == "some-bench"
    assert got["tables"]["t"]["rows"] == [[1]]
    assert got["hardware"]["cores"] >= 1
    assert got["hardware"]["cpu"]
    assert got["versions"]["torch"]
    if got["commit"] is not None:
        assert re.fullmatch(r"[0-9a-f]{40,}", got["commit"]["hash"])
        assert isinstance(got["commit"]["dirty"], bool)


def test_no_path_of_this_machine_is_written(results: Path) -> None:
    text = record.write_result("some-bench", {}).read_text()
    assert str(record.ROOT) not in text
    assert str(Path.home()) + "/" not in text
    got = record.command(
        [str(record.ROOT / "bench" / "x.py"), "--full", "--out=/somewhere/else/y.json", "a/b"]
    )
    assert got == "python bench/x.py --full --out=y.json a/b"
    bench = record.ROOT / "bench"
    assert record.command([str(bench / "lines" / "__main__.py"), "--full"]) == "python -m bench.lines --full"
    assert record.command([str(bench / "gpu" / "facts.py")]) == "python -m bench.gpu.facts"
    assert record.command([str(record.ROOT / ".venv" / "bin" / "pytest"), "bench"]) == "pytest bench"


@pytest.mark.parametrize(
    ("name", "payload", "word"), [("../x", {}, "name"), ("", {}, "name"), ("x", {"date": 1}, "date")]
)
def test_bad_input_is_named(results: Path, name: str, payload: dict[str, int], word: str) -> None:
    with pytest.raises(InputError, match=word):
        record.write_result(name, payload)
    assert not list(results.iterdir())


def test_outside_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.commit() is None


def test_a_table_fits_its_width_and_loses_no_word() -> None:
    words = [f"word{k}" for k in range(60)]
    rows: list[record.Row] = [
        {"a": 1.23456, "b": " ".join(words), "c": None},
        ["left", "and a reason that runs over the columns which this row lacks " * 3],
        ["x" * 300, True, 7],
    ]
    text = record.format_table(rows, ["a", "b", "c"])
    assert max(len(line) for line in text.split("\n")) <= 100
    assert text.count("x") == 300
    assert re.findall(r"word\d+", text) == words
    assert "1.23" in text
    assert "1.2345" not in text


def test_the_columns_of_the_field_bench_stay_in_line() -> None:
    rows: list[record.Row] = [["name", 1, "a"], ["longer name", 20, "b"]]
    assert record.format_table(rows, ["row", "N", "x"]).split("\n") == [
        "row          N   x",
        "-----------  --  -",
        "name         1   a",
        "longer name  20  b",
    ]
