"""Every stream of random numbers of a run, in one place: each is a function of (seed, step) alone.

Two uses of one stream would see the same numbers, so each use has a name here. The numbers stay as they are: a run
that is resumed with another version draws what it would have drawn.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from torch import Generator


class Stream(IntEnum):
    """What the random numbers are for."""

    PLUS = 0  # charges of a training step
    MINUS = 1
    POINTS = 2  # inter-plate points of a training step
    WEIGHTS = 3  # of the untrained network
    STARTS = 200  # of samples
    SUPPORT = 201  # discs that hold the charges: step 0 for the plus plate, 1 for the minus plate
    EVALUATION = 300
    PICTURES = 400
    BANK_PLUS = 500  # charges and launches of a bank of lines
    BANK_MINUS = 501
    BANK_LAUNCH = 502
    COUPLING = 600  # pairs of whole sets
    DIAGNOSIS = 900
    MEASURE_PLUS = 1000  # the lengths of the data, before training
    MEASURE_MINUS = 1001


def step_generator(seed: int, step: int, stream: int = Stream.PLUS) -> Generator:
    """A CPU generator that depends on its three arguments and on nothing else.

    Args:
        seed: of the run, at least 0.
        step: number of the batch, at least 0.
        stream: what the numbers are for, a :class:`Stream` or a number of one's own, at least 0.

    Returns:
        A fresh generator; different arguments give independent streams (NumPy's SeedSequence).
    """
    sequence = np.random.SeedSequence(entropy=seed, spawn_key=(int(stream), step))
    return Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0]))
