"""Starts a script as several processes of one job, without torchrun and without a port."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def started(
    script: str, size: int, *arguments: str, **variables: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """The processes of ``script`` of this folder; those that still run are killed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{folder}/meeting"
        command = [sys.executable, str(HERE / script), *arguments]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": str(size), "MEETING": meeting, **variables}
        processes = [
            subprocess.Popen(
                command,
                env={**env, "RANK": str(k)},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for k in range(size)
        ]
        try:
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def run(script: str, size: int, *arguments: str, timeout: float = 300) -> None:
    """Run ``script`` as ``size`` processes and fail with what they said if one fails."""
    with started(script, size, *arguments) as processes:
        told = [process.communicate(timeout=timeout) for process in processes]
        failed = [k for k, process in enumerate(processes) if process.returncode]
        assert not failed, "\n".join(f"process {k}:\n{told[k][0]}{told[k][1][-3000:]}" for k in failed)


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
