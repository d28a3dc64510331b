"""Learning a field: the loop, its state, and what it reports."""

from ..runs import Run, load
from .loop import resume, train

__all__ = ["Run", "load", "resume", "train"]
