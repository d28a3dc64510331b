"""Diagnosis of data by exact lines: numbers that physics fixes, and the command that prints them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from efm_fast import cli, diagnose
from efm_fast.diagnosis import _shared, _turning
from efm_fast.errors import InputError

SMALL = {"charges": 64, "lines": 24}


def test_lines_go_further_round_as_the_plates_part():
    found = diagnose("gaussian_to_swissroll", **SMALL)
    near, far = found.rows[0], found.rows[-1]
    assert [row.L_in_s for row in found.rows] == pytest.approx([0.1, 0.3, 1.0, 3.0, 10.0])
    assert pytest.approx(found.s) == found.rows[2].L
    assert all(row.arrived == 1.0 for row in found.rows)
    assert all(0.3 < row.behind < 0.95 for row in found.rows)
    assert near.shared < far.shared <= 64
    assert near.turning < far.turning
    assert all(row.length >= 0.99 for row in found.rows)
    assert found.map == "full"
    assert found.L in [row.L for row in found.rows]


def test_charges_that_share_the_middle_are_counted():
    minus = torch.tensor([[0.0, 0.0], [1e3, 0.0]])
    straight = torch.tensor([[[0.0, 0.0, 0.1]], [[0.0, 0.0, 1.9]]])
    assert float(_shared(straight, minus, 2.0)) == pytest.approx(1.0, abs=1e-5)
    between = straight + torch.tensor([500.0, 0.0, 0.0])
    assert float(_shared(between, minus, 2.0)) == pytest.approx(2.0, abs=1e-5)
    below = torch.tensor([[[0.0, 0.0, 0.1]], [[0.0, 0.0, 0.2]]])
    assert len(_shared(below, minus, 2.0)) == 0


def test_turning_adds_up_angles_and_ignores_rest():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert float(_turning(square[:, None])) == pytest.approx(180.0)


def test_images_are_diagnosed_too():
    found = diagnose("digits_3_to_2", charges=40, lines=8, distances=(1.0,))
    assert found.D == 192
    assert found.rows[0].arrived > 0.8
    assert "Dormand-Prince" in found.steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"charges": 0}, "charges"),
        ({"lines": 1.5}, "lines"),
        ({"distances": ()}, "distances"),
        ({"distances": (0.0,)}, "distances"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(InputError, match=message):
        diagnose("gaussian_to_swissroll", **settings)


def test_the_command_prints_a_table_and_writes_a_picture(monkeypatch, capsys, tmp_path: Path):
    arguments = [
        "diagnose",
        "gaussian_to_mixture",
        "-q",
        "--charges",
        "40",
        "--lines",
        "8",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", ["efm-fast", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    said = capsys.readouterr().out
    assert "suggested: L = " in said
    folder = tmp_path / "gaussian_to_mixture-diagnosis"
    assert len(json.loads((folder / "diagnosis.json").read_text())["rows"]) == 5
    assert (folder / "diagnosis.png").read_bytes().startswith(b"\x89PNG")
