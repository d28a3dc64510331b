"""One's own data on a plate: every form trains, the run folder knows the data again, other data are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from efm_fast import Config, diagnose, evaluate, load, resume, sample, train
from efm_fast.data import Source, register_source
from efm_fast.errors import InputError, RunError
from efm_fast.methods.interplate import FluxPoints, InterplatePoints
from efm_fast.runs.generations import STATE
from efm_fast.types import Plates

BASE = {
    "name": "own",
    "plus": "gaussian",
    "minus": "moons",
    "method": {"L": 6.0, "points": {"nearest": 0.01, "charges": 32}},
    "net": {"width": 8, "depth": 1},
    "train": {"steps": 4, "batch": 16, "checkpoint_every": 2, "log_every": 1},
}
ROWS = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))


class Blurred(Dataset[torch.Tensor]):
    """Items in memory with torch's random noise, as an augmentation would add."""

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, row: int) -> torch.Tensor:
        return ROWS[row] + 0.01 * torch.randn(2)


class Stamped(Blurred):
    """Items that differ each time for a reason that no seed reaches."""

    reads = 0

    def __getitem__(self, row: int) -> torch.Tensor:
        Stamped.reads += 1
        return ROWS[row] + 1e-3 * Stamped.reads


class Ring(Source):
    """A source of one's own, as an object."""

    name, shape = "ring", (2,)

    def __init__(self, radius: float = 2.0) -> None:
        self.radius = radius

    def draw(self, n: int, generator: torch.Generator, split: str = "train") -> torch.Tensor:
        angle = 2 * torch.pi * torch.rand(n, generator=generator)
        return self.radius * torch.stack([angle.cos(), angle.sin()], 1)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of these runs' time would go into a picture."""
    monkeypatch.setattr("efm_fast.training.report.Reporter.curves", lambda self: None)


FORMS = {
    "a tensor": lambda: ROWS.clone(),
    "a tensor that wants gradients": lambda: ROWS.clone().requires_grad_(),
    "an array": lambda: ROWS.numpy(),
    "a big-endian array": lambda: ROWS.numpy().astype(">f8"),
    "an array backwards": lambda: ROWS.numpy()[::-1, ::-1],
    "a mapping with data": lambda: {"name": "tensor", "data": ROWS, "held_out": 0.5},
    "with labels": lambda: {"name": "tensor", "data": ROWS, "labels": torch.arange(60) % 3},
    "a dataset": lambda: TensorDataset(ROWS),
    "a random dataset": Blurred,
    "a list of items": lambda: {"name": "dataset", "dataset": list(ROWS)},
    "a source": Ring,
}


def own(folder: Path, **more: object) -> dict[str, object]:
    return {**BASE, "runs": str(folder), **more}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_own_data_trains_resumes_and_loads(tmp_path: Path, form: str) -> None:
    data = FORMS[form]()
    whole = train(own(tmp_path, name="whole", plus=data), progress=False)

    def stop(self: object, step: int, **numbers: float) -> None:
        if step > 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efm_fast.training.report.Reporter.log", stop)
        with pytest.raises(KeyboardInterrupt):
            train("gaussian_to_swissroll", own(tmp_path, name="cut"), plus=data, progress=False)
    with pytest.raises(
        RunError, match=r"plus data were in memory.*give them again.*resume\('.*', plus=\.\.\.\)"
    ):
        resume(tmp_path / "cut", progress=False)
    resume(tmp_path / "cut", plus=FORMS[form](), progress=False)
    assert (tmp_path / "cut" / STATE).read_bytes() == (whole.folder / STATE).read_bytes()

    x0 = torch.zeros(5, 2)
    ends = sample(whole, x0, seed=1).end
    without = load(whole.folder)
    assert torch.equal(sample(without, x0, seed=1).end.nan_to_num(), ends.nan_to_num())
    with pytest.raises(RunError, match=r"plus data were in memory.*load\('.*', plus=\.\.\.\)"):
        sample(without, n=5)
    with pytest.raises(RunError, match="plus data were in memory"):
        evaluate(without, n=10)
    again = load(whole.folder, plus=data)
    assert torch.equal(sample(again, n=5).end.nan_to_num(), sample(whole, n=5).end.nan_to_num())


