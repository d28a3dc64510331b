"""When the checkpoints of a training are written: at once, or while it goes on."""

from __future__ import annotations

import contextlib
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from ..errors import RunError
from ..processes import Processes, alike
from .state import TrainingState, write_state


class Checkpoints(contextlib.AbstractContextManager["Checkpoints"]):
    """Writes the checkpoints of a run, one at a time.

    The first process writes those of a network that every process has whole. Of a sharded one every process writes its
    part, and messages about it travel in a group of their own.

    Args:
        folder: the run folder.
        state: what is written.
        processes: who trains.
        background: write a copy of the state, taken at the step, while training goes on.
    """

    def __init__(self, folder: Path, state: TrainingState, processes: Processes, background: bool) -> None:
        self.folder, self.state, self.processes, self.background = folder, state, processes, background
        self.group = alike(processes) if state.sharded else None
        self.writer = ThreadPoolExecutor(1, "checkpoint")
        self.begun: int | None = (
            None  # step of the checkpoint that is being written, the same on all processes
        )
        self.pending: Future[None] | None = None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pending is not None:  # something else went wrong, which is what the caller gets to know
            try:
                self._wait()
            except Exception as problem:
                lost = isinstance(problem, RuntimeError) and not isinstance(problem, RunError)
                if not (lost and self.processes.size > 1):  # a process that is lost is what ``value`` tells
                    warnings.warn(
                        f"the checkpoint of step {self.begun} was not written: {problem}", stacklevel=2
                    )
        self.writer.shutdown()

    @property
    def failed(self) -> bool:
        """Whether the last checkpoint could not be written, as far as one process can tell without the others."""
        done = self.processes.size == 1 and self.pending is not None and self.pending.done()
        return done and self.pending is not None and self.pending.exception() is not None

    def write(self) -> None:
        """Write the state as it is now; every process calls this at the same step.

        Raises:
            RunError: on every process: this checkpoint cannot be written, or, in the background, the one before.
        """
        self.refuse(wait=True)
        if self.group is not None:
            from ..runs.shards import begin_generation

            self.pending = begin_generation(
                self.folder, self.state.step, self.state.named(), self.processes, self.group
            )
        elif not self.background:
            self.processes.by_first(lambda: self.state.save(self.folder))
            return
        elif self.processes.first:
            self.pending = self.writer.submit(write_state, self.folder, self.state.copied())
        self.begun = self.state.step
        if not self.background:
            self.refuse(wait=True)

    def refuse(self, wait: bool = False) -> None:
        """Tell every process if the checkpoint that was begun could not be written.

        Args:
            wait: until it is there; else nothing is told about one that is still being written.

        Raises:
            RunError: on every process: it could not be written; the one before is whole.
        """
        if self.begun is None:
            return
        done = self.pending is None or self.pending.done()
        if not wait and not all(one["done"] for one in self.processes.agree({"done": done})):
            return
        problem = None
        try:
            self._wait()
        except RunError as found:
            problem = found
        self.begun = None
        self.processes.agree({}, problem)

    def _wait(self) -> None:
        pending, self.pending = self.pending, None
        if pending is None:
            return
        if self.group is None:
            pending.result()
        else:
            from ..runs.shards import ended

            ended(pending, self.folder)
