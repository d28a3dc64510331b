"""The exact posterior mean of PFGM++ (Xu et al., 2023): what its denoiser tends to with perfect training.

PFGM++ adds d dimensions to the data and keeps their radius r only; d = 1 is PFGM, d to infinity with
r = sigma sqrt(d) is diffusion. Run: ``python examples/pfgmpp_posterior_mean.py``.
"""

import torch

import efm_fast


def denoise(x: torch.Tensor, sigma: torch.Tensor, charges: torch.Tensor, d: int = 2048) -> torch.Tensor:
    """E[y | x, sigma] over the data, [N, D], for points x [N, D] at noise levels sigma [N]."""
    r = sigma.double() * d**0.5
    return efm_fast.riesz_sum(x, charges, power=x.shape[1] + d, height=r).posterior_mean(x)


def sample(start: torch.Tensor, sigmas: torch.Tensor, charges: torch.Tensor, d: int = 2048) -> torch.Tensor:
    """Follow dx/dsigma = (x - E[y | x]) / sigma from sigmas[0] down to sigmas[-1] by Euler steps."""
    x = start
    for now, step in zip(sigmas[:-1], sigmas.diff(), strict=True):
        slope = (x - denoise(x, now.expand(len(x)), charges, d)) / now
        x = x + step * slope
    return x


if __name__ == "__main__":
    data = torch.rand(5000, 192)
    sigmas = torch.logspace(1, -2, 40)
    end = sample(10 * torch.randn(16, 192), sigmas, data)
    print("distance to the nearest datum", torch.cdist(end, data).amin(1).mean().item())
