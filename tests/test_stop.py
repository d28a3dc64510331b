"""A signal that asks to stop is an interrupt with the status that shells expect."""

from __future__ import annotations

import os
import signal

import pytest

from efm_fast.stop import exit_status, interrupted_by_signals


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_the_status_tells_the_signal(sent: signal.Signals, status: int) -> None:
    before = signal.getsignal(sent)
    with pytest.raises(KeyboardInterrupt) as caught, interrupted_by_signals():
        signal.raise_signal(sent)
    assert exit_status(caught.value) == status
    assert signal.getsignal(sent) == before


def test_a_programs_own_handlers_are_left_alone() -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with interrupted_by_signals():
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
