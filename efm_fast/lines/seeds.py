"""Random numbers of a sample that do not depend on its batch.

A number is a hash of (seed, sample index, draw), so it is the same in every batch, in every order and on every device.
The hash is the splitmix64 finaliser (Steele, Lea and Flood, 2014), whose integer arithmetic is the same everywhere.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer: 2^64 over the golden ratio
_MIX_A = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_B = -7723592293110705685  # 0x94D049BB133111EB


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Logical shift; torch shifts int64 arithmetically."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift_right(bits, 30)) * _MIX_A
    bits = (bits ^ _shift_right(bits, 27)) * _MIX_B
    return bits ^ _shift_right(bits, 31)


def uniform(seed: int, index: Tensor, draw: Tensor | int) -> Tensor:
    """Uniform numbers in (0, 1), float64, of the broadcast shape of ``index`` and ``draw`` (int64).

    Args:
        seed: any integer; taken modulo 2^64.
        index: number of the sample.
        draw: number of the draw of that sample.
    """
    key = torch.as_tensor((seed + 2**63) % 2**64 - 2**63, dtype=torch.int64, device=index.device)
    stream = _mix(_mix(key * 1 + _GOLDEN) + index * _GOLDEN)
    bits = _mix(stream + (torch.as_tensor(draw, device=index.device) + 1) * _GOLDEN)
    return (_shift_right(bits, 11).double() + 0.5) * 2.0**-53


def sphere(seed: int, index: Tensor, first_draw: int, d: int) -> Tensor:
    """Uniform points on the unit sphere of R^d, float64 [N, d]; uses 2 d draws from ``first_draw`` on."""
    draws = first_draw + torch.arange(d, device=index.device)
    radius = (-2.0 * uniform(seed, index[:, None], draws).log()).sqrt()
    normal = radius * (2.0 * math.pi * uniform(seed, index[:, None], draws + d)).cos()
    return normal / normal.norm(dim=1, keepdim=True)
