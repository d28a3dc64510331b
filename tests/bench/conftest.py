"""``bench`` is a package of the project's root, so that goes on the path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what a bench writes."""
    from bench.common import record

    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path
