"""Runs: the run folder with settings and checkpoint, the data, and the learned field."""

from .own_loop import method_for
from .run import Run, load

__all__ = ["Run", "load", "method_for"]
