"""Being asked to stop: SIGTERM and SIGHUP end a program as Ctrl-C does."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt in the block.

    By default they end Python at once: loader workers would be left behind, and files open. A program's own handlers
    are left alone, and so is everything where Python does not allow handlers, outside the main thread.
    """
    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    ours = [number for number in signals if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def is_first() -> bool:
    """Whether this process speaks for the job that it may be one of many of."""
    return os.environ.get("RANK", "0") == "0"


def exit_status(problem: KeyboardInterrupt) -> int:
    """128 and the number of the signal that raised ``problem``, as shells count."""
    name = problem.args[0] if problem.args else "SIGINT"
    return 128 + signal.Signals[name].value
