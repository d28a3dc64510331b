"""What one would use on a GPU instead of the Triton kernels: the other forms that the suite times."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def torch_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object]:
    """The best exact form in plain torch: GEMM in chunks, nearest charges rescored."""
    from efm_fast.field import riesz_sum

    return lambda: riesz_sum(x, y, power=power, height=height, backend="torch")


def broadcast_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """The published formula, all differences at once; None where they would not fit in half the memory."""
    if 12 * len(x) * y.numel() > torch.cuda.get_device_properties(0).total_memory / 2:
        return None
    y = y.float()

    def call() -> Tensor:
        difference = x[:, None, :] - y[None]
        r2 = difference.square().sum(-1) + height[:, None] ** 2
        weight = torch.softmax(-0.5 * power * torch.log(r2), 1)
        return (weight[..., None] * difference).sum(1)

    return call


def keops_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """KeOps' log-sum reduction with the charges as signal; None where KeOps is not installed."""
    try:
        from pykeops.torch import LazyTensor
    except ImportError:
        return None
    y = y.float()
    points, charges = LazyTensor(x[:, None, :]), LazyTensor(y[None])
    extra = LazyTensor((height**2)[:, None, None].contiguous())
    logit = -0.5 * power * (((points - charges) ** 2).sum(-1) + extra).log()
    return lambda: logit.sumsoftmaxweight(charges, dim=1)


def flex_form(x: Tensor, y: Tensor, height: Tensor, power: float) -> Callable[[], object] | None:
    """FlexAttention with the log kernel as score modifier; for widths that it serves, powers of two up to 256."""
    d = x.shape[1]
    if d not in (64, 128, 256):
        return None
    from torch.nn.attention.flex_attention import flex_attention

    y = y.float()
    x2, y2 = x.square().sum(1) + height**2, y.square().sum(1)

    def modified(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return -0.5 * power * torch.log(x2[i] + y2[j] - 2.0 * score)

    attend = torch.compile(flex_attention)
    return lambda: attend(x[None, None], y[None, None], y[None, None], score_mod=modified, scale=1.0)


FORMS = {"torch": torch_form, "broadcast": broadcast_form, "keops": keops_form, "flex": flex_form}
