"""A map of which no line arrived is said loudly, and has no numbers and no picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from efm_fast import cli, evaluate, load, sample, train
from efm_fast.errors import NothingArrivedWarning
from efm_fast.lines import Lines, LineStatus
from efm_fast.sampling import none_arrived

TINY = {"train.steps": 2, "train.batch": 16, "method.points.charges": 32, "net.width": 8, "net.depth": 1}


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose full map may take one step per line."""
    settings = {
        **TINY,
        "runs": str(tmp_path_factory.mktemp("runs")),
        "name": "lost",
        "method.sample.max_steps": 1,
    }
    return train("gaussian_to_mixture", settings, progress=False).folder


def test_samples_that_arrived_nowhere_warn(lost: Path) -> None:
    with pytest.warns(
        RuntimeWarning, match=r"full map of .*lost: no line arrived \(9 STEP_LIMIT\), .* raise max_steps"
    ):
        lines = sample(load(lost), n=9)
    assert not lines.arrived.any()
    assert none_arrived(sample(load(lost), n=9, map="forward")) is None


def test_failed_and_escaped_lines_are_told_apart() -> None:
    status = torch.tensor([LineStatus.FAILED, LineStatus.ESCAPED, LineStatus.FAILED])
    nothing = torch.zeros(3)
    lines = Lines(nothing[:, None], nothing, status, None, nothing, nothing)
    assert (
        none_arrived(lines) == "no line arrived (1 ESCAPED, 2 FAILED), so there are no samples; train longer"
    )
    one = Lines(nothing[:, None], nothing, torch.tensor([5, 3, LineStatus.BEHIND]), None, nothing, nothing)
    assert none_arrived(one) is None


def test_a_column_that_arrived_nowhere_has_no_numbers(lost: Path) -> None:
    with pytest.warns(NothingArrivedWarning, match="^learned, full: no line arrived") as caught:
        result = evaluate(load(lost), n=50)
    assert len(caught) == 1, "the other maps arrived"
    full, forward, exact = result.maps
    assert full.unfinished == 1.0
    assert set(full.numbers.values()) == {None}
    assert full.problem is not None
    assert forward.problem is None is exact.problem
    assert forward.numbers["w2"] > 0
    assert json.loads(json.dumps(result.as_dict()))["maps"][0]["w2"] is None
    table = result.table().splitlines()
    assert next(row for row in table if row.startswith("w2")).split()[1:3] == ["none", "arrived"]
    assert table[-1].startswith("learned, full: no line arrived (50 STEP_LIMIT)")


@pytest.mark.parametrize("command", [["evaluate", "--n", "50"], ["sample", "--n", "9"]])
@pytest.mark.parametrize("way", [[], ["--reverse"]])
def test_the_command_line_exits_with_an_error_and_draws_nothing(
    lost: Path,
    command: list[str],
    way: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["efm-fast", command[0], str(lost), *command[1:], *way])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("efm-fast: ")
    assert "no line arrived" in error
    assert "\n" not in error
    assert not list((lost / "samples").iterdir())
