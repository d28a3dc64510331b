"""Starts a script as several processes of one job, without torchrun and without a port.

They are forked from a server that has imported torch once, which is most of what a new process does. A process that is
not done at its deadline prints where each of its threads is, and ends.
"""

from __future__ import annotations

import faulthandler
import functools
import multiprocessing
import os
import runpy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

HERE = Path(__file__).parent
NEEDED = ["efm_fast.training.loop", "efm_fast.training.sharded", "efm_fast.evaluation", "torch._dynamo"]
NEEDED += ["torch.distributed.checkpoint", "torch.distributed.fsdp", "torch.nn.parallel", "matplotlib.pyplot"]
NEEDED += ["torch.utils.tensorboard", "pytest"]


@dataclass
class Started:
    """One process, and the file that holds what it says."""

    process: BaseProcess
    log: Path

    def said(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def ended(self, seconds: float) -> int | None:
        """Its exit code, -9 after a kill; None if it is still there after so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode


@functools.cache
def _fork() -> multiprocessing.context.ForkServerContext:
    """The server, which is started once, has imported what it needs, and ends with this program."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(NEEDED)
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        forkserver.ensure_running()
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
    # the imports may take minutes on a loaded machine: this process waits for them, so that no deadline counts them
    first = made.Process(target=int)
    first.start()
    first.join()
    return made


def _enter(script: str, arguments: tuple[str, ...], variables: dict[str, str], log: str) -> None:
    """What a forked process does."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.update(variables)
    end_at_deadline()
    sys.argv = [script, *arguments]
    runpy.run_path(str(HERE / script), run_name="__main__")


def end_at_deadline() -> None:
    """Let this process print where its threads are and end at the time DEADLINE, in seconds since 1970, if set."""
    if "DEADLINE" in os.environ:
        left = float(os.environ["DEADLINE"]) - time.time()
        faulthandler.dump_traceback_later(max(left, 0.1), exit=True)


@contextmanager
def started(
    script: str, size: int, *arguments: str, seconds: float = 200, **variables: str
) -> Iterator[list[Started]]:
    """The processes of ``script`` of this folder; those that still run are killed at the end.

    Args:
        script: its name.
        size: how many processes.
        arguments: of the script.
        seconds: after which they print where they are, and end.
        variables: environment variables.
    """
    fork, processes = _fork(), []
    with tempfile.TemporaryDirectory() as folder:
        same = {"WORLD_SIZE": str(size), "DEADLINE": str(time.time() + seconds)}
        if "MASTER_PORT" not in variables:
            same["MEETING"] = f"file://{folder}/meeting"
        for k in range(size):
            own = {**same, "RANK": str(k), **variables}
            log = f"{folder}/said_{k}"
            process = fork.Process(target=_enter, args=(script, arguments, own, log), daemon=True)
            process.start()
            processes.append(Started(process, Path(log)))
        try:
            yield processes
        finally:
            for one in processes:
                one.process.kill()
                one.process.join()


def run(script: str, size: int, *arguments: str, seconds: float = 200, **variables: str) -> None:
    """Run ``script`` as ``size`` processes and fail with what they said if one fails."""
    with started(script, size, *arguments, seconds=seconds, **variables) as processes:
        end = time.monotonic() + seconds + 10
        codes = [one.ended(max(0.0, end - time.monotonic())) for one in processes]
        told = "\n".join(
            f"process {k} ended with {code}:\n{one.said()[-6000:]}"
            for k, (one, code) in enumerate(zip(processes, codes, strict=True))
            if code != 0
        )
        assert not told, told


def join() -> tuple[int, int]:
    """Join the job that :func:`started` made: rank and size."""
    import datetime

    import torch.distributed as dist

    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    # a loaded machine may need long; a test of a process that hangs sets less
    seconds = datetime.timedelta(seconds=float(os.environ.get("PATIENCE", "120")))
    dist.init_process_group(
        "gloo", init_method=os.environ["MEETING"], rank=rank, world_size=size, timeout=seconds
    )
    return rank, size
