"""Sharded networks: they learn what whole ones learn, and their checkpoints open on any number of processes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from check_training import losses, settings
from launch import run, started
from torch import Tensor

import efm_fast
from efm_fast import resume, train
from efm_fast.errors import RunError
from efm_fast.runs.checkpoint import load_state
from efm_fast.runs.run import read_description
from efm_fast.sampling import starts


def state(folder: Path) -> dict[str, Tensor]:
    return load_state(folder, read_description(folder)[1])


def weights(folder: Path) -> Tensor:
    return torch.cat(
        [v.double().flatten() for k, v in sorted(state(folder).items()) if k.startswith("field.")]
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process's run of 12 steps, and what two processes made beside it and of copies of it."""
    folder = tmp_path_factory.mktemp("runs")
    one = train(
        "gaussian_to_swissroll", settings(folder, "one", **{"train.steps": 12}), progress=False
    ).folder
    shutil.copytree(one, folder / "whole")
    run("check_training.py", 2, "sharded", str(folder))
    resume(one, {"train.steps": 18}, progress=False)
    return folder


def test_parts_of_a_network_learn_what_the_whole_learns(runs: Path) -> None:
    short = weights(runs / "behind")
    for name in ("parts", "four"):
        assert (weights(runs / name) - short).norm() < 1e-6 * short.norm()
    one = weights(runs / "one")
    for name in (
        "whole",
        "parts_whole",
    ):  # of which 12 steps were taken whole and 6 in parts, and the other way round
        assert (weights(runs / name) - one).norm() < 1e-6 * one.norm()
        assert losses(runs / name) == pytest.approx(losses(runs / "one"), rel=1e-6)


def test_a_checkpoint_that_is_written_meanwhile_is_that_of_its_step(runs: Path) -> None:
    parts, behind = state(runs / "parts"), state(runs / "behind")
    assert parts.keys() == behind.keys()
    assert all(torch.equal(parts[name], behind[name]) for name in parts)
    assert [path.name for path in (runs / "behind").glob("state*")] == ["state-00000012"]
    assert (runs / "behind" / "samples" / "step_0000009.png").exists()


def test_whole_and_sharded_checkpoints_take_each_other_s_place(runs: Path) -> None:
    assert [path.name for path in (runs / "whole").glob("state*")] == ["state-00000018"]
    assert [path.name for path in (runs / "parts_whole").glob("state*")] == ["state.safetensors"]


def test_a_process_killed_while_it_writes_its_shard_leaves_the_checkpoint_before(
    runs: Path, tmp_path: Path
) -> None:
    more = json.dumps({"train.sharding": "fsdp", "train.steps": 12, "train.async_checkpoint": True})
    job = {"DIE": "1:1000:0:SIGKILL", "MORE": more}
    with started(
        "check_training.py", 2, "die", str(tmp_path), WRITING="state-00000012", PATIENCE="60", **job
    ) as two:
        assert [one.ended(210) for one in two] == [1, -9]
        last = two[0].said().splitlines()[-1]
        assert last.startswith("efm-fast: ")
        assert "did not answer" in last or "does not answer" in last
    folder = tmp_path / "killed"
    assert [path.name for path in folder.glob("state*")] == ["state-00000007"]
    run("check_training.py", 2, "go_on", str(tmp_path))
    assert [path.name for path in folder.glob("*state*")] == ["state-00000012"]
    assert losses(folder) == losses(runs / "parts")


def test_one_process_opens_and_resumes_a_sharded_run(runs: Path, tmp_path: Path) -> None:
    opened = efm_fast.load(runs / "parts")
    assert opened.step == 12
    assert efm_fast.sample(opened, starts(opened, 4, seed=0)).end.shape == (4, 2)
    folder = tmp_path / "parts"
    shutil.copytree(runs / "parts", folder)
    resume(folder, {"train.steps": 18}, progress=False)
    want = weights(runs / "parts_whole")
    assert (weights(folder) - want).norm() < 1e-6 * want.norm()


def test_a_generation_that_is_not_whole_is_refused(runs: Path, tmp_path: Path) -> None:
    def refused(words: str, damage: object) -> None:
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(runs / "parts", folder)
        damage(folder / "state-00000012")  # type: ignore[operator]
        for call in (efm_fast.load, lambda it: resume(it, progress=False)):
            with pytest.raises(RunError, match=words) as caught:
                call(folder)
            assert "\n" not in str(caught.value)

    def first(path: Path) -> Path:
        return min(path.glob("*.safetensors"))

    def change(path: Path) -> None:
        content = bytearray(first(path).read_bytes())
        content[-1] ^= 1
        first(path).write_bytes(content)

    def rename(path: Path) -> None:
        told = json.loads((path / "manifest.json").read_text())
        told["shards"] = {f"../{name}": seal for name, seal in told["shards"].items()}
        (path / "manifest.json").write_text(json.dumps(told))

    refused("needs the 2 shards .* of which 1 are missing, such as shard-00001", lambda p: first(p).unlink())
    refused("does not have its checksum", change)
    refused("does not describe a checkpoint", lambda p: (p / "manifest.json").unlink())
    refused("does not describe a checkpoint", rename)
    refused("its manifest.json does not name", lambda p: shutil.copy(first(p), p / "other.safetensors"))


def test_the_later_of_two_checkpoints_counts(runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(runs / "parts_whole", folder)
    shutil.copytree(runs / "parts" / "state-00000012", folder / "state-00000012")
    assert efm_fast.load(folder).step == 18
    (folder / "state.safetensors").unlink()
    assert efm_fast.load(folder).step == 12
