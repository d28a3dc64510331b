"""Train a learned field with Lightning: the loss of this package, the loop of that one.

python examples/train_with_lightning.py
"""

import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import efm_fast
from efm_fast.nets import MLP


class FieldModule(lightning.LightningModule):
    """The field between two data sets, for any method of efm_fast."""

    def __init__(self, method):
        super().__init__()
        self.method = method
        self.field = method.field(MLP(method.problem.geometry, method.parametrisation.groups, width=64))
        self.matching = None

    def on_fit_start(self):
        """Every process draws points of its own."""
        self.matching = efm_fast.MatchingLoss(self.method, seed=self.global_rank)

    def training_step(self, batch, batch_index):
        """The loss of one batch of pairs (x0, x1)."""
        loss = self.matching(self.field, *batch, self.global_step)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        """Adam."""
        return torch.optim.Adam(self.field.parameters(), lr=1e-3)


def main(steps=200, **trainer):
    """Train, and return the module."""
    lightning.seed_everything(0)
    method = efm_fast.method_for("gaussian_to_swissroll")
    plates = (method.problem.plus, method.problem.minus)
    data = TensorDataset(
        *(plate.draw(8192, torch.Generator().manual_seed(k)) for k, plate in enumerate(plates))
    )
    module = FieldModule(method)
    lightning.Trainer(max_steps=steps, **trainer).fit(module, DataLoader(data, batch_size=256, shuffle=True))
    return module


if __name__ == "__main__":
    field = main().field.eval()
    starts = torch.randn(64, 2)
    print(efm_fast.forward_map(field, starts, steps=20, method="midpoint", spacing="log"))
