"""A run as a folder for the hub: the same weights and samples elsewhere, and a sentence for everything else."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import efm_fast
from efm_fast import Run
from efm_fast.errors import EfmError, InputError, RunError
from efm_fast.sampling import starts

TINY = {
    "train.steps": 3,
    "train.batch": 16,
    "net.width": 16,
    "net.depth": 1,
    "train.picture_every": 3,
    "train.log_every": 1,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs")
    more = {**TINY, "runs": str(folder), "method.points.charges": 16, "name": "digits"}
    trained = efm_fast.train("digits_3_to_2", more, progress=False)
    (trained.folder / "evaluation.json").write_text(
        json.dumps(
            {"maps": [{"map": "learned, forward", "evaluations": 5.0, "read_as_wanted": 0.5, "none": None}]}
        )
    )
    return trained


@pytest.fixture(scope="module")
def published(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run.save_pretrained(tmp_path_factory.mktemp("hub") / "digits", license="mit")


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "copy"))


def change(folder: Path, **parts: Any) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **parts}))


def test_what_is_read_is_what_was_trained(run: Run, published: Path) -> None:
    again = efm_fast.from_pretrained(published)
    before, after = run.field.state_dict(), again.field.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (again.step, again.geometry) == (run.step, run.geometry)
    assert torch.equal(again.support.plus_center, run.support.plus_center)
    x0 = starts(run, 4, 0)
    assert torch.equal(efm_fast.sample(again, x0).end, efm_fast.sample(run, x0).end)
    assert torch.equal(starts(again, 4, 0), x0)  # digits are everywhere
    assert efm_fast.load(published).step == run.step


def test_a_fresh_process_without_a_network_has_the_same_bits(
    run: Run, published: Path, tmp_path: Path
) -> None:
    script = f"""
