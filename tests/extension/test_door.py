"""No argument of any entry to native code ends the process, and public doors say in one line what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("wrong_arguments.py")
ROOT = SCRIPT.parents[2]
PUBLIC = ("riesz", "gaussian", "field", "one_potential", "both_potentials", "energies", "trace", "forward")


@pytest.fixture(scope="module")
def said() -> list[tuple[str, str]]:
    """What was tried, and what came of it."""
    run = subprocess.run(
        [sys.executable, str(SCRIPT)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    last = run.stdout.splitlines()[-1] if run.stdout else run.stderr
    assert run.returncode == 0, f"ended by {run.returncode} at {last!r}"
    assert last == "all tried", last
    return [tuple(line.split(": ", 1)) for line in run.stdout.splitlines()[:-1]]  # type: ignore[misc]


def test_every_entry_serves_what_is_right(needs_extension: None, said: list[tuple[str, str]]) -> None:
    right = [answer for what, answer in said if "as it should be" in what]
    assert len(right) > 10
    assert set(right) == {"served"}


def test_every_wrong_thing_was_tried_and_came_back(
    needs_extension: None, said: list[tuple[str, str]]
) -> None:
    assert len(said) > 900
    assert not [what for what, answer in said if what.startswith("binding") and answer == "served"]


def test_public_doors_name_what_is_wrong(needs_extension: None, said: list[tuple[str, str]]) -> None:
    for what, answer in said:
        entry = what.split(" | ")[0]
        if entry not in PUBLIC or " fake" in what:  # a tracer's tensors are for torch to refuse
            continue
        assert answer.startswith(("served", "InputError: ", "BackendUnavailableError: ")), f"{what}: {answer}"


def test_numbers_of_public_doors_are_checked(needs_extension: None, said: list[tuple[str, str]]) -> None:
    numbers = [(what, answer) for what, answer in said if what.count(" | ") == 1 and "as it" not in what]
    numbers = [(what, answer) for what, answer in numbers if not what.startswith("binding")]
    assert len(numbers) > 200
    for what, answer in numbers:
        assert answer.startswith(("served", "InputError: ", "BackendUnavailableError: ")), f"{what}: {answer}"
        wrong = what.endswith((" two", " True", " tensor([0., 0., 0.])"))
        assert not (wrong and answer == "served"), what


def test_addresses_come_from_one_place() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "efm_fast").rglob("*.py")
        if "data_ptr" in path.read_text(encoding="utf-8")
    }
    assert found == {"efm_fast/native.py"}
