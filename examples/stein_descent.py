"""Stein variational gradient descent (Liu and Wang, 2016): particles move to a density known up to a constant.

Its step is phi(x) = mean_j k(x, x_j) s(x_j) - grad k: two kernel sums over the particles themselves. The
components of the score s ride along as charge weights. Run: ``python examples/stein_descent.py``.
"""

import torch

import efm_fast


def direction(x: torch.Tensor, score: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """phi at the particles x [N, D] of scores [N, D], for the kernel exp(-r2 / (2 bandwidth^2)); [N, D]."""
    drift = torch.empty_like(x)
    for k in range(x.shape[1]):
        pull = efm_fast.gaussian_sum(x, x, bandwidth=bandwidth, weight=score[:, k])
        drift[:, k] = torch.exp(pull.m).to(x) * pull.w
    push = efm_fast.gaussian_sum(x, x, bandwidth=bandwidth)
    repulsion = torch.exp(push.m).to(x)[:, None] * push.v / bandwidth**2
    return (drift + repulsion) / len(x)


if __name__ == "__main__":
    torch.manual_seed(0)
    centre, width = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.5])
    x = torch.randn(1000, 2)
    for _ in range(500):
        x = x + 0.3 * direction(x, (centre - x) / width**2, bandwidth=0.5)
    print("mean", x.mean(0).tolist(), "wanted", centre.tolist())
    print("standard deviation", x.std(0).tolist(), "wanted", width.tolist())
