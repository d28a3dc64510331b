"""How many lines step together and when the host looks at them; and steps of a CUDA device replayed as graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Pace:
    """How lines step together.

    Attributes:
        window: the most lines that step together; waiting lines take the places of lines that end.
        steps: steps between two looks of the host at the lines.
        tile: lines step together in groups of this many times a power of two, so that there are few shapes; 0 means
            exactly as many as are under way, which the host must see before every step.
    """

    window: int
    steps: int = 1
    tile: int = 0

    def width(self, running: int) -> int:
        """How many rows step together when ``running`` lines are under way."""
        width = self.tile or min(running, self.window)
        while width < min(running, self.window):
            width *= 2
        return width


#: On the CPU sums are fastest with some hundred points. On a CUDA device twice the points of one pass over the charges
#: would not be faster at D = 3072, and a block of matrix products has 128.
CPU, CUDA = Pace(512), Pace(2048, steps=8, tile=128)


class Replayed:
    """A step that is captured as one CUDA graph per width and replayed from then on.

    Args:
        step: takes the step of that many rows; every operation has a fixed shape, changes the same memory every time,
            and asks nothing of the host.
        device: a CUDA device.
    """

    def __init__(self, step: Callable[[int], None], device: torch.device) -> None:
        self._step, self._device = step, device
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, width: int) -> None:
        """Take one step of ``width`` rows."""
        graph = self._graphs.get(width)
        if graph is not None:
            graph.replay()
            return
        with torch.cuda.device(self._device):
            self._step(width)  # compiles kernels and fills caches, which a capture must not do
            graph = torch.cuda.CUDAGraph()
            # graphs never run at the same time and keep nothing in their memory, so all share one pool
            pool = next(iter(self._graphs.values())).pool() if self._graphs else None
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self._step(width)
        self._graphs[width] = graph
