"""What a run tells while it trains: rows of numbers, TensorBoard, pictures."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from ..files import naming, write_text
from ..pictures import has_picture, plot_samples
from ..plots import plot_curves
from ..runs import Run
from ..sampling import sample, starts


class Reporter(contextlib.AbstractContextManager["Reporter"]):
    """Writes metrics.jsonl, TensorBoard events (where tensorboard is installed) and pictures into a run folder.

    Args:
        run: the run; its field is looked at again for every picture.
        step: the step that training starts from; later rows of an earlier attempt are dropped.

    Raises:
        RunError: from every method, if a file cannot be written; the text names it.
    """

    def __init__(self, run: Run, step: int) -> None:
        self.run = run
        self.path = run.folder / "metrics.jsonl"
        self.rows = [row for row in read_metrics(run.folder) if row["step"] <= step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        with naming(self.path):
            self.file = self.path.open("ab", buffering=0)
        self.board = _Board.of(run.folder / "tensorboard", step)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()

    def log(self, step: int, **numbers: float) -> None:
        """Add one row of ``numbers``."""
        row = {"step": step, **numbers}
        self.rows.append(row)
        line = memoryview((json.dumps(row) + "\n").encode())
        with naming(self.path):
            while line:  # a disk that fills up takes a part
                line = line[self.file.write(line) :]
        if self.board is not None:
            self.board.add(step, numbers)

    def flush(self) -> None:
        """Make all rows so far outlast a power failure, as a checkpoint that follows them will."""
        with naming(self.path):
            os.fsync(self.file.fileno())

    def picture(self, step: int) -> None:
        """Draw samples of the field as it stands, where the data have a picture."""
        run = self.run
        if not has_picture(run):
            return
        was_training = run.field.training
        run.field.eval()
        x0 = starts(run, pictured(run), seed=0)
        plot_samples(run, x0, sample(run, x0), run.folder / "samples" / f"step_{step:07d}.png")
        run.field.train(was_training)

    def curves(self) -> None:
        """Draw the curves of all rows."""
        if len(self.rows) > 1:
            plot_curves(self.rows, self.run.folder / "curves.png")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Rows of ``folder``'s metrics.jsonl; a last line cut short by a kill is left out, other damage with a warning.

    Raises:
        RunError: the file is there and cannot be read.
    """
    path = folder / "metrics.jsonl"
    with naming(path):
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    rows = [_row(line) for line in lines]
    damaged = [str(k) for k, row in enumerate(rows, 1) if row is None and lines[k - 1].endswith(b"\n")]
    if damaged:
        warnings.warn(
            f"{path}: lines {', '.join(damaged)} are no rows of numbers and are left out", stacklevel=2
        )
    return [row for row in rows if row is not None]


def _row(line: bytes) -> dict[str, float] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None


def pictured(run: Run) -> int:
    """How many samples a picture shows well."""
    return 64 if len(run.geometry.shape) == 3 else 1024


class _Board:
    """TensorBoard events, written where the caller can see an error.

    tensorboard's own writer has a thread for it, which prints a traceback of its own when the disk is full.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        self.path = folder / name
        with naming(self.path):
            folder.mkdir(exist_ok=True)
            self.writer = RecordWriter(self.path.open("ab"))
        self._event = Event
        self._write(file_version="brain.Event:2")
        # a viewer drops what an earlier attempt said about later steps
        self._write(step=step, session_log=SessionLog(status=SessionLog.START))

    @classmethod
    def of(cls, folder: Path, step: int) -> _Board | None:
        """A writer into ``folder``, or None where tensorboard is not installed."""
        try:
            return cls(folder, step)
        except ImportError:
            return None

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Add one event with all ``numbers``."""
        values = [{"tag": name, "simple_value": value} for name, value in numbers.items()]
        self._write(step=step, summary={"value": values})

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # of a write that was already told
            self.writer.close()

    def _write(self, **content: Any) -> None:
        with naming(self.path):
            self.writer.write(self._event(wall_time=time.time(), **content).SerializeToString())
            self.writer.flush()
