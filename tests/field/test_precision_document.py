"""docs/precision.md says what bench/precision.py measured, and the measurements keep the promises."""

import importlib.util
import json
from pathlib import Path

import pytest

from efm_fast.field.queries import promised_error

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "bench" / "results").glob("precision-*.json"))


def _bench():
    spec = importlib.util.spec_from_file_location("bench_precision", ROOT / "bench" / "precision.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_made_of_the_stored_measurements():
    reports = [json.loads(path.read_text()) for path in REPORTS]
    assert (ROOT / "docs" / "precision.md").read_text() == _bench().document(reports)


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
    bench = _bench()
    monkeypatch.setattr(bench, "SIZES", {2: (8, 32), 17: (8, 32)})
    rows = bench.measure("cpu")
    assert {row["d"] for row in rows} == {2, 17}
    assert "torch" in {row["backend"] for row in rows}
    assert "| 17 | twin |" in bench.document([{"conditions": bench._conditions("cpu"), "rows": rows}])
