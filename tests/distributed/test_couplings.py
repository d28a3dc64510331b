"""Couplings on two and three processes; the checks themselves are in check_couplings.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from launch import run


@pytest.mark.parametrize("size", [2, 3])
def test_processes_that_share_the_work_find_the_pairs_of_one(size: int, tmp_path: Path) -> None:
    run("check_couplings.py", size, str(tmp_path))
