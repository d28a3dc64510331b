"""The command line: what it prints, how it exits, and no traceback for a user's mistake."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from efm_fast import cli

TINY = [
    "train.steps=30",
    "train.batch=32",
    "target.charges=64",
    "net.width=16",
    "net.depth=1",
    "train.log_every=10",
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Exit status of ``efm-fast ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["efm-fast", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("cli")
    arguments = ["train", "gaussian_to_mixture", *TINY, f"runs={folder}", "name=tiny", "-q", "--n", "300"]
    command = [sys.executable, "-m", "efm_fast.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return folder / "tiny", done.stdout


@pytest.fixture
def tiny_run(trained: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of that run, free to be damaged."""
    return Path(shutil.copytree(trained[0], tmp_path / "tiny"))


def test_train_measures_and_leaves_everything_behind(
    trained: tuple[Path, str],
) -> None:
    tiny_run, table = trained
    for word in (
        "learned, full",
        "learned, forward",
        "exact field, full",
        "w2",
        "floor",
        "outliers",
        "wrote",
    ):
        assert word in table
    for name in (
        "config.yaml",
        "geometry.json",
        "versions.json",
        "state.safetensors",
        "metrics.jsonl",
        "evaluation.json",
        "curves.png",
        "samples/evaluation.png",
        "samples/field_lines.png",
    ):
        assert (tiny_run / name).stat().st_size > 0, name
    maps = json.loads((tiny_run / "evaluation.json").read_text())["maps"]
    exact = next(entry for entry in maps if entry["map"] == "exact field, full")
    assert exact["w2"] < 0.5 * exact["start"]
    assert max(len(line) for line in table.splitlines()) <= 100


def test_sample_writes_what_was_asked_for(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "samples.npz"
    assert run(monkeypatch, "sample", str(tiny_run), "--n", "20", "--out", str(out), "--map", "forward") == 0
    with np.load(out, allow_pickle=False) as arrays:
        assert arrays["outputs"].shape == (20, 2)
        assert (arrays["evaluations"] > 0).all()
    assert "evaluations each" in capsys.readouterr().out
    assert run(monkeypatch, "sample", str(tiny_run), "--n", "20", "--seed", "3") == 0
    assert (tiny_run / "samples" / "samples.png").stat().st_size > 0


def test_lists_and_facts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "presets") == 0
    assert "digits_3_to_2" in capsys.readouterr().out
    assert run(monkeypatch, "info") == 0
    assert "reference" in capsys.readouterr().out
    assert run(monkeypatch, "info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    rows = [row for row in facts["backends"] if row["backend"] == "triton" and row["device"] == "cpu"]
    assert rows
    assert not any(row["serves"] for row in rows)
    assert all(row["reason"] for row in rows)
    assert run(monkeypatch, "--help") == 0
    assert run(monkeypatch, "train", "--help") == 0
    assert "train.steps=2000" in capsys.readouterr().out


def bad_arguments(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """Mistakes and what their message must name."""
    for name, rows in {
        "nan": np.full((10, 2), np.nan, np.float32),
        "empty": np.zeros((0, 2), np.float32),
        "wide": np.ones((10, 3), np.float32),
    }.items():
        np.savez(tmp_path / f"{name}.npz", rows=rows)

    def npz(name: str) -> str:
        return f"{{name: npz, path: {tmp_path / name}.npz}}"

    base = ["train", "gaussian_to_swissroll", f"runs={tmp_path / 'bad'}", *TINY]
    return {
        "unknown preset": (["train", "gaussian_to_swisroll"], "did you mean gaussian_to_swissroll"),
        "unknown key": ([*base, "train.step=1"], "train.step: no such setting"),
        "no equals sign": ([*base, "train.steps"], "expected KEY=VALUE"),
        "L": ([*base, "L=-1"], "L: expected a number above 0"),
        "nan data": ([*base, f"minus={npz('nan')}"], "NaN"),
        "empty data": ([*base, f"minus={npz('empty')}"], "at least"),
        "different D": ([*base, f"minus={npz('wide')}"], "minus: expected the shape of plus"),
        "no such file": ([*base, f"minus={npz('missing')}"], "missing.npz"),
        "unknown source": ([*base, "minus={name: swissroll}"], "swiss_roll"),
        "no CUDA": ([*base, "device=cuda:99"], "device: 'cuda:99' was asked for"),
        "no device": ([*base, "device=tpu"], "device: expected auto, cpu, cuda"),
        "no run": (["sample", str(tmp_path / "nowhere")], "is not a run folder"),
        "not a run": (["resume", str(tmp_path)], "is not a run folder"),
    }


MISTAKES = (
    *("unknown preset", "unknown key", "no equals sign", "L", "nan data", "empty data", "different D"),
    *("no such file", "unknown source", "no CUDA", "no device", "no run", "not a run"),
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, part = bad_arguments(tmp_path)[mistake]
    assert run(monkeypatch, *arguments) == 1
    message = capsys.readouterr().err.strip()
    assert part in message, message
    assert "\n" not in message
    assert "Traceback" not in message
    assert not (tmp_path / "bad").exists(), "a mistake must not leave a run folder behind"


def test_an_existing_run_is_kept(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tiny_run / "state.safetensors").read_bytes()
    again = ["train", "gaussian_to_mixture", *TINY, f"runs={tiny_run.parent}", "name=tiny", "-q"]
    assert run(monkeypatch, *again) == 1
    assert "efm-fast resume" in capsys.readouterr().err
    assert (tiny_run / "state.safetensors").read_bytes() == before


def test_a_truncated_checkpoint_is_refused(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tiny_run / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-10])
    assert run(monkeypatch, "evaluate", str(tiny_run)) == 1
    assert "not a whole safetensors file" in capsys.readouterr().err


def test_a_bad_output_name_is_refused(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "sample", str(tiny_run), "--out", "x.txt") == 1
    assert "expected a .png or an .npz" in capsys.readouterr().err
