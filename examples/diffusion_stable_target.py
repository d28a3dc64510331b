"""The stable target of diffusion training (Xu, Tong and Jaakkola, 2023): a score from a batch, not from one datum.

Denoising score matching regresses on (y - x) / sigma^2 of the one datum that made x. Its mean over a reference
batch that contains this datum has far less variance. Run: ``python examples/diffusion_stable_target.py``.
"""

import torch

import efm_fast


def stable_target(x: torch.Tensor, sigma: float, reference: torch.Tensor) -> torch.Tensor:
    """Score of the reference batch under noise sigma at x, (E[y | x] - x) / sigma^2, [N, D]."""
    mean = efm_fast.gaussian_sum(x, reference, bandwidth=sigma).posterior_mean(x)
    return (mean - x) / sigma**2


if __name__ == "__main__":
    data = torch.randn(8192, 64)  # of a standard normal, so that the true score is -x / (1 + sigma^2)
    sigma = 5.0
    x = data[:256] + sigma * torch.randn(256, 64)
    true = -x / (1 + sigma**2)
    for name, target in (
        ("one datum", (data[:256] - x) / sigma**2),
        ("stable", stable_target(x, sigma, data)),
    ):
        print(f"{name:10} mean squared error {(target - true).square().mean().item():.2e}")
