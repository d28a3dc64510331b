"""A run's report says what its folder holds, and in a sentence what is missing or damaged."""

from __future__ import annotations

import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from efm_fast.errors import InputError, RunError
from efm_fast.page.frame import unpack
from efm_fast.page.gallery import Gallery
from efm_fast.page.report import report_of, write_report


@pytest.fixture
def run(runs: Path, tmp_path: Path) -> Path:
    """A copy of the run, free to be damaged."""
    return Path(shutil.copytree(runs / "tiny", tmp_path / "tiny"))


def test_a_report_has_settings_curves_measures_pictures_and_lines(run: Path) -> None:
    report = report_of(run, lines=True)
    assert report["notes"] == []
    assert ["train.steps", "30"] in report["settings"]
    assert report["facts"]["steps"] == "30 of 30"
    measured = json.loads((run / "evaluation.json").read_text())["maps"]
    (table,) = report["tables"]
    assert [row[0] for row in table["rows"]] == [row["map"] for row in measured]
    assert table["rows"][0][table["columns"].index("w2")] == f"{measured[0]['w2']:.4g}"
    loss = next(curve for curve in report["curves"] if curve["name"] == "loss")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert loss["steps"] == [row["step"] for row in rows]
    assert np.allclose(loss["values"], [row["loss"] for row in rows], rtol=1e-4)
    captions = [picture["caption"] for picture in report["pictures"]]
    assert captions == [
        "Held-out samples that the run's own map carried",
        "Learned field lines",
        "Samples while training, step 20",
    ]
    picture = base64.b64decode(report["pictures"][0]["source"].partition(",")[2])
    assert picture == (run / "samples" / "evaluation.png").read_bytes()


def test_learned_and_exact_lines_start_at_the_same_places(run: Path) -> None:
    facts, arrays = unpack(base64.b64decode(report_of(run, lines=True)["scene"]))
    learned, exact = (
        np.split(arrays[name], np.cumsum(facts[f"{name}_counts"])[:-1]) for name in ("learned", "exact")
    )
    assert len(learned) == len(exact) == 90
    for mine, true in zip(learned, exact, strict=True):
        assert np.array_equal(mine[0, :2], true[0, :2])
    assert facts["note"].startswith("Of 90 lines from the same starts, ")
    assert "exact" not in report_of(run)


def test_what_is_missing_or_damaged_is_said(run: Path) -> None:
    (run / "evaluation.json").write_text("{")
    (run / "samples" / "evaluation.png").write_bytes(b"<script>")
    (run / "samples" / "field_lines.png").write_bytes(b"\x89PNG\r\n" + bytes(4_000_000))
    (run / "samples" / "step_0000020.png").unlink()
    (run / "samples" / "step_0000020.png").symlink_to("/etc/hostname")
    (run / "metrics.jsonl").write_text("{}\n" + '{"step": 1, "loss": 2.0}\n')
    (run / "state.safetensors").write_bytes(b"cut")
    report = report_of(run, lines=True)
    assert report["pictures"] == []
    assert report["scene"] is None
    said = " ".join(report["notes"])
    for part in (
        "lines 1 are no rows of numbers",
        "evaluation.json cannot be read as measures",
        "`efm-fast evaluate tiny` does so",
        "evaluation.png is no PNG picture",
        "field_lines.png has more than 3,000,000 bytes",
        "Its lines are not drawn: ",
    ):
        assert part in said
    assert report["facts"]["steps"] == "1 of 30"


class _Scripts(HTMLParser):
    """Collects what stands in script elements, and every address."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.scripts, self.addresses = False, [""], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "script"
        self.scripts.append("")
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.scripts[-1] += data


def test_the_file_needs_nothing_else_and_hostile_names_stay_text(run: Path, tmp_path: Path) -> None:
    config = (run / "config.yaml").read_text()
    hostile = "</script><script>alert(1)</script><!-- <script> <!-- style -->"
    (run / "config.yaml").write_text(
        "\n".join(
            f"description: {json.dumps(hostile)}" if line.startswith("description:") else line
            for line in config.splitlines()
        )
    )
    path = write_report(run, tmp_path / "out" / "report.html")
    reader = _Scripts()
    reader.feed(path.read_text(encoding="utf-8"))
    scripts = [text for text in reader.scripts if text.strip()]
    assert len(scripts) == 2
    assert json.loads(scripts[0])["report"]["description"] == hostile
    assert all(address.startswith(("#", "data:")) for address in reader.addresses if address)


def test_a_report_of_no_run_or_into_no_page_is_an_error(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        write_report(tmp_path, tmp_path / "report.html")
    with pytest.raises(InputError, match=r"out: expected a name ending in .html, got '.*report.pdf'"):
        write_report(run, tmp_path / "report.pdf")


def test_the_gallery_lists_the_newest_first_and_says_what_cannot_be_read(run: Path) -> None:
    gallery = Gallery(run.parent)
    broken = run.parent / "broken"
    broken.mkdir()
    (broken / "config.yaml").write_text("name: [\n")
    (run.parent / "no_run").mkdir()
    rows = {row["name"]: row["description"] for row in gallery.rows()}
    assert set(rows) == {"tiny", "broken"}
    assert "is not a run folder" in rows["broken"]
    assert Gallery(run.parent / "missing").names() == []
