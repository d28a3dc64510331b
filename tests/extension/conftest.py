"""Skips the extension's tests where it was not built; fills fresh memory with NaN."""

from __future__ import annotations

import pytest
import torch

from efm_fast import native


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = native.why_missing()
    if missing is None:
        return
    for item in items:
        if "needs_extension" in item.fixturenames:  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture
def needs_extension() -> None:
    """Marks a test that calls the extension."""


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty returns NaN, so that a row nobody wrote shows."""
    plain = torch.empty

    def empty(*size: object, **options: object) -> torch.Tensor:
        return plain(*size, **options).fill_(torch.nan)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(torch, "empty", empty)
