"""What the tests of many processes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from check_training import without_curves


@pytest.fixture(scope="module", autouse=True)
def quick_trainings() -> Iterator[None]:
    """The trainings of this process draw no curves; tests/training looks at these."""
    with pytest.MonkeyPatch.context() as patch:
        without_curves(patch)
        yield
