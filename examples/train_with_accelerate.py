"""Train a learned field with Accelerate, on one device or many.

accelerate launch examples/train_with_accelerate.py
"""

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset

import efm_fast
from efm_fast.nets import MLP


def main(steps=200, **options):
    """Train, and return the field and the losses of this process."""
    torch.manual_seed(0)
    accelerator = Accelerator(**options)
    method = efm_fast.method_for("gaussian_to_swissroll")
    plates = (method.problem.plus, method.problem.minus)
    data = TensorDataset(
        *(plate.draw(8192, torch.Generator().manual_seed(k)) for k, plate in enumerate(plates))
    )
    field = method.field(MLP(method.problem.geometry, method.parametrisation.groups, width=64))
    optimizer = torch.optim.Adam(field.parameters(), lr=1e-3)
    field, optimizer, loader = accelerator.prepare(
        field, optimizer, DataLoader(data, batch_size=256, shuffle=True)
    )
    matching = efm_fast.MatchingLoss(method, seed=accelerator.process_index)
    losses = []
    while len(losses) < steps:
        for x0, x1 in loader:
            loss = matching(field, x0, x1, len(losses))
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            losses.append(float(loss))
            if len(losses) == steps:
                break
    return accelerator.unwrap_model(field), losses


if __name__ == "__main__":
    trained, history = main()
    print(f"loss {history[0]:.3f} -> {history[-1]:.3f}")
    starts = torch.randn(64, 2)
    print(efm_fast.forward_map(trained.eval().cpu(), starts, steps=20, method="midpoint", spacing="log"))
