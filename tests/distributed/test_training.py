"""Two processes train as one does, go on after either is killed, and end when one hangs."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from check_training import losses, settings
from launch import run, started
from safetensors.torch import load_file

from efm_fast import resume, train
from efm_fast.errors import RunError


def weights(folder: Path) -> torch.Tensor:
    state = load_file(folder / "state.safetensors")
    return torch.cat([v.double().flatten() for k, v in state.items() if k.startswith("field.")])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process has trained, what two have beside it, and a short run of one that two have gone on with."""
    folder = tmp_path_factory.mktemp("runs")
    train("gaussian_to_swissroll", settings(folder, "one"), progress=False)
    short = settings(folder, "of_one", **{"train.steps": 20})
    train("gaussian_to_swissroll", short, progress=False)
    run("check_training.py", 2, "run", str(folder))
    return folder


def test_two_processes_learn_what_one_learns(runs: Path, tmp_path: Path) -> None:
    one = runs / "one"
    for name in ("two", "parts"):
        assert (weights(runs / name) - weights(one)).norm() < 1e-6 * weights(one).norm()
        assert losses(runs / name) == pytest.approx(losses(one), rel=1e-6)
    two, again = (runs / name / "state.safetensors" for name in ("two", "two_again"))
    assert two.read_bytes() == again.read_bytes()
    assert (runs / "two" / "curves.png").exists()
    assert len(losses(runs / "of_one")) == 40
    shutil.copytree(runs / "two", tmp_path / "two")
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


def test_a_process_that_hangs_ends_the_other_and_the_run_goes_on(runs: Path, tmp_path: Path) -> None:
    with started(
        "check_training.py", 2, "die", str(tmp_path), DIE="1:17:0:SIGSTOP", PATIENCE="5"
    ) as processes:
        assert processes[0].ended(210) == 1
        assert (
            processes[0]
            .said()
            .splitlines()[-1]
            .startswith("efm-fast: another process of the job has ended or does not answer")
        )
        assert processes[1].ended(0) is None
    run("check_training.py", 2, "go_on", str(tmp_path))
    assert losses(tmp_path / "killed") == pytest.approx(losses(runs / "one"), rel=1e-6)


NEVER = "0:1000:0:SIGKILL"  # a step that does not come
NO_DEVICE = json.dumps({"device": "cuda:99"})


@contextlib.contextmanager
def torchruns_store() -> Iterator[dict[str, str]]:
    """torchrun's variables; its store, which outlives its processes, holds the addresses of those that have died."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    yield {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_RUN_ID": "job",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def test_a_device_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    with (
        torchruns_store() as job,
        started("check_training.py", 2, "die", str(tmp_path), DIE=NEVER, MORE=NO_DEVICE, **job) as processes,
    ):
        assert [one.ended(210) for one in processes] == [1, 1]
        assert processes[0].said().startswith("efm-fast: device: 'cuda:99' was asked for, but torch sees ")
        assert processes[0].said().count("\n") == 1
        assert not processes[1].said()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("die", ["0:9:0:SIGKILL", "1:22:0.003:SIGKILL", "-1:30:0:SIGKILL"])
def test_a_killed_job_is_started_again_and_goes_on_bit_for_bit(runs: Path, tmp_path: Path, die: str) -> None:
    with torchruns_store() as job:
        with started("check_training.py", 2, "die", str(tmp_path), DIE=die, **job) as processes:
            codes = [one.ended(210) for one in processes]
            assert codes == [-9 if die.split(":")[0] in ("-1", str(rank)) else 1 for rank in range(2)]
        run("check_training.py", 2, "die", str(tmp_path), DIE=die, **job, TORCHELASTIC_RESTART_COUNT="1")
    ours, theirs = (folder / "state.safetensors" for folder in (tmp_path / "killed", runs / "two"))
    assert ours.read_bytes() == theirs.read_bytes()


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
    # the other process calls what has taken the port, which does not answer
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("efm_fast.training.job._MORE", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("MASTER_PORT", str(other.getsockname()[1]))
        soon = settings(tmp_path, "bad", **{"train.timeout": 1})
        with pytest.raises(RunError, match=r"what listens there did not answer within 1 s \(train.timeout\)"):
            train("gaussian_to_swissroll", soon, progress=False)
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
