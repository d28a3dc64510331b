"""Checkpoints that are written while training goes on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import efm_fast.training.checkpoints as checkpoints
from efm_fast import train
from efm_fast.errors import RunError

_WRITE = checkpoints.write_state


def settings(runs: Path, **more: object) -> dict[str, object]:
    small = {
        "train.steps": 30,
        "train.batch": 16,
        "train.checkpoint_every": 10,
        "train.picture_every": 10_000,
    }
    small |= {"method.points.charges": 32, "net.width": 8, "net.depth": 1, "train.async_checkpoint": True}
    return {"runs": str(runs), "name": "it", **small, **more}


def test_what_is_written_is_the_state_of_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = train(
        "gaussian_to_swissroll", settings(tmp_path / "a", **{"train.async_checkpoint": False}), progress=False
    )
    written: list[dict[str, Tensor]] = []
    on, begun = threading.Event(), threading.Event()

    def late(folder: Path, tensors: dict[str, Tensor]) -> None:
        begun.set()
        assert on.wait(60)  # training goes on meanwhile, as far as the next checkpoint
        written.append(tensors)
        _WRITE(folder, tensors)

    monkeypatch.setattr(checkpoints, "write_state", late)
    steps: list[int] = []

    def after_step(
        state: checkpoints.TrainingState, update: object = checkpoints.TrainingState.update
    ) -> Tensor:
        found = update(state)  # type: ignore[operator]
        steps.append(state.step)
        if state.step == 15:
            assert begun.is_set()
            assert not written
            on.set()
        return found

    monkeypatch.setattr(checkpoints.TrainingState, "update", after_step)
    later = train("gaussian_to_swissroll", settings(tmp_path / "b"), progress=False)
    assert [int(tensors["step"]) for tensors in written] == [10, 20, 30]
    ours, theirs = (load_file(run.folder / "state.safetensors") for run in (later, now))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_failed_write_is_told_at_the_next_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def full(folder: Path, tensors: dict[str, Tensor]) -> None:
        if int(tensors["step"]) == 20:
            failed.set()
            raise RunError("cannot write it: No space left on device")
        _WRITE(folder, tensors)

    monkeypatch.setattr(checkpoints, "write_state", full)
    last: list[int] = []

    def after_step(
        state: checkpoints.TrainingState, update: object = checkpoints.TrainingState.update
    ) -> Tensor:
        if state.step >= 20:
            assert failed.wait(60)
        last.append(state.step)
        return update(state)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(checkpoints.TrainingState, "update", after_step)
    with pytest.raises(RunError, match="No space left on device"):
        train("gaussian_to_swissroll", settings(tmp_path, **{"train.steps": 1000}), progress=False)
    assert last[-1] in (20, 21)  # one more step at most, if the thread had not yet come to its end
    assert int(load_file(tmp_path / "it" / "state.safetensors")["step"]) == 10


def test_the_last_checkpoint_s_failure_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, tensors: dict[str, Tensor]) -> None:
        if int(tensors["step"]) == 30:
            raise RunError("cannot write it: No space left on device")

    monkeypatch.setattr(checkpoints, "write_state", full)
    with pytest.raises(RunError, match="No space left on device"):
        train("gaussian_to_swissroll", settings(tmp_path), progress=False)


def test_an_interrupted_training_waits_for_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(state: checkpoints.TrainingState, update: object = checkpoints.TrainingState.update) -> Tensor:
        if state.step == 10:
            raise KeyboardInterrupt
        return update(state)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(checkpoints.TrainingState, "update", stop)
    with pytest.raises(KeyboardInterrupt):
        train("gaussian_to_swissroll", settings(tmp_path), progress=False)
    assert int(load_file(tmp_path / "it" / "state.safetensors")["step"]) == 10
    assert not list((tmp_path / "it").glob(".*"))
