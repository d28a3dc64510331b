"""What this machine offers: versions, devices, and which backend serves what, with the reason where not."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

from . import __version__
from .field import backends
from .field.kernel import Riesz
from .field.request import SumRequest
from .lines.engine import choice
from .types import Plates

_LIBRARIES = ("numpy", "triton", "diffusers", "torchvision", "tensorboard", "pykeops", "torchcfm")


def describe() -> dict[str, Any]:
    """Versions, devices and backends as plain data.

    Returns:
        "versions": name to version or None; "devices": names of what torch sees; "backend": what "auto" stands
        for, EFM_FAST_BACKEND or "auto"; "backends": one row per backend and device with "serves" and, where it does
        not, "reason".
    """
    versions: dict[str, str | None] = {
        "efm_fast": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    versions |= {name: _version(name) for name in _LIBRARIES}
    cuda = [
        f"cuda:{k} {torch.cuda.get_device_name(k)}, compute capability {torch.cuda.get_device_capability(k)}"
        for k in range(torch.cuda.device_count())
    ]
    devices = [f"cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}", *cuda]
    return {
        "versions": versions,
        "devices": devices,
        "backend": backends.requested_name("auto"),
        "backends": _backend_rows() + _line_rows(),
    }


def _backend_rows() -> list[dict[str, Any]]:
    rows = []
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for dimension in (2, 64, 3072):
            example = torch.zeros(1, dimension, device=device)
            request = SumRequest(example, example, Riesz(dimension + 1.0))
            for backend in backends.TABLE:
                reason = backend.why_not(request)
                rows.append(
                    {
                        "operation": f"field sum, D = {dimension}",
                        "device": device,
                        "backend": backend.name,
                        "purpose": backend.purpose,
                        "serves": reason is None,
                        "reason": reason,
                    }
                )
    return rows


def _line_rows() -> list[dict[str, Any]]:
    """Who integrates exact lines: one row for whole lines, and one for steps around any backend's sums."""
    rows = []
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        for dimension in (2, 64, 3072):
            x = torch.zeros(1, dimension, device=device)
            reason = choice.why_not(choice.LineProblem(x, x[:, 0], Plates(x, x, 1.0)))
            who = (
                ("cpp", "whole lines in one call", reason),
                ("others", "step by step around their sums", None),
            )
            for backend, purpose, why in who:
                rows.append(
                    {
                        "operation": f"field lines, D = {dimension}",
                        "device": device,
                        "backend": backend,
                        "purpose": purpose,
                        "serves": why is None,
                        "reason": why,
                    }
                )
    return rows


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
