"""A process of its own for rows that compile: it can be stopped without harm to the bench.

It belongs to the process group of the bench, runs the same code, and reports one row at a time.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from bench.field.forms import forms
from bench.field.measure import Case, Measurement, measure

_GRACE = 3.0  # seconds for a worker to stop by itself
_START = 60.0  # seconds to import torch on a busy machine
#: What KeOps compiles here; apart from the user's own, in which a stopped compiler would leave half a library.
KEOPS_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "efm_fast" / "keops"


def _serve(pipe: Connection, precision: Any, threads: int) -> None:
    # compile in this process: helpers of the compiler would outlive it when it has to be killed
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    KEOPS_CACHE.mkdir(parents=True, exist_ok=True)
    os.environ["KEOPS_CACHE_FOLDER"] = str(KEOPS_CACHE)
    torch.set_num_threads(threads)
    rows = forms(precision)
    pipe.send("ready")
    while (task := pipe.recv()) is not None:
        name, case = task
        pipe.send(measure(rows[name], case))


def _descendants(pid: int) -> list[int]:
    """Processes that ``pid`` started and those that they started; none where the system has no /proc."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [*children, *(deeper for child in children for deeper in _descendants(child))]


def forget_since(folder: Path, when: float) -> None:
    """Remove the files of ``folder`` that changed after ``when``: a compiler was stopped while it wrote them."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime >= when:
            path.unlink()


class Worker:
    """Measures rows in another process, started on first use and again after it had to be killed."""

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._process: Any = None

    def start(self) -> None:
        """Start the process if there is none, and wait until it can measure."""
        if self._process is not None:
            return
        # the tracker tidies up after a killed process, and need not say so
        os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._precision, torch.get_num_threads())
        self._process = context.Process(target=_serve, args=arguments)
        self._process.start()
        theirs.close()
        if self._pipe.poll(_START):
            self._pipe.recv()

    def measure(self, name: str, case: Case, budget: float) -> Measurement:
        """The row ``name``; stopped after ``budget`` seconds, and then the row says so."""
        begin = time.time()
        try:
            self.start()
            self._pipe.send((name, case))
            if self._pipe.poll(budget):
                return self._pipe.recv()
            reason = f"did not end in the {budget:.0f} s that it was given; --full gives it more"
        except (EOFError, OSError):
            reason = "its process died"
        self.kill()
        forget_since(KEOPS_CACHE, begin)
        return Measurement(name, case.d, reason=reason)

    def kill(self) -> None:
        """Stop the process and the compilers that it started."""
        if self._process is not None:
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.join()
            self._process = None

    def close(self) -> None:
        """Let the process end."""
        if self._process is None:
            return
        try:
            self._pipe.send(None)
            self._process.join(_GRACE)
        except OSError:
            pass
        self.kill()
