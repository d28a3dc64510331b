"""Training by several processes, as test_training.py and kills.py start it; the first argument says what to do."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from launch import end_at_deadline, join

import efm_fast.training.loop as loop
from efm_fast import resume, train
from efm_fast.data.toy import Gaussian, SwissRoll
from efm_fast.errors import EfmError, InputError, RunError
from efm_fast.runs import generations
from efm_fast.stop import is_first
from efm_fast.training.report import Reporter

SETTINGS = {
    "train.steps": 40,
    "train.batch": 32,
    "train.checkpoint_every": 7,
    "train.log_every": 1,
    "train.picture_every": 10_000,
    "train.timeout": 60,
    "method.points.charges": 64,
    "net.width": 16,
    "net.depth": 1,
}


def settings(folder: str | Path, name: str, **more: object) -> dict[str, object]:
    return {**SETTINGS, "runs": str(folder), "name": name, **more}


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_curves(patch: pytest.MonkeyPatch) -> None:
    """Let a training end without the picture of its curves, which takes longer than these trainings."""
    patch.setattr(Reporter, "curves", lambda self: None)


def run(folder: str) -> None:
    """Everything that needs no process to be killed."""
    rank = int(os.environ["RANK"])
    train("gaussian_to_swissroll", settings(folder, "two"), progress=False)
    without_curves(pytest.MonkeyPatch())
    train("gaussian_to_swissroll", settings(folder, "two_again"), progress=False)
    train("gaussian_to_swissroll", settings(folder, "parts", **{"train.accumulate": 2}), progress=False)
    more = {"method": {"name": "pfgm", "charges": 50}}
    pfgm = {k: v for k, v in settings(folder, "pfgm", **more).items() if not k.startswith("method.")}
    train("gaussian_to_swissroll", {**pfgm, "train.steps": 5}, progress=False)
    resume(Path(folder) / "of_one", {"train.steps": 40}, progress=False)

    def refused(words: str, kind: type[EfmError] = InputError, **more: object) -> None:
        with pytest.raises(kind, match=words) as caught:
            train("gaussian_to_swissroll", {**settings(folder, "bad"), **more}, progress=False)
        assert "\n" not in str(caught.value)
        assert caught.value.shared
        assert not (Path(folder) / "bad").exists()

    refused("train.batch: expected a multiple of 2", **{"train.batch": 33})
    refused(
        "train.batch: expected a multiple of 6, 2 processes", **{"train.batch": 32, "train.accumulate": 3}
    )
    refused(
        r"same settings on all processes, got lr: 0\.1 on process 0 and lr: 1\.1 on process 1",
        **{"train.lr": 0.1 + rank},
    )
    refused("already there", RunError, **{"name": "two"})

    def broken(*_: object) -> None:
        raise InputError("plus: these are not the data")

    with pytest.MonkeyPatch.context() as patch:
        if rank:
            patch.setattr(loop, "measure", broken)
        refused(r"plus: these are not the data \(process 1 of 2\)")

    # files of the same name hold other data on another machine
    draw = SwissRoll.draw
    for change, told in (
        (lambda rows: rows + 0.01 * rank, "others, of mean .* on process 0 and .* on process 1 in the batch"),
        (lambda rows: rows.roll(rank, 0), "others"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SwissRoll, "draw", lambda *a, change=change, **more: change(draw(*a, **more)))
            refused(f"minus: expected the same data on all processes, got {told}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "make_sources", lambda *_: (Gaussian(2 + rank), Gaussian(2 + rank)))
        refused(r"plus: .* got rows of \[2\] on process 0 and \[3\] on process 1")


FSDP = {"train.sharding": "fsdp", "train.steps": 12}


def sharded(folder: str) -> None:
    """A network of which each process has a part, with checkpoints at once and in the background."""
    from efm_fast.training import sharded as cut  # brings FSDP2, which no other test here waits for

    # modules of this small network are gathered apart
    pytest.MonkeyPatch().setattr(cut, "TOGETHER", 100)
    without_curves(pytest.MonkeyPatch())
    train("gaussian_to_swissroll", settings(folder, "parts", **FSDP), progress=False)
    more = {"train.async_checkpoint": True, "train.checkpoint_every": 3, "train.picture_every": 9}
    train("gaussian_to_swissroll", settings(folder, "behind", **FSDP, **more), progress=False)
    train(
        "gaussian_to_swissroll", settings(folder, "four", **FSDP, **{"train.accumulate": 2}), progress=False
    )
    if not int(os.environ["RANK"]):
        shutil.copytree(Path(folder) / "parts", Path(folder) / "parts_whole")
    dist.barrier()
    resume(Path(folder) / "whole", {**FSDP, "train.steps": 18}, progress=False)
    resume(Path(folder) / "parts_whole", {"train.sharding": "none", "train.steps": 18}, progress=False)

    # a part that cannot be written is told on every process, and the checkpoint before stays
    def full(path: Path) -> str:
        raise OSError(28, "No space left on device")

    rank = int(os.environ["RANK"])
    for background in (False, True):
        with pytest.MonkeyPatch.context() as patch:
            name = f"full_{background}"
            changed = {"train.async_checkpoint": background, "train.checkpoint_every": 5}
            original = generations.digest

            def sometimes(path: Path, original: Callable[[Path], str] = original) -> str:
                return full(path) if rank and "state-00000010" in str(path) else original(path)

            patch.setattr(generations, "digest", sometimes)
            with pytest.raises(
                RunError, match=r"cannot write .*state-00000010: No space left on device"
            ) as caught:
                train("gaussian_to_swissroll", settings(folder, name, **FSDP, **changed), progress=False)
            assert "process 1" in str(caught.value)
            assert caught.value.shared
            dist.barrier()
            assert [path.name for path in (Path(folder) / name).glob("state*")] == ["state-00000005"]


def die(folder: str) -> None:
    """Train, and be killed or stopped on the way, once: DIE says who, before which step, after how long, and how.

    RANK:STEP:SECONDS:SIGNAL, with -1 for all processes, and "launcher" for what started the first one. Instead of
    before a step, it happens while a shard of the checkpoint WRITING is sealed, if that is set.
    """
    rank, step, seconds, number = os.environ["DIE"].split(":")
    first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    original = loop.step_generator

    def generator(seed: int, at: int, stream: int) -> torch.Generator:
        launcher = rank == "launcher" and os.environ["RANK"] == "0"
        if first and at == int(step) and (launcher or rank in ("-1", os.environ["RANK"])):
            target = os.getppid() if launcher else os.getpid()
            hit = lambda: os.kill(target, getattr(signal, number))  # noqa: E731
            threading.Timer(float(seconds), hit).start() if float(seconds) else hit()
        time.sleep(0.002)
        return original(seed, at, stream)

    seal = generations.digest

    def digest(path: Path) -> str:
        if first and rank == os.environ["RANK"] and path.parent.name.startswith(f".{os.environ['WRITING']}"):
            os.kill(os.getpid(), getattr(signal, number))
        return seal(path)

    if "WRITING" in os.environ:
        generations.digest = digest
    loop.step_generator = generator
    without_curves(pytest.MonkeyPatch())
    try:
        more = json.loads(os.environ.get("MORE", "{}"))
        train("gaussian_to_swissroll", settings(folder, "killed", **more), progress=False)
    except EfmError as problem:  # said as the command line says it
        sys.exit(f"efm-fast: {problem}" if is_first() or not problem.shared else 1)


def go_on(folder: str) -> None:
    """Resume the run of :func:`die`."""
    without_curves(pytest.MonkeyPatch())
    resume(Path(folder) / "killed", progress=False)


def anew(folder: str) -> None:
    """Train STEPS steps of the run NAME."""
    more = {"train.steps": int(os.environ["STEPS"]), **json.loads(os.environ.get("MORE", "{}"))}
    train("gaussian_to_swissroll", settings(folder, os.environ["NAME"], **more), progress=False)


def again(folder: str) -> None:
    """Resume the run NAME until it has STEPS steps."""
    resume(Path(folder) / os.environ["NAME"], {"train.steps": int(os.environ["STEPS"])}, progress=False)


TASKS = {call.__name__: call for call in (run, sharded, die, go_on, anew, again)}

if __name__ == "__main__":
    end_at_deadline()
    if "MEETING" in os.environ:
        join()
    TASKS[sys.argv[1]](sys.argv[2])
    if dist.is_initialized():
        dist.destroy_process_group()
