"""Two processes train as one does, go on after either is killed, and end when one hangs."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from check_training import losses, settings
from launch import HERE, run, started
from safetensors.torch import load_file

from efm_fast import resume, train
from efm_fast.errors import RunError


def weights(folder: Path) -> torch.Tensor:
    state = load_file(folder / "state.safetensors")
    return torch.cat([v.double().flatten() for k, v in state.items() if k.startswith("field.")])


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    one = train("gaussian_to_swissroll", settings(tmp_path, "one"), progress=False).folder
    short = train(
        "gaussian_to_swissroll", settings(tmp_path, "of_one", **{"train.steps": 20}), progress=False
    )
    run("check_training.py", 2, "run", str(tmp_path))
    for name in ("two", "parts"):
        assert (weights(tmp_path / name) - weights(one)).norm() < 1e-6 * weights(one).norm()
        assert losses(tmp_path / name) == pytest.approx(losses(one), rel=1e-6)
    two, again = (tmp_path / name / "state.safetensors" for name in ("two", "two_again"))
    assert two.read_bytes() == again.read_bytes()
    assert len(losses(short.folder)) == 40
    resume(tmp_path / "two", {"train.steps": 44}, progress=False)
    assert len(losses(tmp_path / "two")) == 44


def test_several_backward_passes_a_step_learn_what_one_learns(tmp_path: Path) -> None:
    one, four = (
        train(
            "gaussian_to_swissroll",
            settings(tmp_path, f"of{n}", **{"train.accumulate": n, "train.steps": 20}),
            progress=False,
        ).folder
        for n in (1, 4)
    )
    assert (weights(four) - weights(one)).norm() < 1e-6 * weights(one).norm()
    assert weights(four).tolist() != weights(one).tolist()
    assert losses(four) == pytest.approx(losses(one), rel=1e-6)


def test_a_process_that_hangs_ends_the_other_and_the_run_goes_on(tmp_path: Path) -> None:
    with started(
        "check_training.py", 2, "die", str(tmp_path), DIE="1:17:0:SIGSTOP", PATIENCE="10"
    ) as processes:
        _, told = processes[0].communicate(timeout=200)
        assert processes[0].returncode == 1
        assert told.splitlines()[-1].startswith(
            "efm-fast: another process of the job has ended or does not answer"
        )
        assert processes[1].poll() is None
    run("check_training.py", 2, "go_on", str(tmp_path))
    whole = train("gaussian_to_swissroll", settings(tmp_path, "whole"), progress=False).folder
    assert losses(tmp_path / "killed") == pytest.approx(losses(whole), rel=1e-6)


def test_torchrun_starts_a_killed_job_again_and_it_goes_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, HERE / "kills.py", "--places", "1", "--torchrun"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 runs went on bit for bit" in done.stdout


def test_a_port_that_is_taken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for name, value in (
            ("RANK", "0"),
            ("WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", port),
        ):
            monkeypatch.setenv(name, value)
        with pytest.raises(
            RunError, match=f"did not find each other at 127.0.0.1:{port}.*A port that is taken"
        ) as caught:
            train("gaussian_to_swissroll", settings(tmp_path, "bad"), progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "bad").exists()
    monkeypatch.delenv("MASTER_PORT")
    with pytest.raises(
        RunError, match="WORLD_SIZE asks for many processes without MASTER_PORT: start them by torchrun"
    ):
        train("gaussian_to_swissroll", settings(tmp_path, "bad"), progress=False)


def test_a_process_whose_torchrun_has_ended_ends_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    parents = iter([5, 5, 5, 5, 1])  # one call when the run begins, one when training does, one a row
    monkeypatch.setattr("os.getppid", lambda: next(parents, 1))
    with pytest.raises(RunError, match="torchrun, which started this process, has ended"):
        train("gaussian_to_swissroll", settings(tmp_path, "orphan"), progress=False)
    assert len(losses(tmp_path / "orphan")) == 2
