from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.common import record
from bench.pages import render

PAGE = "before\n<!-- bench:some/speeds -->\nold figures\n<!-- /bench -->\nafter\n"
TABLES = {
    "speeds": {"columns": ["row", "N", "time"], "rows": [["a|b", 3, 0.12345], ["c", "not installed"]]},
    "other": {"columns": ["x"], "rows": [[None]]},
}


@pytest.fixture
def page(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    record.write_result("some", {"tables": TABLES})
    plain = render.section
    monkeypatch.setattr(render, "section", lambda name, _=None: plain(name, results))
    path = results / "page.md"
    path.write_text(PAGE)
    return path


def test_a_section_holds_its_table_and_its_source(page: Path) -> None:
    assert render.main([str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- bench:some/speeds -->\n| row | N | time |\n|---|---|---|\n")
    assert "| a\\|b | 3 | 0.123 |\n| c | not installed |  |\n" in text
    assert "bench/results/some.json" in text
    assert "old figures" not in text
    assert text.endswith("<!-- /bench -->\nafter\n")


def test_a_run_beside_other_work_is_marked(page: Path, results: Path) -> None:
    result = json.loads((results / "some.json").read_text())
    for load, marked in ((5.0, True), (0.2, False), (None, False)):
        assert ("beside other work" in render.source(result | {"load": load})) == marked


def test_without_a_slash_all_tables_come(page: Path) -> None:
    text = render.section("some")
    assert text.index("**speeds**") < text.index("**other**")


def test_check_writes_nothing_and_fails_where_text_and_results_disagree(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render.main(["--check", str(page)]) == 1
    assert page.read_text() == PAGE
    assert "-old figures" in capsys.readouterr().out
    render.main([str(page)])
    assert render.main(["--check", str(page)]) == 0
    page.write_text(page.read_text().replace("0.123", "0.100"))
    assert render.main(["--check", str(page)]) == 1


def test_a_changed_result_makes_the_page_stale(page: Path, results: Path) -> None:
    render.main([str(page)])
    result = json.loads((results / "some.json").read_text())
    result["tables"]["speeds"]["rows"][0][2] = 0.5
    (results / "some.json").write_text(json.dumps(result))
    assert render.main(["--check", str(page)]) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<!-- bench:none/x -->\n<!-- /bench -->", "none.json"),
        ("<!-- bench:some/none -->\n<!-- /bench -->", "speeds, other"),
        ("<!-- bench:some/speeds -->\nno end", "not closed"),
    ],
)
def test_what_cannot_be_rendered_is_named(
    page: Path, text: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page.write_text(text)
    assert render.main([str(page)]) == 2
    assert word in capsys.readouterr().err
    assert page.read_text() == text


def test_a_picture_of_the_pages_is_the_one_that_the_bench_drew(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "RESULTS", results)
    monkeypatch.setattr(render, "ROOT", results)
    shown = results / "docs" / "pictures" / "some.png"
    shown.parent.mkdir(parents=True)
    shown.write_bytes(b"old")
    assert render.stale_pictures(check=True) == []
    (results / "some.png").write_bytes(b"new")
    assert render.stale_pictures(check=True) == ["some.png"]
    assert shown.read_bytes() == b"old"
    assert render.stale_pictures(check=False) == ["some.png"]
    assert shown.read_bytes() == b"new"
