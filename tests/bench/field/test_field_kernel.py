"""The gate of the bench: a kernel that is broken on purpose turns red and loses its speed."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.common import ceilings, record
from bench.field import forms as competitors
from bench.field import kernel as field_kernel
from bench.field import measure, summary, sweep
from bench.field import threads as scaling
from bench.field.forms import Form, capacitor_of
from efm_fast.field.backends import plain_torch
from efm_fast.field.queries import KINDS

QUICK = {"call_seconds": 0.01, "min_run_time": 0.01}
RATES = ceilings.Ceilings(1e11, 3e11, 1e10, 1e9, 1e9, 1e9, 5e10)


def tf32(a: Tensor) -> Tensor:
    """``a`` with the ten mantissa bits that the tensor cores of tf32 read."""
    bits = a.float().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def case(d: int) -> measure.Case:
    return measure.Case(d, 8, 64, **QUICK)  # type: ignore[arg-type]


def row_of(form: Form, d: int) -> tuple[measure.Measurement, list[object]]:
    found = measure.measure(form, case(d))
    return found, field_kernel.table_row(found, ceilings.limit(d, 8, 64, RATES, "cpu"))


def test_an_exact_row_is_green_and_has_its_speed() -> None:
    found, cells = row_of(competitors.forms()["ours: torch"], 64)
    assert found.passed
    assert found.reason is None
    assert found.speed is not None
    assert found.speed.pairs_per_second == pytest.approx(2 * found.n * 64 / found.speed.seconds)  # type: ignore[operator]
    assert found.speed.flops == pytest.approx(4 * 64 * found.speed.pairs_per_second)
    assert found.speed.low <= found.speed.seconds <= found.speed.high
    assert len(cells) == len(field_kernel.COLUMNS)
    assert "red" not in cells


@pytest.mark.parametrize("d", [64, 784])
def test_tf32_distances_turn_a_backend_red_and_take_its_speed(
    monkeypatch: pytest.MonkeyPatch, d: int
) -> None:
    plain = torch.addmm
    monkeypatch.setattr(torch, "addmm", lambda c, a, b, **kw: plain(c, tf32(a), tf32(b), **kw))
    monkeypatch.setattr(plain_torch, "_NEAREST", 1)  # rescoring would mend most of it
    found, cells = row_of(competitors.forms()["ours: torch"], d)
    assert found.passed is False
    assert found.speed is None
    assert found.errors["tie"] > 10 * measure.tolerance(d)
    assert found.reason is not None
    assert "tie" in found.reason
    assert cells[2:8] == ["red", None, None, None, None, None]
    assert cells[8:] == [f"{found.errors[kind]:.0e}" for kind in KINDS]


def test_nan_is_red() -> None:
    plain = competitors.forms()["ours: reference"]

    def spoiled(*arguments: object) -> object:
        field = plain.field(*arguments)  # type: ignore[arg-type]
        field.direction[-1] = torch.nan
        return field

    found, _ = row_of(dataclasses.replace(plain, field=spoiled), 2)  # type: ignore[arg-type]
    assert found.passed is False
    assert found.speed is None


def test_a_wrong_answer_at_the_timed_points_alone_is_red() -> None:
    plain = competitors.forms()["ours: reference"]

    def spoiled(x: Tensor, *rest: object) -> object:
        return plain.field(x + 0.01 if len(x) <= 8 else x, *rest)  # type: ignore[arg-type]

    found, _ = row_of(dataclasses.replace(plain, field=spoiled), 2)  # type: ignore[arg-type]
    assert found.passed is False
    assert found.reason is not None
    assert "interpolated" in found.reason


def test_a_form_that_fails_or_cannot_run_says_so() -> None:
    def broken(*arguments: object) -> object:
        raise MemoryError("no room\nfor this")

    found, cells = row_of(Form("x", broken), 2)  # type: ignore[arg-type]
    assert cells == ["x", "failed: MemoryError: no room"]
    assert found.passed is None
    _, cells = row_of(Form("x", broken, why_not=lambda d, device: "not installed"), 2)  # type: ignore[arg-type]
    assert cells == ["x", "not installed"]


@pytest.mark.parametrize("chunk", [competitors.direct_chunk, competitors.gemm_chunk])
def test_forms_by_hand_agree_with_the_reference_where_no_distances_cancel(
    chunk: competitors.PlateSum,
) -> None:
    differences = chunk is competitors.direct_chunk
    form = Form("x", capacitor_of(functools.partial(competitors.chunked, chunk, differences)))
    found, _ = row_of(form, 8)
    for kind in ("interpolated", "tie", "plate_tie"):
        assert found.errors[kind] < 1e-4
    # the same sums written as attention, uncompiled
    if not differences:
        from torch.nn.attention.flex_attention import flex_attention

        flex = functools.partial(competitors.flex, attention=flex_attention)
        found, _ = row_of(Form("flex", capacitor_of(flex)), 8)
        for kind in ("interpolated", "tie", "plate_tie"):
            assert found.errors[kind] < 1e-4


def test_chunks_merge_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    points = measure.gate_set("tie", 8, "float32")
    x, h2 = points.x[:40], points.z[:40].float() ** 2
    monkeypatch.setattr(competitors, "_CACHED", 1 << 10)
    parts = competitors.chunked(competitors.direct_chunk, True, x, h2, points.plus)
    for got, want in zip(parts, competitors.direct_chunk(x, h2, points.plus), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_the_limit_counts_instructions_and_products() -> None:
    # D = 2, power 3: 6 for the features, 3 around them, a root, one product, four to repair it
    assert ceilings.direct_instructions(2) == 15
    assert ceilings.direct_instructions(8) == 24 + 3 + 1 + 3 + 5
    small, large = (ceilings.limit(d, 4096, 4096, RATES, "cpu") for d in (2, 3072))
    assert small.bound == "vector instructions"
    assert small.pairs_per_second == pytest.approx(1e11 / 2 / 15)
    # without matrix units the products and the 34 instructions of a weight share the lanes
    assert large.bound == "vector instructions"
    assert large.pairs_per_second == pytest.approx(1 / (4 * 3072 / 1e11 + 34 / 5e10))
    with_units = ceilings.limit(3072, 4096, 4096, dataclasses.replace(RATES, gemm_bf16=6e11), "cpu")
    assert with_units.bound == "matrix products"
    assert with_units.pairs_per_second == pytest.approx(2e11 / (4 * 3072))


def test_the_command_writes_result_and_picture(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--sizes", "2:8x64", "64:8x64", "--backends", "ours", "chunks, GEMM"]
    assert field_kernel.main([*arguments, "--name", "try"]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.split("\n") if not line.startswith("wrote")) <= 100
    assert "red: chunks, GEMM, D = 64" in printed
    assert (results / "try.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((results / "try.json").read_text())
    tables = {
        "ceilings",
        "limits",
        "summary",
        "D=2",
        "D=64",
        *(["threads"] if torch.get_num_threads() > 1 else []),
    }
    assert set(result["tables"]) == tables
    assert set(result["ceilings"]) == {field.name for field in dataclasses.fields(ceilings.Ceilings)}
    for row in result["rows"]:
        assert (row["speed"] is None) == (row["reason"] is not None)
    # D = 64 is the middle of two sizes; the red row is in no picture
    assert {(point["over"], point["d"]) for point in result["sweep"]} == {("M", 64), ("N", 64)}
    assert {point["m"] for point in result["sweep"]} == {2, 4, 16, 64, 256}
    assert all(point["form"].startswith("ours") for point in result["sweep"])
    for table in result["tables"].values():
        assert all(len(row) <= len(table["columns"]) for row in table["rows"])


def test_a_row_that_is_wrong_at_another_size_has_no_speed_there() -> None:
    plain = competitors.forms()["ours: reference"]

    def spoiled(x: Tensor, z: Tensor, plus: Tensor, *rest: object) -> object:
        return plain.field(x + 0.01 if len(plus) == 256 else x, z, plus, *rest)  # type: ignore[arg-type]

    form = dataclasses.replace(plain, field=spoiled)  # type: ignore[arg-type]
    found, _ = row_of(form, 2)
    assert found.speed is not None
    found.speed = dataclasses.replace(found.speed, pairs_per_second=1e9)  # on however slow a machine
    points = sweep.sweep([form], case(2), [found])
    assert {point.m for point in points if point.over == "M"} == {2, 4, 16, 64}
    assert {point.n for point in points if point.over == "N"} == {1, 2, 8}
    for point in points:
        assert point.pairs_per_second == pytest.approx(2 * point.n * point.m / point.seconds)


def test_a_sweep_keeps_to_what_a_form_can_serve_and_hold() -> None:
    form = Form("x", competitors.forms()["ours: reference"].field, elements=1000)
    assert sweep.affordable(form, 10, 2, 1e12) == 50
    speed = 20 * 20 / sweep.CALL_SECONDS
    assert sweep.affordable(form, 10, 2, speed) == 20
    assert sweep.affordable(form, 10**6, 2, speed) == 1


def test_the_worst_table_fits_a_terminal() -> None:
    speed = measure.Speed(1234.5678, 1234.5678, 1234.5678, 3, 1.234e-3 * 1e9, 123456.789e9)
    errors = dict.fromkeys(KINDS, 1.23456e-7)
    row = measure.Measurement("ours: reference", 2, 4096, 65536, errors, True, None, speed, 123456 << 20)
    text = record.format_table(
        [field_kernel.table_row(row, ceilings.limit(2, 9, 9, RATES, "cpu"))], field_kernel.COLUMNS
    )
    assert max(len(line) for line in text.split("\n")) <= 100


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--sizes", "two"], "--sizes"),
        (["--sizes", "2:3"], "--sizes"),
        (["--sizes", "0:4x4"], "--sizes"),
        (["--sizes", "2", "2:8x8"], "--sizes"),
        (["--backends", "cp"], "ours: cpp"),
        (["--device", "tpu"], "--device"),
        (["--precision", "max"], "--precision"),
        (["--dtype", "int3"], "--dtype"),
        (["--name", "a/b"], "--name"),
    ],
)
def test_mistakes_are_named_before_anything_runs(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert field_kernel.main(arguments) == 2
    problem = capsys.readouterr().err
    assert word in problem
    assert problem.count("\n") == 1


def test_help_names_every_option() -> None:
    script = record.ROOT / "bench" / "field_kernel.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    for option in ("--device", "--dtype", "--precision", "--sizes", "--backends", "--full"):
        assert option in done.stdout


def test_the_summary_names_ratios_and_what_is_wrong() -> None:
    rows = [Form("slow", measure.measure), Form("wrong", measure.measure), Form("absent", measure.measure)]  # type: ignore[arg-type]
    rows.append(Form("ours: x", measure.measure, ours=True))  # type: ignore[arg-type]
    speed = measure.Speed(1.0, 1.0, 1.0, 1, 1e9, 4e9)
    fast = dataclasses.replace(speed, pairs_per_second=5e9)
    found = [
        measure.Measurement("slow", 2, 8, 64, passed=True, speed=speed),
        measure.Measurement("wrong", 2, 8, 64, passed=False),
        measure.Measurement("absent", 2),
        measure.Measurement("ours: x", 2, 8, 64, passed=True, speed=fast),
    ]
    limits = {2: ceilings.limit(2, 8, 64, RATES, "cpu")}
    table = summary.summary(rows, found, limits)
    assert table["columns"][5:] == ["x slow", "x wrong", "x absent"]
    (line,) = table["rows"]
    assert line[:4] == [2, 64, "ours: x", "5"]  # type: ignore[index]
    assert line[5:] == ["5", "red", None]  # type: ignore[index]
    assert summary.summary(rows, found[:3], limits)["rows"] == []


def test_the_fastest_backend_is_compared_with_itself_on_one_thread() -> None:
    threads = torch.get_num_threads()
    rows = [competitors.forms()[name] for name in ("broadcast", "ours: reference", "ours: torch")]
    shape = case(64)
    found = [measure.measure(row, shape) for row in rows]
    torch.set_num_threads(2)
    try:
        (scaled,) = scaling.scalings(rows, [shape], found)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert scaling.scalings(rows, [shape], found) == []
    finally:
        torch.set_num_threads(threads)
    fastest = max(found[1:], key=lambda row: row.speed.pairs_per_second)  # type: ignore[union-attr]
    assert (scaled.form, scaled.threads) == (fastest.form, 2)
    assert len(scaled.speedups) == scaling.PAIRS
    assert all(value > 0 for value in scaled.speedups)
    assert len(scaled.cells()) == len(scaling.COLUMNS)
