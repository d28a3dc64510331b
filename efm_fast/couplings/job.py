"""What a coupling is told beside the data: its seed, who wants to see progress, and where its state is kept."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..extras import extra
from ..processes import Processes

#: Seconds between two writes of a state.
WRITE_EVERY = 10.0


@dataclass
class Job:
    """One call of :func:`efm_fast.couple`.

    Attributes:
        seed: of all draws.
        progress: whether to show a progress bar.
        backend: of sums over charges.
        path: of the file that keeps the state of an unfinished coupling; None for none.
        processes: who share the work; the first writes the file, and all read it.
    """

    seed: int = 0
    progress: bool = False
    backend: str = "auto"
    path: Path | None = None
    processes: Processes = field(default_factory=Processes.alone)
    _written: float = field(default_factory=time.monotonic)

    def state(self) -> dict[str, Tensor] | None:
        """What a killed call kept, or None."""
        if self.path is None:
            return None
        from ..sealed import load_tensors

        kept = load_tensors(self.path) if self.path.exists() else None
        self.processes.agree({"kept": kept is not None})  # all have read before the first writes again
        return kept

    def keep(self, tensors: dict[str, Tensor]) -> None:
        """Write the state, unless it was written a moment ago."""
        if self.path is None or not self.processes.first or time.monotonic() - self._written < WRITE_EVERY:
            return
        from ..sealed import save_tensors

        # a file holds no tensor twice
        save_tensors(self.path, "coupling", {name: value.clone() for name, value in tensors.items()})
        self._written = time.monotonic()

    @contextlib.contextmanager
    def bar(self, total: int, unit: str) -> Iterator[Any]:
        """A tqdm bar, or nothing with the same methods."""
        if not (self.progress and self.processes.first):
            yield _Silent()
            return
        with extra("train"):
            from tqdm.auto import tqdm
        with tqdm(total=total, unit=f" {unit}") as shown:
            yield shown


class _Silent:
    def update(self, n: int = 1) -> None:
        """Show nothing."""

    def set_postfix_str(self, text: str) -> None:
        """Show nothing."""
