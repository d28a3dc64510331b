"""The command line: what it prints, how it exits, and no traceback for a user's mistake."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from efm_fast import __version__, cli, load

TINY = [
    "train.steps=30",
    "train.batch=32",
    "method.points.charges=64",
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
    assert run(monkeypatch, "sample", str(tiny_run), "--n", "20", "--seed", "3", "--max-steps", "300") == 0
    assert (tiny_run / "samples" / "samples.png").stat().st_size > 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="GNU's OpenMP tells its settings")
@pytest.mark.parametrize(("given", "spins"), [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_waiting_threads_soon_sleep_unless_the_user_says_otherwise(given: dict[str, str], spins: str) -> None:
    """Else training beside other work is many times slower; OpenMP reads it when torch is loaded."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-m", "efm_fast", "info"],
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr


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
    shown = capsys.readouterr().out
    assert "train.steps=2000" in shown
    assert re.search(r"train\.lr=0\.001 +peak learning rate", shown)
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == f"efm-fast {__version__}"


def test_every_command_that_takes_a_run_or_settings_has_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("train", "resume", "sample", "evaluate", "export", "diagnose"):
        assert run(monkeypatch, command, "--help") == 0
        assert f"\n    efm-fast {command} " in capsys.readouterr().out, command


def test_from_the_minus_plate_to_the_plus_plate(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "back.npz"
    assert run(monkeypatch, "sample", str(tiny_run), "--n", "300", "--reverse", "--out", str(out)) == 0
    with np.load(out, allow_pickle=False) as arrays:
        # the minus plate of this run is a mixture on a circle, the plus plate a Gaussian
        assert np.median(np.linalg.norm(arrays["inputs"], axis=1)) > 1.5 * np.sqrt(2 * np.log(2))
    assert run(monkeypatch, "sample", str(tiny_run), "--n", "20", "--reverse") == 0
    assert run(monkeypatch, "evaluate", str(tiny_run), "--n", "200", "--reverse") == 0
    assert "exact field, full" in capsys.readouterr().out
    found = json.loads((tiny_run / "evaluation_reverse.json").read_text())
    exact = next(entry for entry in found["maps"] if entry["map"] == "exact field, full")
    assert found["reverse"]
    assert exact["w2"] < 0.5 * exact["start"]
    for name in ("samples_reverse", "evaluation_reverse", "field_lines_reverse"):
        assert (tiny_run / "samples" / f"{name}.png").stat().st_size > 0


def test_averaged_weights_are_exported(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights.safetensors"
    assert run(monkeypatch, "export", str(tiny_run), str(out)) == 0
    assert str(out) in capsys.readouterr().out
    weights, field = load_file(out), load(tiny_run).field
    assert all(torch.equal(weights[name], value) for name, value in field.state_dict().items())
    assert run(monkeypatch, "export", str(tiny_run), str(tmp_path / "weights.pt")) == 1
    assert run(monkeypatch, "export", str(tiny_run), str(tmp_path / "nowhere" / "w.safetensors")) == 1


def test_a_run_goes_on_after_its_end(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "resume", str(tiny_run), "train.steps=4e1", "-q", "--n", "100") == 0
    assert load(tiny_run).step == 40
    assert run(monkeypatch, "resume", str(tiny_run), "seed=1", "-q") == 1
    assert "seed: 0 cannot become 1" in capsys.readouterr().err


OWN = """
import torch
from efm_fast.data import Source, register_source

@register_source("cli_ring")
class Ring(Source):
    name, shape = "cli_ring", (2,)

    def draw(self, n, generator, split="train"):
        angle = 6.2832 * torch.rand(n, generator=generator)
        return 2 * torch.stack([angle.cos(), angle.sin()], 1)
"""


def test_sources_of_ones_own_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_sources.py").write_text(OWN)
    (tmp_path / "broken_sources.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = ("--import", "my_sources")
    ring = ("minus={name: cli_ring}", "name=a", "-q", "--n", "50")
    assert run(monkeypatch, "train", "gaussian_to_mixture", *TINY, *ring) == 1
    assert run(monkeypatch, "train", "gaussian_to_mixture", *TINY, *ring, *own) == 0
    # a fresh process knows nothing of it
    command = [sys.executable, "-m", "efm_fast.cli", "sample", "runs/a", "--n", "9", "--reverse", *own]
    subprocess.run(command, capture_output=True, check=True)
    capsys.readouterr()
    for name, part in (("my_source", "my_source"), ("broken_sources", "ZeroDivisionError")):
        assert run(monkeypatch, "sample", "runs/a", "--import", name) == 1
        message = capsys.readouterr().err.strip()
        assert part in message
        assert "\n" not in message


SLOW = (
    "import sys, time, efm_fast.training.loop as loop\n"
    "draw = loop.step_generator\n"
    "loop.step_generator = lambda *a: (time.sleep(0.02), draw(*a))[1]\n"
    "from efm_fast.cli import main\n"
    "sys.argv[0] = 'efm-fast'\n"
    "main()\n"
)


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_run_says_how_to_go_on(tmp_path: Path, sent: int, status: int) -> None:
    folder = tmp_path / "my runs"
    more = [f"runs={folder}", "name=stopped", "train.steps=1e5"]
    command = [sys.executable, "-c", SLOW, "train", "gaussian_to_mixture", *TINY, *more]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    rows = folder / "stopped" / "metrics.jsonl"
    started = time.monotonic()
    while (not rows.is_file() or not rows.read_text()) and time.monotonic() - started < 120:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    os.kill(process.pid, sent)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == status, error
    last = error.strip().splitlines()[-1]
    assert last.startswith("efm-fast: training stopped"), error
    assert f"`efm-fast resume '{folder / 'stopped'}'`" in last
    assert "Traceback" not in error


def stopped_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, *arguments: str
) -> str:
    """What a command says when Ctrl-C comes while the function of that dotted name works."""

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"efm_fast.{name}", stop)
    assert run(monkeypatch, *arguments) == 130
    return capsys.readouterr().err.strip()


def test_other_commands_say_what_was_stopped(
    tiny_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tiny_run)
    for name, arguments, part in (
        (
            "training.loop.measure",
            ["train", "gaussian_to_mixture", f"runs={tmp_path / 'x'}", "-q"],
            "no run folder",
        ),
        ("methods.field_matching.full_map", ["sample", folder], "samples.png was not written"),
        ("evaluation.exact_map", ["evaluate", folder], f"`efm-fast evaluate {folder}`"),
        ("diagnosis.trace_lines", ["diagnose", "gaussian_to_mixture", "-q"], "nothing was written"),
        ("info.describe", ["info"], "stopped"),
    ):
        message = stopped_at(monkeypatch, capsys, name, *arguments)
        assert message.startswith("efm-fast: "), message
        assert part in message
        assert "\n" not in message


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

    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    (tmp_path / "file").write_text("no folder")
    base = ["train", "gaussian_to_swissroll", f"runs={tmp_path / 'bad'}", *TINY]
    return {
        "unknown preset": (["train", "gaussian_to_swisroll"], "did you mean gaussian_to_swissroll"),
        "unknown key": ([*base, "train.step=1"], "train.step: no such setting"),
        "no equals sign": ([*base, "train.steps"], "expected KEY=VALUE"),
        "L": ([*base, "method.L=-1"], "method.L: expected a number above 0"),
        "nan data": ([*base, f"minus={npz('nan')}"], "NaN"),
        "empty data": ([*base, f"minus={npz('empty')}"], "at least"),
        "different D": ([*base, f"minus={npz('wide')}"], "minus: expected the shape of plus"),
        "no such file": ([*base, f"minus={npz('missing')}"], "missing.npz"),
        "unknown source": ([*base, "minus={name: swissroll}"], "swiss_roll"),
        "no CUDA": ([*base, "device=cuda:99"], "device: 'cuda:99' was asked for"),
        "no device": ([*base, "device=tpu"], "device: expected auto, cpu, cuda"),
        "no run": (["sample", str(tmp_path / "nowhere")], "is not a run folder"),
        "not a run": (["resume", str(tmp_path)], "is not a run folder"),
        "no run here": (["sample", "runs/none"], f"(from the folder {str(Path.cwd())!r})"),
        "not UTF-8": (["train", str(tmp_path / "latin.yaml")], "not UTF-8"),
        "deep": ([*base, f"minus={'[' * 5000}"], "minus is nested too deeply"),
        "yes": ([*base, "train.bf16=yes"], "train.bf16: expected true or false, got 'yes'"),
        "no folder": (["diagnose", "gaussian_to_mixture", "--out", str(tmp_path / "file"), *QUICK], "cannot"),
        "no preset here": (["train", "mine/none.yaml"], f"(from the folder {str(Path.cwd())!r})"),
    }


QUICK = ["--charges", "8", "--lines", "2", "-q"]


MISTAKES = (
    *("unknown preset", "unknown key", "no equals sign", "L", "nan data", "empty data", "different D"),
    *("no such file", "unknown source", "no CUDA", "no device", "no run", "not a run", "no run here"),
    *("not UTF-8", "deep", "yes", "no folder", "no preset here"),
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
