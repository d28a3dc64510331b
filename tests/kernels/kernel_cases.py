"""What the kernel checks share: where they run, the float64 truth, and poisoned memory.

The checks (``check_*.py``) run twice: in Triton's interpreter by ``test_interpreter.py``, which starts a process
with TRITON_INTERPRET set, and as they are on a CUDA device by ``test_gpu.py``.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from efm_fast.field.backends import reference
from efm_fast.field.kernel import Gaussian, Riesz
from efm_fast.field.logsum import LogSum
from efm_fast.field.request import SumRequest

# a checkout that is not installed has the kernels under their folder's name
kernels = importlib.import_module(
    "efm_fast.kernels" if importlib.util.find_spec("efm_fast.kernels") else "kernels"
)
INTERPRET = kernels.INTERPRET
DEVICE = "cpu" if INTERPRET else "cuda"


def on(*tensors: Tensor | None) -> list[Tensor | None]:
    """The tensors on the device under test."""
    return [None if t is None else t.to(DEVICE) for t in tensors]


def draw(n: int, m: int, d: int, *, seed: int = 0, uint8: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Points [n, d], charges [m, d] and heights [n] on the device under test."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    y = torch.randn(m, d, generator=generator)
    if uint8:
        y = torch.randint(0, 256, (m, d), generator=generator, dtype=torch.uint8)
        x = 127.5 + 74.0 * x
    height = torch.rand(n, generator=generator) * d**0.5
    return x.to(DEVICE), y.to(DEVICE), height.to(DEVICE)


def kernel_sum(x: Tensor, y: Tensor, **arguments: Any) -> LogSum:
    """The kernels' sum, on the CPU."""
    return LogSum(*(part.cpu() for part in kernels.log_sum(asked(x, y, **arguments))))


def asked(
    x: Tensor, y: Tensor, *, power: float | None = None, bandwidth: float | None = None, **arguments: Any
) -> Any:
    """The sum as the kernels are asked for it: Riesz of that power, or Gaussian of that bandwidth."""
    name, parameter = ("gaussian", bandwidth) if power is None else ("riesz", power)
    return kernels.Request(x, y, name, (parameter,), **arguments)


def true_sum(x: Tensor, y: Tensor, **arguments: Any) -> LogSum:
    """The same sum in float64."""
    arguments = {name: value for name, value in arguments.items() if name != "precision"}
    return reference.log_sum(request_of(x, y, **arguments))


def request_of(
    x: Tensor, y: Tensor, *, power: float | None = None, bandwidth: float | None = None, **arguments: Any
) -> SumRequest:
    """The same sum as the package asks for it, on the CPU."""
    kernel = Gaussian(bandwidth) if power is None else Riesz(power)  # type: ignore[arg-type]
    moved = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    return SumRequest(x.cpu(), y.cpu(), kernel, **moved)


def errors(got: LogSum, want: LogSum) -> tuple[float, float, float]:
    """Largest error of m, of w and of v (2-norm) relative to the row's own size, log scales aligned.

    A row's size is that of ``want``; rows whose size is 0 in ``want`` must be 0 in ``got``.
    """
    assert torch.equal(torch.isinf(got.m), torch.isinf(want.m))
    assert torch.isfinite(got.w).all()
    assert torch.isfinite(got.v).all()
    finite = torch.isfinite(want.m)
    scale = torch.exp(torch.where(finite, got.m - want.m, 0.0))
    off_m = torch.where(finite, (got.m - want.m).abs(), 0.0).max().item()
    off_w = (got.w.double() * scale - want.w).abs() / want.w.abs().clamp_min(1e-300)
    off_v = torch.linalg.vector_norm(got.v.double() * scale[:, None] - want.v, dim=1)
    size = torch.linalg.vector_norm(want.v, dim=1)
    still = size == 0
    assert (off_v[still] == 0).all()
    return off_m, off_w.max().item(), (off_v[~still] / size[~still]).max().item() if (~still).any() else 0.0


def assert_close(got: LogSum, want: LogSum, tolerance: float, *, log: float = 1e-5) -> None:
    """w and v within ``tolerance`` of the truth, relative to each row; m within ``log``."""
    off_m, off_w, off_v = errors(got, want)
    assert off_m <= log, f"m off by {off_m:.1e}, allowed {log:.0e}"
    assert off_w <= tolerance, f"w off by {off_w:.1e}, allowed {tolerance:.0e}"
    assert off_v <= tolerance, f"v off by {off_v:.1e}, allowed {tolerance:.0e}"
