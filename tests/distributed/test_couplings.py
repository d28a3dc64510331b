"""Couplings on three processes; the checks themselves are in check_couplings.py."""

from __future__ import annotations

from pathlib import Path

from launch import run


def test_processes_that_share_the_work_find_the_pairs_of_one(tmp_path: Path) -> None:
    run("check_couplings.py", 3, str(tmp_path))
