"""The page on precision says what bench/field/precision.py measured, and the measurements keep the promises."""

import json
from pathlib import Path

import pytest

from bench.common import record
from bench.field import precision
from efm_fast.field.queries import promised_error

ROOT = Path(__file__).parents[3]
REPORTS = sorted((ROOT / "bench" / "results").glob("precision-*.json"))


def test_the_document_is_made_of_the_stored_measurements():
    reports = [json.loads(path.read_text()) for path in REPORTS]
    assert precision.PAGE.read_text() == precision.document(reports)


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.stem)
def test_the_measurements_keep_the_promises(path):
    rows = json.loads(path.read_text())["rows"]
    assert {row["precision"] for row in rows} == {"fast", "default", "exact"}
    for row in rows:
        if row["precision"] == "default":
            assert row["direction_max"] <= promised_error(row["kind"], row["d"]), row
            assert row["log_norm_max"] <= 1e-3 or row["d"] > 12288, row
        if row["precision"] == "exact":
            assert row["direction_max"] <= (1e-6 if row["kind"] in ("flux", "far") else 4e-7), row


def test_a_small_measurement(monkeypatch):
    monkeypatch.setattr(precision, "SIZES", {2: (8, 32), 17: (8, 32)})
    rows = precision.measure("cpu")
    assert {row["d"] for row in rows} == {2, 17}
    assert "torch" in {row["backend"] for row in rows}
    assert "| 17 | twin |" in precision.document(
        [{**record.conditions(), "name": "x", "device": "CPU", "rows": rows}]
    )