import os, socket
os.environ["HF_HUB_OFFLINE"] = "1"
def refuse(*_, **__): raise AssertionError("the network was asked for")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import sys, torch, efm_fast
from safetensors.torch import save_file
run = efm_fast.from_pretrained({str(published)!r})
assert "huggingface_hub" not in sys.modules
x0 = torch.zeros(2, 192)
save_file({{**run.field.state_dict(), "end": efm_fast.sample(run, x0).end}}, {str(tmp_path / "out.safetensors")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    found = load_file(tmp_path / "out.safetensors")
    end = found.pop("end")
    assert found.keys() == run.field.state_dict().keys()
    for name, value in run.field.state_dict().items():
        assert value.numpy().tobytes() == found[name].numpy().tobytes(), name
    torch.testing.assert_close(end, efm_fast.sample(run, torch.zeros(2, 192)).end)


def test_a_repository_is_read_from_the_cache_of_the_hub(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cached = "0" * 40, tmp_path / "models--someone--digits"
    shutil.copytree(published, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.chdir(tmp_path)
    found = efm_fast.from_pretrained("someone/digits", cache_dir=tmp_path, local_files_only=True)
    assert found.step == 3
    with pytest.raises(RunError, match="the repository 'someone/other' cannot be had"):
        efm_fast.from_pretrained("someone/other", cache_dir=tmp_path, local_files_only=True)


def test_the_card_says_what_the_run_is(run: Run, published: Path) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(published / "README.md")
    assert card.data.license == "mit"
    assert card.data.library_name == "efm_fast"
    assert card.data.pipeline_tag == "image-to-image"
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert metrics == {"evaluations": 5.0, "read_as_wanted": 0.5}
    for part in (
        "digits (label 3",
        "field_matching",
        "3 steps of 16 points",
        "| read as wanted | 0.5 |",
        "seed: 0",
    ):
        assert part in card.text, part
    pictures = sorted(path.name for path in (published / "pictures").iterdir())
    assert pictures == ["curves.png", "step_0000003.png"]
    assert all(f"pictures/{name}" in card.text for name in pictures)


def test_a_card_that_was_edited_stays(run: Run, copy: Path) -> None:
    (copy / "README.md").write_text("mine")
    run.save_pretrained(copy)
    assert (copy / "README.md").read_text() == "mine"


def test_the_card_without_a_licence_says_so(run: Run, tmp_path: Path) -> None:
    text = (run.save_pretrained(tmp_path / "new") / "README.md").read_text()
    assert "has not chosen a licence" in text
    assert "license" not in text.partition("---\n\n")[0]


def test_the_code_of_the_card_runs(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (published / "README.md").read_text()
    code = text.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(published.parent)
    exec(code, {})


DAMAGES = {
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "holds no run: expected config.json and model.safetensors",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no run"),
    "half a config": (
        lambda f: (f / "config.json").write_text('{"library_name": '),
        "config.json is damaged",
    ),
    "foreign": (
        lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
        "was not written by efm_fast",
    ),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "was not written by efm_fast"),
    "later": (lambda f: change(f, format=2), "is of format 2, this version reads 1"),
    "another entry": (lambda f: change(f, more=1), "missing or unknown entries more"),
    "another step": (lambda f: change(f, step=4), "mixes two runs: config.json is of step 4"),
    "no support": (lambda f: change(f, support={}), "does not describe a run of this version"),
    "no geometry": (lambda f: change(f, geometry=None), "does not describe a run of this version"),
    "no settings": (lambda f: change(f, config=3), "does not describe a run of this version"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_folder_gets_a_sentence(copy: Path, damage: str) -> None:
    spoil, sentence = DAMAGES[damage]
    spoil(copy)
    with pytest.raises(RunError, match=sentence) as caught:
        efm_fast.from_pretrained(copy)
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_of_the_weights_is_seen(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    for place in (0, 40, len(whole) // 2, len(whole) - 1):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        (copy / "model.safetensors").write_bytes(spoilt)
        with pytest.raises(RunError):
            efm_fast.from_pretrained(copy)
    (copy / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(RunError, match="not a whole safetensors file"):
        efm_fast.from_pretrained(copy)


def test_weights_of_another_program_or_run_are_refused(copy: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, copy / "model.safetensors")
    with pytest.raises(RunError, match="was not written by efm_fast"):
        efm_fast.from_pretrained(copy)
    more = {**TINY, "runs": str(tmp_path), "name": "other"}
    other = efm_fast.train("gaussian_to_mixture", more, progress=False)
    other.export(copy / "model.safetensors")
    with pytest.raises(RunError, match=r"other lengths than those of config\.json"):
        efm_fast.from_pretrained(copy)


def test_the_network_takes_all_tensors_and_no_other(run: Run, copy: Path) -> None:
    settings = json.loads((copy / "config.json").read_text())["config"]
    change(copy, config={**settings, "net": {**settings["net"], "depth": 2}})
    with pytest.raises(RunError, match=r"model\.safetensors does not fit the network"):
        efm_fast.from_pretrained(copy)


def test_a_folder_runs_no_code(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemError('this code ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = json.loads((copy / "config.json").read_text())["config"]
    for part in (
        {"net": {"backbone": "evil:Net"}},
        {"method": {"name": "evil:Method"}},
        {"imports": ["evil"], "plus": {"name": "evil"}},
    ):
        change(copy, config={**settings, **part})
        with contextlib.suppress(EfmError):
            efm_fast.from_pretrained(copy)
        assert "evil" not in sys.modules


def test_no_path_of_this_machine_is_published(tmp_path: Path) -> None:
    import numpy as np

    np.savez(tmp_path / "rows.npz", rows=np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32))
    more = {
        **TINY,
        "runs": str(tmp_path / "runs"),
        "name": "mine",
        "minus": {"name": "npz", "path": str(tmp_path / "rows.npz")},
    }
    run = efm_fast.train("gaussian_to_mixture", more, progress=False)
    folder = run.save_pretrained(tmp_path / "published")
    for name in ("config.json", "README.md"):
        assert str(tmp_path) not in (folder / name).read_text()
    again = efm_fast.from_pretrained(folder)
    assert efm_fast.sample(again, torch.zeros(2, 2), map="forward", steps=2).end.shape == (2, 2)
    with pytest.raises(
        RunError, match=r"its minus data, 'rows\.npz', are files of the machine that trained it"
    ):
        efm_fast.evaluate(again)


def test_data_in_memory_are_given_again(tmp_path: Path) -> None:
    rows = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    more = {**TINY, "runs": str(tmp_path), "name": "memory"}
    run = efm_fast.train("gaussian_to_mixture", more, minus=rows, progress=False)
    folder = run.save_pretrained(tmp_path / "published")
    with pytest.raises(RunError, match=r"in memory.*from_pretrained\("):
        efm_fast.evaluate(efm_fast.from_pretrained(folder))
    assert torch.equal(efm_fast.from_pretrained(folder, minus=rows).minus.all(), run.minus.all())
    with pytest.raises(InputError, match="expected the data that the run was trained on"):
        efm_fast.from_pretrained(folder, minus=rows + 1)


@pytest.mark.parametrize("name", ["no/such/place", "", "a b", "nowhere\0", "x" * 5000])
def test_a_name_of_nothing_gets_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EfmError):
        efm_fast.from_pretrained(name, local_files_only=True)


def test_a_run_folder_is_not_overwritten(run: Run) -> None:
    with pytest.raises(InputError, match="no run folder"):
        run.save_pretrained(run.folder)
    with pytest.raises(RunError, match=r"efm_fast\.load opens run folders"):
        efm_fast.from_pretrained(run.folder)


class FakeHub:
    """Stands in for HfApi: keeps what is uploaded."""

    def __init__(self, token: str | None = None) -> None:
        self.calls = CALLS
        self.calls.append(("token", token))

    def create_repo(self, repo_id: str, **options: Any) -> Any:
        self.calls.append(("create", repo_id, options))
        if repo_id.startswith("forbidden"):
            raise OSError("403 Forbidden: you\nmay not")
        return type("Repo", (), {"repo_id": repo_id})

    def upload_folder(self, *, folder_path: Path, **options: Any) -> str:
        self.calls.append(("upload", sorted(p.name for p in folder_path.iterdir()), options))
        return "https://hub/commit/1"


CALLS: list[Any] = []


def test_only_an_explicit_call_uploads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    CALLS.clear()
    assert run.push_to_hub("me/digits", private=True, token="t") == "https://hub/commit/1"
    files = ["README.md", "config.json", "model.safetensors", "pictures"]
    told = {"repo_id": "me/digits", "revision": None, "commit_message": "Upload a run of efm_fast"}
    created = ("create", "me/digits", {"private": True, "exist_ok": True})
    assert [("token", "t"), created, ("upload", files, told)] == CALLS
    with pytest.raises(RunError, match="forbidden/x was not uploaded: 403 Forbidden: you may not"):
        run.push_to_hub("forbidden/x")
    with pytest.raises(InputError, match="repo_id: expected 'user/name'"):
        run.push_to_hub("a b c")
