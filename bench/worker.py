"""A process of its own for rows that compile: it can be stopped, and takes nothing with it.

It belongs to the process group of the bench, runs the same code, and reports one row at a time.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import torch
from competitors import forms
from measure import Case, Measurement, measure

_GRACE = 5.0  # seconds for a worker to stop by itself


def _serve(pipe: Connection, precision: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    rows = forms(precision)
    while (task := pipe.recv()) is not None:
        name, case, budget = task
        pipe.send(measure(rows[name], case, budget))


class Worker:
    """Measures rows in another process, started on first use and again after it had to be killed."""

    def __init__(self, precision: str) -> None:
        self._precision = precision
        self._process: Any = None

    def measure(self, name: str, case: Case, budget: float) -> Measurement:
        """The row ``name``; stopped after ``budget`` seconds, and then the row says so."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            arguments = (theirs, self._precision, torch.get_num_threads())
            self._process = context.Process(target=_serve, args=arguments, daemon=False)
            self._process.start()
            theirs.close()
            budget += 15.0  # importing torch is not the row's fault
        try:
            self._pipe.send((name, case, budget))
            if self._pipe.poll(budget + _GRACE):
                return self._pipe.recv()
            reason = f"did not end within {budget:.0f} s"
        except (EOFError, OSError):
            reason = "its process died"
        self.kill()
        return Measurement(name, case.d, reason=reason)

    def kill(self) -> None:
        """Stop the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
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
