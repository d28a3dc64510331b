"""The table of regimes. The launcher of the first row that serves a sum computes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import plan
from .launch_chunked import launch_chunked
from .launch_exact import launch_exact
from .launch_fused import launch_fused
from .launch_small import launch_small
from .platform import shape_index
from .request import Request, Sums


@dataclass(frozen=True)
class Regime:
    """One row of the table.

    Attributes:
        name: name for users.
        serves: whether this regime is the best for a request that no row before it serves.
        launch: computes m float64 [N], w [N] and v [N, D] float32 of a request with points and charges.
    """

    name: str
    serves: Callable[[Request], bool]
    launch: Callable[[Request], Sums]


REGIMES = [
    Regime("exact", lambda request: request.precision == "exact", launch_exact),
    Regime("small", lambda request: request.d <= plan.SMALL_D, launch_small),
    Regime(
        "fused", lambda request: request.d <= max(plan.fused_shapes(shape_index(request.x))), launch_fused
    ),
    Regime("chunked", lambda request: True, launch_chunked),
]