def test_the_run_folder_records_what_was_in_memory(tmp_path: Path) -> None:
    run = train(own(tmp_path), plus=ROWS, minus={"name": "tensor", "data": ROWS + 3}, progress=False)
    specs = yaml.safe_load((run.folder / "config.yaml").read_text())
    for plate in ("plus", "minus"):
        record = specs[plate]["data"]
        assert (record["in_memory"], record["shape"], record["dtype"]) == ("tensor", [60, 2], "float32")
        assert len(record["fingerprint"]) == 32
        assert specs[plate]["held_out"] == 0.2
    assert specs["plus"]["data"] != specs["minus"]["data"]
    with pytest.raises(RunError, match="its minus data were in memory"):
        resume(run.folder, plus=ROWS, progress=False)


CHANGED = {
    "one number": ROWS + torch.eye(60, 2) * 1e-6,
    "a row less": ROWS[:-1],
    "another order": ROWS.flip(0),
    "another dtype": ROWS.double(),
    "a source": Ring(),
    "a name": "gaussian",
    "another share held out": {"name": "tensor", "data": ROWS, "held_out": 0.5},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(own(tmp_path_factory.mktemp("own")), plus=ROWS, progress=False).folder


@pytest.mark.parametrize("call", [resume, load])
@pytest.mark.parametrize("change", CHANGED)
def test_other_data_are_refused_by_their_fingerprint(trained: Path, change: str, call: object) -> None:
    more = {"progress": False} if call is resume else {}
    with pytest.raises(InputError, match=r"plus.*: expected .*, got") as caught:
        call(trained, plus=CHANGED[change], **more)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    call(trained, plus=ROWS.numpy(), **more)  # type: ignore[operator]
    with pytest.raises(InputError, match="minus: expected nothing, for the run itself reads its data"):
        call(trained, plus=ROWS, minus=ROWS, **more)  # type: ignore[operator]


def test_other_datasets_and_sources_are_refused(tmp_path: Path) -> None:
    run = train(own(tmp_path), plus=TensorDataset(ROWS), minus=Ring(2.0), progress=False)
    resume(run.folder, plus=TensorDataset(ROWS), minus=Ring(2.0), progress=False)
    with pytest.raises(InputError, match="plus: expected the data that the run was trained on"):
        resume(run.folder, plus=TensorDataset(ROWS + 1), minus=Ring(2.0), progress=False)
    with pytest.raises(InputError, match="minus: expected the data that the run was trained on"):
        resume(run.folder, plus=TensorDataset(ROWS), minus=Ring(2.5), progress=False)


def test_data_that_differ_each_time_have_no_fingerprint_and_resume_all_the_same(tmp_path: Path) -> None:
    run = train(own(tmp_path), plus=Stamped(), progress=False)
    assert yaml.safe_load((run.folder / "config.yaml").read_text())["plus"]["dataset"]["fingerprint"] is None
    resume(run.folder, plus=Stamped(), progress=False)


class Endless(IterableDataset[torch.Tensor]):
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(ROWS)


class Float64(Ring):
    def draw(self, n: int, generator: torch.Generator, split: str = "train") -> torch.Tensor:
        return super().draw(n, generator, split).double()


class Wide(Ring):
    shape = (3,)


class Spoiled(Ring):
    def draw(self, n: int, generator: torch.Generator, split: str = "train") -> torch.Tensor:
        return super().draw(n, generator, split).index_fill(0, torch.tensor([n - 1]), torch.nan)


def no_strategy(plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
    raise InputError("strategy: has nothing to give")


def too_few(plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
    return FluxPoints(nearest=0.1)(plates, n - 1, generator, step)


def spoiled(plates: Plates, n: int, generator: torch.Generator, step: int = 0) -> InterplatePoints:
    points = FluxPoints(nearest=0.1)(plates, n, generator, step)
    return InterplatePoints(points.x * torch.nan, points.z, plates, generated=True)


REFUSED = {
    "a number": ({"plus": 3}, "plus: expected a source's name.*got int"),
    "a flat tensor": ({"plus": torch.zeros(60)}, r"plus: tensor data: expected shape \[M, D\]"),
    "NaN": ({"plus": ROWS * torch.nan}, "plus: tensor data: expected finite numbers, got 120 NaN"),
    "no rows": ({"plus": ROWS[:0]}, "plus: tensor data: expected at least one row"),
    "one row": ({"plus": ROWS[:1]}, "plus: .*at least 2 rows.*held_out=0"),
    "complex": ({"plus": ROWS + 1j}, "plus: tensor data: expected a real dtype"),
    "booleans": ({"plus": ROWS > 0}, "plus: tensor data: expected a real dtype"),
    "objects": ({"plus": np.array([[None, 1]] * 9)}, "plus: tensor data: .* of dtype object"),
    "text": ({"plus": np.array([["a", "b"]] * 9)}, "plus: tensor data: .* of dtype <U1"),
    "masked": ({"plus": np.ma.masked_less(ROWS.numpy(), 0)}, "plus: tensor data: expected numbers only.*masked"),
    "sparse": ({"plus": ROWS.to_sparse()}, "plus: tensor data: expected a dense tensor.*sparse"),
    "meta": ({"plus": ROWS.to("meta")}, "plus: tensor data: expected a dense tensor.*meta"),
    "an endless dataset": ({"plus": Endless()}, r"plus: dataset: expected one with len and \[index\], got Endless"),
    "float64 draws": ({"plus": Float64()}, "plus: expected draws in float32 on the CPU, got torch.float64"),
    "another width": ({"plus": Wide(), "minus": Wide()}, r"plus: expected 3 columns, got shape \(4096, 2\)"),
    "a spoiled source": ({"plus": Spoiled()}, "plus: expected finite numbers"),
    "other shapes": ({"plus": torch.randn(9, 3)}, r"minus: expected the shape of plus, \(3,\), got \(2,\)"),
    "a lambda": (
        {"plus": {"name": "tensor", "data": ROWS, "seed": lambda: 3}},
        "plus: seed: expected an integer",
    ),
    "heights": ({"method.points.nearest": 5.0}, r"nearest: expected less than L / 2 = 3.0, got 5.0"),
    "custom points": ({"method.points.strategy": "custom"}, r"method.points.strategy: custom is .* pass it to train"),
    "strategy": ({"strategy": no_strategy}, "strategy: has nothing to give"),
    "few points": ({"strategy": too_few}, r"strategy: expected InterplatePoints of x \[16, 2\] and z \[16\], got"),
    "NaN points": ({"strategy": spoiled}, "own: the loss of the first step is nan; no run folder was made"),
    "points of both": ({"strategy": spoiled, "method.points.strategy": "box"}, "strategy: expected none beside"),
    "noise of others": ({"strategy": spoiled, "method.points.noise": 0.1}, "points.noise: no such setting with"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_run_is_checked_before_its_folder_is_made(tmp_path: Path, case: str) -> None:
    wrong, message = REFUSED[case]
    strategy = wrong.get("strategy")
    overrides = {key: value for key, value in wrong.items() if key != "strategy"}
    with pytest.raises((InputError, RunError), match=message) as caught:
        train(own(tmp_path), overrides, strategy=strategy, progress=False)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300, "data are named, not printed"
    assert not any(tmp_path.iterdir()), "a mistake must not leave a run folder behind"


def test_a_source_that_cannot_be_recorded_is_refused_before_the_folder(tmp_path: Path) -> None:
    @register_source("of_a_function")
    class OfAFunction(Ring):
        def __init__(self, function: object) -> None:
            super().__init__()

    try:
        with pytest.raises(InputError, match=r"plus.function: expected a plain setting.* got function"):
            train(own(tmp_path), plus={"name": "of_a_function", "function": lambda x: x}, progress=False)
        assert not any(tmp_path.iterdir())
    finally:
        from efm_fast.data import registry

        del registry._FACTORIES["of_a_function"]


def test_a_strategy_of_ones_own_is_recorded_and_asked_for_again(tmp_path: Path) -> None:
    run = train(own(tmp_path), strategy=FluxPoints(nearest=0.1), progress=False)
    assert (
        yaml.safe_load((run.folder / "config.yaml").read_text())["method"]["points"]["strategy"] == "custom"
    )
    with pytest.raises(RunError, match=r"a strategy of its own.*resume\(folder, strategy=\.\.\.\)"):
        resume(run.folder, progress=False)
    resume(run.folder, strategy=FluxPoints(nearest=0.1), progress=False)
    other = train(own(tmp_path, name="other"), progress=False)
    with pytest.raises(RunError, match=r"points\.strategy = flux, got a strategy of your own"):
        resume(other.folder, strategy=FluxPoints(nearest=0.1), progress=False)


def test_a_config_hands_data_in_memory_on(tmp_path: Path) -> None:
    config = Config.load(own(tmp_path, plus=ROWS))
    again = Config.load(config, {"minus": "gaussian"})
    assert again.plus["data"] is config.plus["data"] is ROWS
    assert diagnose(config, charges=32, lines=4, distances=(1.0,)).D == 2
    run = train(config, progress=False)
    train(run.config, {"name": "next"}, progress=False)
    assert Config.load(own(tmp_path, plus="moons"), {"plus.noise": 0.2}).plus == {
        "name": "moons",
        "noise": 0.2,
    }
    assert Config.load(own(tmp_path, plus={"name": "digits", "label": np.int64(3)})).plus["label"] == 3


NO_ROWS_HELD_OUT = {"name": "tensor", "data": ROWS, "held_out": 0.0}
SHAPES = {
    "one column": (torch.randn(60, 1), torch.randn(60, 1), 0),
    "five columns": (torch.randn(60, 5), torch.randn(60, 5), 0),
    "two channels": (torch.rand(60, 2, 4, 4), torch.rand(60, 2, 4, 4), 0),
    "grey images": (torch.rand(60, 1, 4, 4), torch.rand(60, 1, 4, 4), 2),
    "nothing held out": (NO_ROWS_HELD_OUT, NO_ROWS_HELD_OUT, 2),
    "one and the same row": (
        {"name": "tensor", "data": torch.zeros(1, 2), "held_out": 0},
        {"name": "tensor", "data": torch.ones(1, 2), "held_out": 0},
        2,
    ),
}


@pytest.mark.filterwarnings("ignore::efm_fast.errors.NothingArrivedWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_data_of_every_shape_train_to_the_end_with_a_picture_where_there_can_be_one(
    tmp_path: Path, shape: str
) -> None:
    plus, minus, pictures = SHAPES[shape]
    run = train(own(tmp_path), {"train.picture_every": 2}, plus=plus, minus=minus, progress=False)
    assert run.step == 4
    assert len(list((run.folder / "samples").iterdir())) == pictures


def test_files_are_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("rows.npz", ROWS.numpy())
    (tmp_path / "elsewhere").mkdir()
    run = train(own(tmp_path, plus={"name": "npz", "path": "rows.npz"}), progress=False)
    monkeypatch.chdir(tmp_path / "elsewhere")
    resume(run.folder, progress=False)
    assert len(sample(load(run.folder), n=3).end) == 3
    (tmp_path / "rows.npz").unlink()
    x0 = torch.zeros(3, 2)
    assert len(sample(load(run.folder), x0).end) == 3, "starts that are given need no data"
    with pytest.raises(RunError, match=f"plus: .*{tmp_path / 'rows.npz'}.*not there"):
        sample(load(run.folder), n=3)


def test_runs_of_earlier_versions_measure_their_support_again(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained, tmp_path / "older"))
    kept = load(folder, plus=ROWS).support
    (folder / "support.json").unlink()
    again = load(folder, plus=ROWS).support
    assert torch.equal(kept.plus_center, again.plus_center)
    assert (kept.minus_radius, kept.scale) == (again.minus_radius, again.scale)
    for text in ("{", "[]", json.dumps({"plus_center": 3})):
        (folder / "support.json").write_text(text)
        with pytest.raises(RunError, match=r"support\.json does not hold the support of a run"):
            load(folder, plus=ROWS)
