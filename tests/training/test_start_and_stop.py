"""A run that never started leaves nothing; one that is asked to stop, or diverges, leaves its last checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from efm_fast import load
from efm_fast.errors import RunError
from efm_fast.methods.parametrisation import PlateMeans
from efm_fast.training import resume, train

SETTINGS = {
    "train.steps": 12,
    "train.batch": 8,
    "train.checkpoint_every": 5,
    "train.log_every": 2,
    "train.picture_every": 10_000,
    "method.points.charges": 8,
    "net.width": 8,
    "net.depth": 1,
}


def settings(folder: Path, name: str, **more: object) -> dict[str, object]:
    return {**SETTINGS, "runs": str(folder), "name": name, **more}


def test_a_run_that_fails_before_its_first_step_leaves_no_folder(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise TypeError("a mistake in my own strategy")

    for _ in range(2):
        with pytest.raises(TypeError, match="my own strategy"):
            train("gaussian_to_mixture", settings(tmp_path, "it"), strategy=broken, progress=False)
        assert not list(tmp_path.iterdir())


def test_a_first_checkpoint_that_cannot_be_written_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        if "state.safetensors" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    runs = tmp_path / "not" / "there" / "yet"
    with pytest.raises(RunError) as caught:
        train("gaussian_to_mixture", settings(runs, "it"), progress=False)
    assert str(caught.value) == f"cannot write {runs / 'it' / 'state.safetensors'}: No space left on device"
    assert not list(tmp_path.iterdir())


def test_what_stands_in_the_way_of_a_run_folder_is_named(tmp_path: Path) -> None:
    link, file, empty = tmp_path / "link", tmp_path / "file", tmp_path / "it"
    link.symlink_to(tmp_path / "nowhere")
    file.write_text("a file")
    empty.mkdir()
    for runs, words in (
        (link, "a link that leads nowhere"),
        (file, "not a folder"),
        (tmp_path, "already there: remove it, or choose"),
    ):
        with pytest.raises(RunError, match=words):
            train("gaussian_to_mixture", settings(runs, "it"), progress=False)
    assert not list(empty.iterdir())


@pytest.mark.parametrize("first", [3, 8])
def test_a_loss_of_nan_with_a_finite_gradient_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    calls = []
    loss_of = PlateMeans.loss

    def loss(self: PlateMeans, *arguments: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        value = loss_of(self, *arguments)
        return (
            value + torch.nan if len(calls) == first + 1 else value
        )  # train tries one loss before it starts

    monkeypatch.setattr(PlateMeans, "loss", loss)
    with pytest.raises(RunError, match=rf"loss.*not finite at step {first}; the last checkpoint is whole"):
        train("gaussian_to_mixture", settings(tmp_path, "it", **{"train.log_every": 50}), progress=False)
    run = load(tmp_path / "it")
    assert run.step == (0 if first < 5 else 5)
    assert all(torch.isfinite(weight).all() for weight in run.field.parameters())


def test_weights_that_are_not_finite_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = torch.optim.AdamW.step

    def overflow(self: torch.optim.AdamW, closure: None = None) -> None:
        step(self, closure)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(torch.inf)

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with pytest.raises(RunError, match="NaN or infinity; not written"):
        train(
            "gaussian_to_mixture", settings(tmp_path, "it", **{"train.checkpoint_every": 1}), progress=False
        )
    assert load(tmp_path / "it").step == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_sigterm_ends_loader_workers_and_leaves_a_run_that_goes_on(tmp_path: Path) -> None:
    more = {"train.steps": 20, "train.workers": 2}
    script = (
        "from efm_fast.training import train, loop\n"
        "import time\n"
        "slow = loop.step_generator\n"
        "def slowly(*a):\n"
        "    time.sleep(0.1 if a[1] > 7 else 0)\n"  # so that the signal comes in mid-run
        "    return slow(*a)\n"
        "loop.step_generator = slowly\n"
        f"train('gaussian_to_mixture', {settings(tmp_path, 'stopped', **more)!r}, progress=False)\n"
    )
    stopped, metrics = tmp_path / "stopped", tmp_path / "stopped" / "metrics.jsonl"
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and (not metrics.exists() or metrics.read_text().count("\n") < 3):
        time.sleep(0.02)
    workers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert "KeyboardInterrupt: SIGTERM" in told
    assert len(workers) == 4
    assert not [worker for worker in workers if alive(worker)]
    assert load(stopped).step == 5
    resume(stopped, progress=False)
    whole = train("gaussian_to_mixture", settings(tmp_path, "whole", **more), progress=False).folder
    assert (stopped / "state.safetensors").read_bytes() == (whole / "state.safetensors").read_bytes()


def children(parent: int) -> list[int]:
    """Processes that ``parent`` started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def alive(process: int) -> bool:
    """Whether that process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
