"""The bench of a training step times the loop's own parts, and the update that the forward map takes."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from bench.training import step as training_step
from efm_fast.lines import forward_map

CPU = torch.device("cpu")
MLP = training_step.Subject("mlp", "gaussian_to_swissroll", False, 16, 3, 16, 2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_step, "CHARGES", (8, 64))
    monkeypatch.setattr(training_step, "SUBJECTS", (MLP,))
    monkeypatch.setattr(training_step, "_IMAGES", 64)
    monkeypatch.setattr(training_step, "_SHAPE", (3, 8, 8))
    size = {
        "plus": {"name": "gaussian", "shape": [3, 8, 8]},
        "net.width": 8,
        "net.depth": 1,
        "net.levels": [1],
    }
    monkeypatch.setattr(training_step, "_UPDATE", training_step._UPDATE | size)


def test_every_part_of_every_step_is_timed_after_one_that_warms_up(small: None) -> None:
    clock = training_step.timed_steps(training_step.Problem.of(MLP, CPU, False), 8, 3, CPU)
    assert set(clock.seconds) == set(training_step.PARTS)
    assert all(len(times) == 4 and min(times) > 0 for times in clock.seconds.values())


def test_a_part_that_takes_longer_shows_it(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = training_step.TrainingState.update

    def slow(state: training_step.TrainingState) -> torch.Tensor:
        time.sleep(0.05)
        return plain(state)

    monkeypatch.setattr(training_step.TrainingState, "update", slow)
    for row in training_step.step_rows(training_step.Problem.of(MLP, CPU, True), CPU, True):
        assert row["optimiser"] > 50
        assert row["step"] == pytest.approx(sum(row[part] for part in training_step.PARTS))
        assert row["share of target"] == pytest.approx(row["target"] / row["step"])
        assert row["batch"] == 16


@pytest.mark.parametrize("parametrisation", ["plate_means", "direct"])
def test_the_update_is_the_forward_maps_step(parametrisation: str) -> None:
    config = training_step.Config.load("gaussian_to_swissroll", {"method.parametrisation": parametrisation})
    plus, minus = training_step.sources(config, False)
    learned = training_step.untrained(config, training_step.method_of(config, plus, minus)).eval()
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    got = training_step.update(learned, x, 1.5, 0.25)()
    assert not torch.equal(got, x)
    # the map then jumps to the plate, where its field knows the place
    paths = forward_map(learned, x, steps=1, start=1.5, stop=1.75, spacing="uniform", return_paths=True).paths
    assert paths is not None
    torch.testing.assert_close(got, paths[1, :, :-1])


def test_a_replayed_network_gives_the_same_step() -> None:
    config = training_step.Config.load("gaussian_to_swissroll")
    plus, minus = training_step.sources(config, False)
    learned = training_step.untrained(config, training_step.method_of(config, plus, minus)).eval()
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(1))
    wanted = training_step.update(learned, x, 1.5, 0.25)()
    with torch.no_grad():
        learned.backbone = training_step.Replayed(learned(x, torch.full_like(x[:, 0], 1.5)))
    assert torch.equal(training_step.update(learned, x, 1.5, 0.25)(), wanted)


def test_the_command_writes_every_table(
    small: None, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training_step.main(["--device", "cpu", "--quick"]) == 0
    result = json.loads((results / "training_step-cpu_quick.json").read_text())
    names = ["mlp", "mlp-target", "update"]
    assert list(result["tables"]) == names
    assert [row["charges"] for row in result["measured"][names[0]]] == [8, 64]
    assert [row["parametrisation"] for row in result["measured"]["update"]] == ["plate_means", "direct"]
    for row in result["measured"]["update"]:
        share = row["all but the network, ms"] / row["network, ms"]
        assert row["share of all"] == pytest.approx(share)
        assert row["under 2 %"] == (share < 0.02)
        assert row["update, ms"] < row["all but the network, ms"]
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.split("\n") if not line.startswith("wrote")) <= 100


def test_a_wrong_device_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert training_step.main(["--device", "tpu"]) == 2
    assert "device" in capsys.readouterr().err
