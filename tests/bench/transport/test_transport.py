"""The studies of the maps: what they ask is in their tables, and what they say follows from the numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from bench.transport import maps as transport_maps
from bench.transport import run as transport
from bench.transport import studies as transport_studies
from bench.transport import verdict
from bench.transport.studies import STUDIES, Row, Study


def line(row: str, kind: str, evaluations: float, **seeds: list[float]) -> dict[str, Any]:
    numbers = {"evaluations": [evaluations] * 3, **seeds}
    means = {key: sum(values) / len(values) for key, values in numbers.items()}
    return {"row": row, "map": kind, **means, **{f"{key}_seeds": values for key, values in numbers.items()}}


TABLE: list[dict[str, Any]] = [
    line("a", "full", 28.0, w2=[0.21, 0.2, 0.19], ratio=[0.9]),
    line("a", "forward", 160.0, w2=[0.41, 0.4, 0.39], ratio=[1.2]),
    line("b", "100 steps", 100.0, w2=[0.26, 0.25, 0.24], ratio=[1.3]),
    line("c", "9 evaluations", 9.0, w2=[0.22, 0.21, 0.2], ratio=[1.08]),
]


class Inline:
    """Runs a job at once, in this process."""

    def submit(self, call: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call(*arguments))
        return future


@pytest.mark.parametrize(
    ("ours", "theirs", "key", "better", "wanted"),
    [
        (("a", 0), ("b", 0), "w2", "low", "ahead"),
        (("b", 0), ("a", 0), "w2", "low", "behind"),
        (("b", 0), ("a", 0), "w2", "high", "ahead"),
        (("a", 0), ("c", 0), "w2", "low", "level"),  # within 5 %
        (("a", 0), ("c", 0), "ratio", "near 1", "level"),
        (("a", 0), ("a", 1), "ratio", "near 1", "ahead"),
        (("a", 1), ("c", 0), "ratio", "near 1", "behind"),
    ],
)
def test_a_verdict_follows_from_the_numbers(
    ours: Any, theirs: Any, key: str, better: Any, wanted: str
) -> None:
    assert verdict.answer(verdict.Question(key, better, ours, theirs), TABLE).verdict == wanted


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        ([0.3, 0.9, 0.5], "ahead"),  # seeds differ by more than the rows do, but each is ahead
        ([0.3, 0.5, 0.1], "level"),  # ahead in two seeds, behind in one
        ([0.3], "ahead"),  # in the only seed that both have
        ([0.3, None, 0.5], "ahead"),  # the seed without a number leaves the others where they are
    ],
)
def test_rows_are_compared_seed_by_seed(theirs: list[float | None], wanted: str) -> None:
    their_line = {"row": "b", "map": "full", "evaluations": 5.0, "w2_seeds": theirs}
    table = [line("a", "full", 5.0, w2=[0.2, 0.8, 0.4]), their_line]
    found = verdict.answer(verdict.Question("w2", "low", ("a", 0), ("b", 0)), table)
    assert found.verdict == wanted
    if len(theirs) == 1:
        assert found.sentence() == "w2 0.2 in 5 evaluations against 0.3 in 5 evaluations (b, full): ahead"


def test_a_seed_without_a_number_keeps_its_place() -> None:
    study = Study("try", "a title", (), {"w2": 3}, ())
    found = [{"row": "a", "map": "full", "w2": value} for value in (0.1, None, 0.3)]
    summary = transport.summarise(study, found)[0]
    assert summary["w2_seeds"] == [0.1, None, 0.3]
    assert summary["w2"] == pytest.approx(0.2)


def test_sentences_name_both_numbers_and_what_they_cost() -> None:
    answers = [
        verdict.answer(q, TABLE)
        for q in verdict.questions(("a", 0), ("b", 0), w2="low", evaluations="low", ratio="near 1")
    ]
    assert answers[0].sentence() == (
        "w2 0.2 in 28 evaluations against 0.25 in 100 evaluations (b, 100 steps): ahead"
    )
    assert answers[1].sentence() == "evaluations 28 against 100 (b, 100 steps): ahead"
    assert verdict.summary(answers).startswith("ahead in 3 of 3: w2 (b, 100 steps), ")
    assert "behind in 0 of 3" in verdict.summary(answers)


def test_a_line_that_is_not_there_is_named() -> None:
    with pytest.raises(KeyError, match="map 1 of row 'b'"):
        verdict.answer(verdict.Question("w2", "low", ("a", 0), ("b", 1)), TABLE)


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())
def test_a_study_asks_about_its_own_rows_and_columns(study: Study) -> None:
    names = {row.name for row in study.rows}
    assert study.asks
    for question in study.asks:
        assert {question.ours[0], question.theirs[0]} <= names
        assert question.key in study.columns


def test_every_strategy_parametrisation_and_number_of_charges_is_a_row() -> None:
    for name in ("points", "digits_points"):
        settings = [
            (row.overrides["method.points.strategy"], row.overrides["method.parametrisation"])
            for row in STUDIES[name].rows
        ]
        assert len(set(settings)) == len(settings) == 8
    for name in ("charges", "digits_charges"):
        counts = [row.overrides["method.points.charges"] for row in STUDIES[name].rows]
        assert counts[0] == 1
        assert counts[-1] == 16384


def _measured(preset: str, overrides: Any, n: int) -> list[dict[str, Any]]:
    seed = overrides["seed"]
    return [
        {"map": "full", "w2": 0.1 + 0.1 * seed, "floor": 0.05, "evaluations": 10, "n": n, **overrides},
        {"map": "forward", "w2": 0.5, "floor": 0.05, "evaluations": 20, "n": n, **overrides},
    ]


def test_a_study_writes_its_table_its_verdict_and_its_picture(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = Study(
        "try",
        "a title",
        (Row("L = 1", "p", _measured), Row("L = 3", "p", _measured, {"x": 1}, once=True)),
        {"w2": 3, "floor": 3},
        verdict.questions(("L = 1", 0), ("L = 3", 1), w2="low"),
        picture=transport_studies.curve("L = ", "", (1, 3), "L"),
    )
    transport.run_study(study, 2, True, Inline())  # type: ignore[arg-type]
    result = json.loads((results / "transport_try_quick.json").read_text())
    line = result["table"][0]
    assert (line["row"], line["seeds"]) == ("L = 1", 2)
    assert line["w2"] == pytest.approx(0.15)
    assert line["w2_spread"] == pytest.approx(0.05)
    assert result["table"][2]["seeds"] == 1
    assert result["tables"]["try"]["rows"][0] == ["L = 1", "full", "0.150 ± 0.050", "0.050 ± 0.000"]
    assert result["tables"]["verdict"]["rows"][0][-1] == "ahead"
    assert result["verdict"][0].endswith("(L = 3, forward): ahead")
    assert all(run["n"] == 500 and run["train.steps"] == 400 for run in result["runs"])
    assert result["runs"][2]["x"] == 1
    assert (results / "transport_try_quick.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "ahead in 1 of 1" in printed
    assert max(len(text) for text in printed.split("\n") if not text.startswith("wrote")) <= 100


@pytest.mark.parametrize("measure", [transport_maps.learned_maps, transport_maps.pfgm_maps])
def test_a_row_trains_and_measures_what_its_study_shows(measure: Any, tmp_path: Path) -> None:
    overrides = {"seed": 1, "runs": str(tmp_path), "device": "cpu", "train.steps": 2, "train.batch": 16}
    found = measure("gaussian_to_swissroll", overrides, 40)
    assert len(found) == 2
    for numbers in found:
        assert {"map", *STUDIES["toy"].columns} <= set(numbers)
        assert numbers["samples"] == 40
        assert numbers["evaluations"] > 0


def test_exact_lines_of_images_end_on_training_charges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_maps, "_FAR_CHARGES", (40, 200))
    few, more = transport_maps.exact_lines("digits_3_to_2", {"seed": 0, "device": "cpu"}, 32)
    assert few["map"] == "40 charges"
    for numbers in (few, more):
        assert numbers["unfinished"] == 0
        assert numbers["evaluations"] > 5
        assert numbers["like_real"] == 0  # the distance to the nearest training datum
    assert more["hue_error_mean"] < few["hue_error_mean"] < 45  # 90 for pairs by chance


def test_kept_runs_are_read_again_and_go_on_where_they_were_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("L = 1, tried", "gaussian_to_swissroll", transport_maps.Trained([("full", {"map": "full"})]))
    settings = {"train.steps": 120, "train.batch": 16, "train.ema": 0.9}
    whole = transport.run_row(row, 1, settings, 40, None)
    monkeypatch.setattr(transport_maps, "travel", lambda run, n, ways: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        transport.run_row(row, 1, settings, 40, tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(transport_maps, "train", None)  # it has been, and goes on from its checkpoint
    again = transport.run_row(row, 1, settings, 40, tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert folder.name.startswith("L-1-tried-1-")
    monkeypatch.setattr(transport_maps, "resume", None)
    read = transport.run_row(row, 1, settings, 40, tmp_path)
    assert read == again
    assert read[0]["w2"] == whole[0]["w2"]
    assert transport.run_name(row, {**settings, "seed": 1}, 41) != folder.name


def test_a_killed_bench_takes_its_workers_with_it() -> None:
    code = (
        "import time\n"
        "from bench.transport.run import workers\n"
        "with workers(1) as pool:\n"
        "    pool.submit(print, 'at work', flush=True).result()\n"
        "    pool.submit(time.sleep, 100).result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        assert bench.stdout.readline() == "at work\n"
        bench.kill()
        bench.communicate(timeout=60)  # the pipe is closed when the worker, which has it too, is gone


def test_a_row_that_trains_nothing_is_kept_in_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    row, kept = Row("exact", "gaussian_to_swissroll", _measured), tmp_path / "not" / "yet"
    found = transport.run_row(row, 1, {"train.steps": 7}, 40, kept)
    assert transport.run_row(row, 1, {"train.steps": 7}, 40, kept) == found
    assert len(list(kept.iterdir())) == 1


def test_every_row_of_every_study_has_a_folder_of_its_own_to_be_kept_in() -> None:
    for study in transport.STUDIES.values():
        names = {transport.run_name(row, {**row.overrides, "seed": 0}, 41) for row in study.rows}
        assert len(names) == len(study.rows)
