"""What a run tells while it trains: rows of numbers, TensorBoard, pictures."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Any

from .files import write_text
from .run import Run


class Reporter(contextlib.AbstractContextManager["Reporter"]):
    """Writes metrics.jsonl, TensorBoard events (where tensorboard is installed) and pictures into a run folder.

    Args:
        run: the run; its field is looked at again for every picture.
        step: the step that training starts from; later rows of an earlier attempt are dropped.
    """

    def __init__(self, run: Run, step: int) -> None:
        self.run = run
        self.path = run.folder / "metrics.jsonl"
        self.rows = [row for row in read_metrics(run.folder) if row["step"] <= step]
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        self.file = self.path.open("a", encoding="utf-8")
        self.board = _tensorboard(run.folder / "tensorboard", step)

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
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in numbers.items():
                self.board.add_scalar(name, value, step)

    def picture(self, step: int) -> None:
        """Draw samples of the field as it stands, where the data have a picture."""
        from ..sampling import sample, starts
        from ..show import has_picture, plot_samples

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
        from ..plots import plot_curves

        if len(self.rows) > 1:
            plot_curves(self.rows, self.run.folder / "curves.png")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """Rows of ``folder``'s metrics.jsonl; a last line cut short by a kill is left out."""
    path = folder / "metrics.jsonl"
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with contextlib.suppress(json.JSONDecodeError):
            rows.append(json.loads(line))
    return rows


def pictured(run: Run) -> int:
    """How many samples a picture shows well."""
    return 64 if len(run.geometry.shape) == 3 else 1024


def _tensorboard(folder: Path, step: int) -> Any:
    """A TensorBoard writer, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)
