"""A run: its folder, its settings, its checkpoint, its data, and the learned field."""

from .run import Run, load

__all__ = ["Run", "load"]
