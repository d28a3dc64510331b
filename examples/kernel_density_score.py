"""The score of a kernel density estimate, and Langevin samples that follow it.

With Gaussian kernels of bandwidth b the score is (m - x) / b^2, where m is the posterior mean of the data: one
sum gives the log density and its gradient. Run: ``python examples/kernel_density_score.py``.
"""

import math

import torch

import efm_fast


def log_density_and_score(
    x: torch.Tensor, data: torch.Tensor, bandwidth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log density [N] and score [N, D] of the kernel density estimate of ``data`` at x [N, D]."""
    total = efm_fast.gaussian_sum(x, data, bandwidth=bandwidth)
    volume = x.shape[1] * math.log(bandwidth * math.sqrt(2 * math.pi)) + math.log(len(data))
    return total.log_weight() - volume, (total.posterior_mean(x) - x) / bandwidth**2


if __name__ == "__main__":
    torch.manual_seed(0)
    data = torch.cat([torch.randn(5000, 2) * 0.3 - 1, torch.randn(5000, 2) * 0.3 + 1])
    x, step = 2 * torch.randn(1000, 2), 0.01
    for _ in range(400):
        _, score = log_density_and_score(x, data, bandwidth=0.2)
        x = x + step * score + math.sqrt(2 * step) * torch.randn_like(x)
    near = (x[:, None] - torch.tensor([[-1.0, -1.0], [1.0, 1.0]])).norm(dim=2).amin(1)
    print(f"{(near < 1).float().mean():.2f} of the samples within 1 of a centre of the data")
