"""A generator without a discriminator: its samples drift to data and away from each other.

The drift is the kernel mean of the data minus the kernel mean of the samples, as in mean-shift and drifting models;
where both distributions agree it vanishes. The generator regresses onto its own drifted samples. Run:
``python examples/drifting_generator.py``.
"""

import torch

import efm_fast


def drift(x: torch.Tensor, data: torch.Tensor, bandwidth: float) -> torch.Tensor:
    """Kernel mean of the data minus that of the other samples, at the samples x [N, D]; [N, D]."""
    with torch.no_grad():
        attraction = efm_fast.gaussian_sum(x, data, bandwidth=bandwidth).posterior_mean(x)
        repulsion = efm_fast.gaussian_sum(x, x, bandwidth=bandwidth, first_self=0).posterior_mean(x)
        return attraction - repulsion


if __name__ == "__main__":
    torch.manual_seed(0)
    angle = 2 * torch.pi * torch.rand(4000)
    data = 2 * torch.stack([torch.cos(angle), torch.sin(angle)], 1) + 0.1 * torch.randn(4000, 2)
    layers = [torch.nn.Linear(2, 128), torch.nn.SiLU(), torch.nn.Linear(128, 128), torch.nn.SiLU()]
    generator = torch.nn.Sequential(*layers, torch.nn.Linear(128, 2))
    optimizer = torch.optim.Adam(generator.parameters(), 1e-3)
    for _ in range(1500):
        x = generator(torch.randn(512, 2))
        target = (x + drift(x, data, bandwidth=0.5)).detach()
        loss = (x - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    radius = generator(torch.randn(2000, 2)).detach().norm(dim=1)
    print(f"radius {radius.mean():.2f} +- {radius.std():.2f}, wanted 2.00 +- 0.10")
