"""What is read from a run folder is proven first; what is damaged is refused in one line and left alone."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from efm_fast import load, sample
from efm_fast.errors import InputError, RunError
from efm_fast.training import resume, train

SETTINGS = {
    "train.steps": 12,
    "train.batch": 8,
    "train.checkpoint_every": 5,
    "train.log_every": 2,
    "train.picture_every": 10_000,
    "method.points.charges": 8,
    "net.width": 8,
    "net.depth": 1,
}
LAYOUT_BEFORE = {"format": "efm_fast.state"}, {"format": "efm_fast.weights"}  # metadata without a checksum


def settings(folder: Path, name: str, **more: object) -> dict[str, object]:
    return {**SETTINGS, "runs": str(folder), "name": name, **more}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        "gaussian_to_mixture", settings(tmp_path_factory.mktemp("runs"), "it"), progress=False
    ).folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, free to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "it"))


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(folder: Path, *words: str) -> None:
    """Neither load nor resume opens ``folder``; both say why in one line and change nothing."""
    before = everything(folder)
    for opened in (lambda: load(folder), lambda: resume(folder, progress=False)):
        with pytest.raises(RunError) as caught:
            opened()
        assert "\n" not in str(caught.value)
        assert all(word in str(caught.value) for word in words), str(caught.value)
    assert everything(folder) == before


def as_before(folder: Path, stop: int | None = None, **changed: Tensor) -> None:
    """Rewrite a run as version 0.1 left it: unsealed, its weights beside its state (of step 0 if ``stop``)."""
    # the loaded tensors are the file itself, which is about to be overwritten
    state = {k: v.clone() for k, v in load_file(folder / "state.safetensors").items()} | changed
    state.pop("geometry", None)
    save_file(state, folder / "state.safetensors", LAYOUT_BEFORE[0])
    weights = {k.removeprefix("average.module."): v for k, v in state.items() if k.startswith("average.m")}
    weights["step"] = state["step"] if stop is None else torch.tensor(stop)
    save_file(weights, folder / "weights.safetensors", LAYOUT_BEFORE[1])


def test_every_flipped_bit_of_a_checkpoint_is_refused(folder: Path) -> None:
    path = folder / "state.safetensors"
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, header, 17), *range(20, 110, 7), *range(header, len(whole), len(whole) // 60)]
    for k, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << k % 8
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"state\.safetensors"):
            load(folder)
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    assert_refused(folder, "state.safetensors", "checksum")


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, number: float) -> None:
    state = load_file(folder / "state.safetensors")
    name = next(name for name in state if name.startswith("average.module.") and state[name].ndim == 2)
    value = state[name].clone()
    value[0, 0] = number
    as_before(folder, **{name: value})
    assert_refused(folder, name, "NaN or infinity")


def test_a_state_of_several_steps_is_refused(folder: Path) -> None:
    as_before(folder, step=torch.tensor(5))
    assert_refused(folder, "mixes the steps 5, 12")


def test_no_checkpoint_is_refused(folder: Path) -> None:
    (folder / "state.safetensors").unlink()
    assert_refused(folder, "no checkpoint at", "state.safetensors")


def test_a_run_of_the_version_before_loads_and_resumes(finished: Path, folder: Path, tmp_path: Path) -> None:
    stopped = train(
        "gaussian_to_mixture", settings(tmp_path, "stopped", **{"train.steps": 5}), progress=False
    ).folder
    as_before(stopped)
    (stopped / "config.yaml").write_text((finished / "config.yaml").read_text())  # learning rate of 12 steps
    as_before(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(folder).step == 12
        assert load(stopped).step == 5
    assert resume(stopped, progress=False).step == 12
    with pytest.warns(UserWarning, match=r"weights\.safetensors is of step 5.*step 12"):
        assert load(stopped).step == 12


def test_weights_of_another_step_than_the_state_are_not_used(finished: Path, folder: Path) -> None:
    """A kill of version 0.1 between its two files left the weights of an earlier checkpoint, here of step 0."""
    as_before(folder, stop=0)
    old = load_file(folder / "weights.safetensors")
    save_file({k: v * 0 for k, v in old.items()}, folder / "weights.safetensors", LAYOUT_BEFORE[1])
    with pytest.warns(UserWarning, match=r"weights\.safetensors is of step 0.*of step 12"):
        run = load(folder)
    assert run.step == 12
    x0 = torch.zeros(4, 2)
    assert torch.equal(sample(run, x0, seed=1).end, sample(load(finished), x0, seed=1).end)


def test_exported_weights_are_the_average_and_open_without_a_state(finished: Path, tmp_path: Path) -> None:
    run = load(finished)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = run.export(elsewhere / "weights.safetensors")
    assert path.stat().st_size < 0.5 * (finished / "state.safetensors").stat().st_size
    for name, value in run.field.state_dict().items():
        assert torch.equal(load_file(path)[name], value)
    for name in ("config.yaml", "geometry.json"):
        shutil.copy(finished / name, elsewhere)
    with pytest.warns(UserWarning, match=r"no state\.safetensors.*step 12, and cannot be resumed"):
        again = load(elsewhere)
    assert again.step == 12
    assert torch.equal(sample(again, n=4).end, sample(run, n=4).end)
    with pytest.raises(RunError, match="no checkpoint"):
        resume(elsewhere, progress=False)
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(RunError, match=r"weights\.safetensors is damaged"):
        load(elsewhere)
    with pytest.raises(InputError, match=r"path: expected a name ending in \.safetensors"):
        run.export(tmp_path / "weights.pt")
    with pytest.raises(RunError, match="cannot write"):
        run.export(tmp_path / "nowhere" / "weights.safetensors")


DEEP = 100_000
DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "empty": lambda text: b"",
    "deep": lambda text: b"[" * DEEP + b"]" * DEEP,
    "not UTF-8": lambda text: b"\xff\xfe" + text,
    "a list": lambda text: b"[1, 2]",
    "a number": lambda text: b"3",
}
GEOMETRY = {
    "NaN": {"L": float("nan")},
    "text": {"s": "3"},
    "truth": {"scale": True},
    "negative": {"L": -1.0},
    "nothing": {"low": None},
    "more centre": {"centre": [0.0, 0.0, 0.0]},
    "no shape": {"shape": 2},
    "a size of 0": {"shape": [2, 0]},
    "another length": {"L": 3.0},
    "another key": {"height": 3.0},
}


@pytest.mark.parametrize("name", ["geometry.json", "config.yaml"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_description_is_refused(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert_refused(folder, str(folder))


@pytest.mark.parametrize("change", GEOMETRY)
def test_another_geometry_is_refused(folder: Path, change: str) -> None:
    path = folder / "geometry.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | GEOMETRY[change]))
    assert_refused(folder, str(folder))


def test_leftovers_of_killed_writes_go_when_the_run_goes_on(folder: Path) -> None:
    leftovers = [folder / ".state.safetensors.0123abcd.part", folder / "samples" / ".grid.png.89abcdef.part"]
    others = [folder / ".gitignore", folder / ".notes.part", folder / "samples" / "x.part"]
    for path in (*leftovers, *others):
        path.write_bytes(b"half")
    load(folder)
    assert all(path.exists() for path in leftovers)
    resume(folder, progress=False)
    assert not any(path.exists() for path in leftovers)
    assert all(path.exists() for path in others)


def test_damaged_rows_of_metrics_are_left_out_and_said(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    rows = path.read_bytes().splitlines(keepends=True)
    bad = [b"3\n", b'{"loss": 1}\n', b"[" * DEEP + b"\n", b"\x00\xff\n"]
    path.write_bytes(b"".join([*rows[:2], *bad, *rows[2:], b'{"step": 13, "lo']))
    with pytest.warns(UserWarning, match=r"metrics\.jsonl: lines 3, 4, 5, 6 are no rows"):
        resume(folder, progress=False)
    assert path.read_bytes() == b"".join(rows)
