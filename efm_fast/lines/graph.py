"""A forward map of fixed shape as one CUDA graph: every step of every sample in a single replay."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..errors import InputError
from ..types import Field
from .forward import forward_map

_WARM_UP = 3


class GraphedForwardMap:
    """:func:`forward_map` of ``n`` samples, captured once and then replayed without launch overhead.

    With a small network and few evaluations, launching kernels takes most of the time; a replay launches all of them at
    once. The graph reads the field's weights in place, so it follows their updates.

    Args:
        field: a learned field on a CUDA device.
        n: number of samples.
        features: D.
        device: device of the field.
        **settings: settings of :func:`forward_map`, without paths.

    Raises:
        InputError: the device is not a CUDA device, or paths are requested.
    """

    def __init__(
        self, field: Field, n: int, features: int, device: torch.device | str, **settings: Any
    ) -> None:
        place = torch.device(device)
        if place.type != "cuda":
            raise InputError(f"device: expected a CUDA device, got {str(place)!r}")
        if settings.get("return_paths"):
            raise InputError("return_paths: a graph keeps no paths")
        self._x0 = torch.zeros(checks.count("n", n), checks.count("features", features), device=place)
        with torch.cuda.device(place):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(_WARM_UP):  # compiles kernels and fills caches, which a capture must not do
                    forward_map(field, self._x0, **settings)
            torch.cuda.current_stream().wait_stream(aside)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._end = forward_map(field, self._x0, **settings).end

    def __call__(self, x0: Tensor) -> Tensor:
        """Ends of the lines from ``x0`` [n, D], data units; NaN for lines that failed.

        Raises:
            InputError: x0 has another shape than the graph.
        """
        checks.tensor("x0", x0, ndim=2, rows=self._x0.shape[0], columns=self._x0.shape[1])
        self._x0.copy_(x0)
        self._graph.replay()
        return self._end.clone()
