"""The extension's lines against torch's, and against themselves in other company."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from efm_fast import native
from efm_fast.errors import InputError
from efm_fast.lines import ExactField, Lines, LineStatus, forward_map, launch, trace_lines
from efm_fast.lines.engine import extension
from efm_fast.lines.engine.choice import LineProblem, choose, takes_whole_lines, why_not
from efm_fast.types import Plates

from .conftest import gaussian

pytestmark = pytest.mark.skipif(native.why_missing() is not None, reason="the extension is not built")
L = 3.0


def capacitor(d: int, m: int = 48, dtype: torch.dtype = torch.float32) -> Plates:
    return Plates(gaussian(m, 0, d).to(dtype), (0.5 * gaussian(m + 5, 1, d)).to(dtype), L)


def starts(plates: Plates, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return launch(plates.plus, torch.arange(n) % len(plates.plus), seed=3)


def traced(plates: Plates, x: torch.Tensor, z: torch.Tensor, **settings) -> Lines:
    return trace_lines(x, z, plates.plus, plates.minus, plates.L, **settings)


def assert_bitwise(one: Lines, two: Lines) -> None:
    for name in ("end", "end_z", "status", "charge", "evaluations", "length"):
        a, b = getattr(one, name), getattr(two, name)
        assert a is b is None or torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("d", "method"),
    [
        (1, "rk4"),
        (2, "rk4"),
        (2, "euler"),
        (3, "heun"),
        (5, "midpoint"),
        (8, "rk4"),
        (2, "dopri5"),
        (20, "dopri5"),
    ],
)
def test_traced_lines_agree_with_torch(d, method, dtype):
    plates = capacitor(d, dtype=dtype)
    x, z = starts(plates, 37)
    ours = traced(plates, x, z, method=method, backend="cpp")
    twin = traced(plates, x, z, method=method, backend="torch")
    assert ours.end.dtype == dtype
    assert (ours.charge == twin.charge).double().mean() > 0.97
    assert (ours.status == twin.status).double().mean() > 0.97
    same = ours.charge == twin.charge
    assert torch.equal(ours.end[same], twin.end[same])
    # far out float32's field is a small difference of large terms, and the longest lines show it
    assert (ours.length / twin.length - 1.0)[same].abs().quantile(0.9) < 1e-3
    difference = (ours.evaluations - twin.evaluations).abs()
    assert difference.double().mean() < 0.02 * twin.evaluations.double().mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("d", "method", "spacing"),
    [(2, "euler", "uniform"), (1, "rk4", "uniform"), (6, "heun", "log"), (33, "midpoint", "log")],
)
def test_forward_lines_agree_with_torch(d, method, spacing, dtype):
    field = ExactField(capacitor(d, dtype=dtype))
    x0 = gaussian(37, 5, d).to(dtype)
    settings = {"steps": 20, "method": method, "spacing": spacing, "return_paths": True, "every": 3}
    ours = forward_map(field, x0, backend="cpp", **settings)
    twin = forward_map(field, x0, backend="torch", **settings)
    tolerance = 1e-2 if dtype == torch.float32 else 1e-6
    assert ours.paths.shape == twin.paths.shape
    assert (ours.paths - twin.paths).norm(dim=2).quantile(0.9) < tolerance
    assert torch.allclose(ours.end_z, twin.end_z)
    assert torch.equal(ours.evaluations, twin.evaluations)
    assert torch.equal(ours.status, twin.status)
    assert torch.allclose(ours.paths[-1, :, :-1], ours.end)


@pytest.mark.parametrize("kind", ["trace", "forward"])
@pytest.mark.parametrize("d", [2, 12])
def test_a_bad_line_never_affects_its_neighbours(kind, d):
    plates = capacitor(d)
    x, z = starts(plates, 40)

    def follow(x, z):
        if kind == "trace":
            return traced(plates, x, z)
        return forward_map(ExactField(plates), x, steps=30)

    good = follow(x, z)
    bad_x, bad_z = x.clone(), z.clone()
    bad_x[3] = torch.nan  # no place
    bad_x[7], bad_z[7] = plates.plus[5], 0.0  # on a charge
    bad_x[11] = torch.inf
    bad_x[12] = 1e30  # no charge in reach
    bad = follow(bad_x, bad_z)
    others = torch.ones(40, dtype=torch.bool)
    others[[3, 7, 11, 12]] = False
    assert_bitwise(*(rows_of(lines, others) for lines in (good, bad)))
    assert (bad.status[[3, 11]] == LineStatus.FAILED).all()
    assert bad.end[[3, 11]].isnan().all()
    if kind == "trace":
        assert bad.status[7] == LineStatus.FAILED


def rows_of(lines: Lines, rows: torch.Tensor) -> Lines:
    values = {f.name: getattr(lines, f.name) for f in dataclasses.fields(lines)}
    return Lines(**{name: None if value is None else value[rows] for name, value in values.items()})


def test_a_line_is_the_same_alone_in_any_batch_and_on_any_number_of_threads():
    plates = capacitor(2)
    x, z = starts(plates, 70)
    every = traced(plates, x, z)
    part = slice(13, 31)
    assert_bitwise(rows_of(every, torch.arange(70)[part]), traced(plates, x[part], z[part]))
    assert_bitwise(rows_of(every, torch.tensor([50])), traced(plates, x[50:51], z[50:51]))
    threads = torch.get_num_threads()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert_bitwise(every, traced(plates, x, z))
    finally:
        torch.set_num_threads(threads)


def test_paths_of_every_kth_step_are_part_of_the_whole_paths():
    plates = capacitor(2)
    x, z = starts(plates, 20)
    whole = traced(plates, x, z, return_paths=True)
    some = traced(plates, x, z, return_paths=True, every=4)
    steps = (len(whole.paths) - 2) // 4
    assert torch.equal(whole.paths[0], torch.cat([x, z[:, None]], 1))
    longest = whole.evaluations.argmax()
    assert torch.equal(some.paths[:steps, longest], whole.paths[: 4 * steps : 4, longest])
    for lines in (whole, some):
        assert torch.equal(lines.paths[-1, :, :-1], lines.end)
        assert (lines.paths[-1, :, -1] == L).all()


def test_paths_of_a_few_lines_at_a_time_are_the_same(monkeypatch):
    plates = capacitor(2)
    x, z = starts(plates, 20)
    field = ExactField(plates)

    def both() -> tuple[Lines, Lines]:
        return traced(plates, x, z, return_paths=True), forward_map(field, x, steps=7, return_paths=True)

    whole = both()
    monkeypatch.setattr(extension, "lines_at_once", lambda x, capacity: 3)
    for one, other in zip(both(), whole, strict=True):
        assert_bitwise(one, other)
        assert torch.equal(one.paths, other.paths)


def test_a_device_holds_as_many_paths_as_fit():
    lines = torch.empty(100_000, 2, device="meta")
    at_once = extension.lines_at_once(lines, 2002)
    assert 0.9 * extension.PATH_BYTES <= at_once * 2002 * 3 * 4 <= extension.PATH_BYTES
    assert extension.lines_at_once(lines, 0) == 100_000
    assert extension.lines_at_once(torch.empty(100_000, 2), 2002) == 100_000


@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("n", [0, 1, 17])
def test_few_lines_and_few_charges(n, m):
    plates = Plates(gaussian(m, 0), gaussian(m, 1), L)
    x, z = launch(plates.plus, torch.arange(n) % m, seed=1)
    lines = traced(plates, x, z, return_paths=True)
    assert lines.arrived.all()
    assert lines.end.shape == (n, 2)
    assert lines.paths.shape[1:] == (n, 3)
    assert len(forward_map(ExactField(plates), x, steps=5).end) == n


def test_lines_that_take_too_many_steps_say_so():
    plates = capacitor(2)
    x, z = starts(plates, 9)
    lines = traced(plates, x, z, max_steps=3)
    assert (lines.status == LineStatus.STEP_LIMIT).all()
    assert (lines.charge == -1).all()
    assert (lines.evaluations == 12).all()


def test_charges_of_other_kinds_are_read():
    plates = capacitor(2)
    x, z = starts(plates, 9)
    images = (8 * plates.plus).round().to(torch.int16), (8 * plates.minus).round().to(torch.int16)
    assert_bitwise(
        trace_lines(8 * x, z, *images, L, max_steps=50),
        trace_lines(8 * x, z, images[0].float(), images[1].float(), L, max_steps=50),
    )
    strided = plates.plus.repeat_interleave(2, 1)[:, ::2]
    assert_bitwise(traced(Plates(strided, plates.minus, L), x, z), traced(plates, x, z))


def test_who_integrates_is_a_choice_with_reasons(monkeypatch):
    plates = capacitor(2)
    x, z = starts(plates, 2)
    wide = LineProblem(gaussian(2, 0, 65), z, capacitor(65))
    assert why_not(LineProblem(x, z, plates)) is None
    assert "up to 64 features" in why_not(wide)
    assert "float32 and float64" in why_not(LineProblem(x.half(), z, plates))
    for name in ("auto", "cpp"):
        assert not takes_whole_lines(wide, choose(name))
        assert takes_whole_lines(LineProblem(x, z, plates), choose(name))
    assert not takes_whole_lines(LineProblem(x, z, plates), choose("torch"))
    with pytest.raises(InputError, match="backend"):
        traced(plates, x, z, backend="extension")
    monkeypatch.setenv("EFM_FAST_BACKEND", "torch")
    assert not takes_whole_lines(LineProblem(x, z, plates), choose("auto"))
    assert takes_whole_lines(LineProblem(x, z, plates), choose("cpp"))


@pytest.mark.parametrize("every", [0, 1.5, True])
def test_every_is_checked(every):
    plates = capacitor(2)
    with pytest.raises(InputError, match="every: expected an integer"):
        traced(plates, *starts(plates, 2), every=every)
