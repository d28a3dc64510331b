"""Learning the field: the loop, the run folder and what a run reports."""

from .loop import resume, train
from .run import Run, load

__all__ = ["Run", "load", "resume", "train"]
