"""The loss in loops that are not ours: Lightning's and Accelerate's, two steps each, beside a plain loop."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import efm_fast
from efm_fast.errors import InputError
from efm_fast.nets import MLP

HOME = Path(__file__).parents[2] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", HOME / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def made() -> tuple[Any, Any]:
    method = efm_fast.method_for("gaussian_to_swissroll")
    torch.manual_seed(0)
    return method, method.field(MLP(method.problem.geometry, method.parametrisation.groups, width=64))


@pytest.mark.parametrize("name", ["train_with_lightning", "train_with_accelerate"])
def test_an_example_is_short(name: str) -> None:
    assert len((HOME / f"{name}.py").read_text().splitlines()) < 60


def test_lightning_takes_two_steps(tmp_path: Path) -> None:
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    module = example("train_with_lightning").main(
        2, default_root_dir=tmp_path, enable_model_summary=False, **options
    )
    assert module.global_step == 2
    assert float(module.trainer.callback_metrics["loss"]) > 0
    _, fresh = made()
    moved = [
        float((a - b).abs().max()) for a, b in zip(module.field.parameters(), fresh.parameters(), strict=True)
    ]
    assert max(moved) > 1e-3


def test_accelerate_takes_two_steps() -> None:
    field, losses = example("train_with_accelerate").main(2, cpu=True)
    assert len(losses) == 2
    assert min(losses) > 0
    _, fresh = made()
    moved = [float((a - b).abs().max()) for a, b in zip(field.parameters(), fresh.parameters(), strict=True)]
    assert 1e-3 < min(moved) <= max(moved) < 2.1e-3  # two steps of Adam


METHODS = ("field_matching", "flow_matching", "interaction_field", "pfgm", "pfgm++")


@pytest.mark.parametrize("name", METHODS)
def test_the_loss_is_that_of_the_method(name: str) -> None:
    method = efm_fast.method_for("gaussian_to_swissroll", {"method.name": name})
    field = method.field(MLP(method.problem.geometry, method.parametrisation.groups, width=16))
    loss = efm_fast.MatchingLoss(method, seed=3)
    assert not list(loss.parameters())
    assert not loss.state_dict()
    generator = torch.Generator().manual_seed(0)
    x0, x1 = (source.draw(32, generator) for source in (method.problem.plus, method.problem.minus))
    first = loss(field, x0, x1, 5)
    first.backward()
    assert all(weight.grad is not None for weight in list(field.parameters())[:2])
    assert torch.equal(loss(field, x0, x1, 5), first)
    assert not torch.equal(loss(field, x0, x1, 6), first)
    assert not torch.equal(efm_fast.MatchingLoss(method, seed=4)(field, x0, x1, 5), first)


def test_the_loss_takes_images_as_they_are() -> None:
    method = efm_fast.method_for("digits_3_to_2", {"method.name": "flow_matching"})
    field = method.field(MLP(method.problem.geometry, method.parametrisation.groups, width=16))
    loss, x = efm_fast.MatchingLoss(method), torch.randn(8, 3, 8, 8)
    assert torch.equal(loss(field, x, x + 1, 0), loss(field, x.flatten(1), x.flatten(1) + 1, 0))
    for x0, x1, sentence in (
        (x, x[:4], "x1: expected 8 rows"),
        (x[:, :2], x, "x0: expected 192 columns"),
        ([1], x, "x0: expected a torch.Tensor"),
    ):
        with pytest.raises(InputError, match=sentence):
            loss(field, x0, x1, 0)
    with pytest.raises(InputError, match="method: expected a method"):
        efm_fast.MatchingLoss("pfgm")
