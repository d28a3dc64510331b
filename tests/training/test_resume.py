"""A killed run continues as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from efm_fast.errors import RunError
from efm_fast.training import resume, train

SETTINGS = {
    "train.steps": 60,
    "train.batch": 32,
    "train.checkpoint_every": 7,
    "train.log_every": 1,
    "train.picture_every": 10_000,
    "method.points.charges": 64,
    "net.width": 16,
    "net.depth": 1,
}


def settings(folder: Path, name: str, **more: object) -> dict[str, object]:
    return {**SETTINGS, "runs": str(folder), "name": name, **more}


def assert_same_run(a: Path, b: Path) -> None:
    assert (a / "state.safetensors").read_bytes() == (b / "state.safetensors").read_bytes()


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def test_kill_dash_nine_in_mid_run_then_resume_gives_bitwise_the_same_weights(tmp_path: Path) -> None:
    whole = train("gaussian_to_swissroll", settings(tmp_path, "whole"), progress=False).folder
    stop = random.randrange(9, 55)
    script = (
        "from efm_fast.training import train\n"
        "import efm_fast.training.loop as loop, time\n"
        "slow = loop.step_generator\n"
        "loop.step_generator = lambda *a: (time.sleep(0.05), slow(*a))[1]\n"  # so that the kill hits mid-run
        f"train('gaussian_to_swissroll', {settings(tmp_path, 'killed')!r}, progress=False)\n"
    )
    # torch's matrix products have other bits with another number of threads
    env = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", script], env=env)
    killed, metrics = tmp_path / "killed", tmp_path / "killed" / "metrics.jsonl"
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < stop):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
    assert (killed / "state.safetensors").read_bytes() != (whole / "state.safetensors").read_bytes()

    run = resume(killed, progress=False)
    assert run.step == SETTINGS["train.steps"]
    assert_same_run(killed, whole)
    assert losses(killed) == losses(whole)


@pytest.mark.parametrize("points", [{"strategy": "linear"}, {"strategy": "lines", "bank": 32, "refresh": 15}])
def test_every_strategy_resumes_exactly(tmp_path: Path, points: dict[str, object]) -> None:
    more = {"method": {"points": points, "parametrisation": "direct"}, "method.points.charges": 64}
    if points["strategy"] == "lines":
        del more["method.points.charges"]
    whole = train("gaussian_to_swissroll", settings(tmp_path, "whole", **more), progress=False).folder
    folder = interrupted(tmp_path, more, after=20)
    resume(folder, progress=False)
    assert_same_run(folder, whole)


def interrupted(tmp_path: Path, more: dict[str, object], after: int) -> Path:
    """A run that an error stopped ``after`` so many steps."""

    class Stop(Exception):
        pass

    from efm_fast.training import report

    original = report.Reporter.log

    def log(self: report.Reporter, step: int, **numbers: float) -> None:
        if step > after:
            raise Stop
        original(self, step, **numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.Reporter, "log", log)
        with pytest.raises(Stop):
            train("gaussian_to_swissroll", settings(tmp_path, "interrupted", **more), progress=False)
    return tmp_path / "interrupted"


@pytest.mark.parametrize("damage", ["truncate", "foreign", "missing"])
def test_a_bad_checkpoint_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    folder = interrupted(tmp_path, {}, after=20)
    state = folder / "state.safetensors"
    if damage == "truncate":
        state.write_bytes(state.read_bytes()[:-100])
    elif damage == "foreign":
        other = train(
            "gaussian_to_swissroll", settings(tmp_path, "other", **{"net.width": 8}), progress=False
        )
        state.write_bytes((other.folder / "state.safetensors").read_bytes())
    else:
        state.unlink()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"state\.safetensors"):
        resume(folder, progress=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_existing_run_folder_is_not_touched(tmp_path: Path) -> None:
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "precious").write_text("keep me")
    with pytest.raises(RunError, match="already there"):
        train("gaussian_to_swissroll", settings(tmp_path, "taken"), progress=False)
    assert [path.name for path in folder.iterdir()] == ["precious"]
