"""The training target of Poisson flow generative models (Xu et al., 2022), over a large batch of charges.

Data lie on the plane z = 0 of R^(D+1); the network learns the direction of their Coulomb field at points (x, z)
around them. Run: ``python examples/pfgm_target.py``.
"""

import torch

import efm_fast


def perturb(
    y: torch.Tensor, sigma: float = 0.01, tau: float = 0.03, steps: int = 291
) -> tuple[torch.Tensor, ...]:
    """Points (x [N, D], z [N]) at log-uniform distances from the data y [N, D] (eq. 5 there)."""
    growth = (1 + tau) ** (torch.rand(len(y), 1) * steps)
    direction = torch.nn.functional.normalize(torch.randn_like(y), dim=1)
    radius = (sigma * torch.randn_like(y)).norm(dim=1, keepdim=True)
    z = (sigma * torch.randn(len(y), 1)).abs() * growth
    return y + radius * growth * direction, z[:, 0]


def target(x: torch.Tensor, z: torch.Tensor, charges: torch.Tensor) -> torch.Tensor:
    """-sqrt(D) E / |E| at points (x, z), [N, D + 1], z last."""
    total = efm_fast.riesz_sum(x, charges, power=x.shape[1] + 1, height=z)
    field = torch.cat([total.v, (total.w * z)[:, None]], 1)
    return -(x.shape[1] ** 0.5) * torch.nn.functional.normalize(field, dim=1)


if __name__ == "__main__":
    data = torch.rand(20_000, 3072)  # 20 000 charges for one target: an image data set, not a minibatch
    x, z = perturb(data[:64])
    print("target", tuple(target(x, z, data).shape))
