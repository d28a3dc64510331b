"""Charges larger than memory: arrays, memory maps and iterators give what one tensor gives."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from field_checks import assert_field_close, assert_sum_close

from efm_fast.errors import InputError
from efm_fast.field import capacitor_field, gaussian_sum, riesz_sum, streaming
from efm_fast.field.queries import promised_error, query_set


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(streaming, "_CHUNK_ELEMENTS", 700)


def _draw(n=6, m=1000, d=3):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(0, 256, (m, d), generator=generator, dtype=torch.uint8)
    return torch.rand(n, d, generator=generator) * 255, y, torch.rand(m, generator=generator)


def _memmap(y, tmp_path):
    path = tmp_path / "charges.npy"
    np.save(path, y.numpy())
    return np.load(path, mmap_mode="r")


def test_a_read_only_memmap_of_bytes(tmp_path, recwarn):
    x, y, weight = _draw()
    for options in ({}, {"weight": weight}, {"first_self": -500, "height": 2.0}):
        got = riesz_sum(x, _memmap(y, tmp_path), power=4, **options)
        assert_sum_close(got, riesz_sum(x, y, power=4, **options), 1e-5, 400)
    got = gaussian_sum(x, y.numpy(), bandwidth=30.0)
    assert_sum_close(got, gaussian_sum(x, y, bandwidth=30.0), 1e-5, 400)
    assert len(recwarn) == 0


def test_first_self_counts_over_all_chunks():
    _, y, _ = _draw()
    y = y.float() + torch.rand(1000, 3)
    got = riesz_sum(y, y.numpy(), power=4, first_self=0)
    assert torch.isfinite(got.m).all()
    assert_sum_close(got, riesz_sum(y, y, power=4, first_self=0), 1e-5, 400)


@pytest.mark.parametrize("kind", [list, iter, tuple])
def test_chunks_of_tensors_and_of_pairs(kind):
    x, y, weight = _draw()
    got = riesz_sum(x, kind(list(y.split(333))), power=4)
    assert_sum_close(got, riesz_sum(x, y, power=4), 1e-5, 400)
    pairs = [(a.numpy(), b.numpy()) for a, b in zip(y.split(333), weight.split(333), strict=True)]
    got = riesz_sum(x, kind(pairs), power=4)
    assert_sum_close(got, riesz_sum(x, y, power=4, weight=weight), 1e-5, 400)


def test_no_chunks_are_no_charges():
    x, y, _ = _draw()
    for nothing in (iter([]), y[:0].numpy()):
        total = riesz_sum(x, nothing, power=4)
        assert torch.isneginf(total.m).all()
        assert total.v.shape == (6, 3)


def test_the_capacitor_field_of_streamed_plates(tmp_path):
    x, y, weight = _draw()
    z = torch.rand(6) * 100
    minus = y.flip(0).roll(1, 1)
    got = capacitor_field(x, z, _memmap(y, tmp_path), iter(minus.split(300)), 100.0)
    assert_field_close(got, capacitor_field(x, z, y, minus, 100.0), 1e-5, 1e-5)
    pairs = zip(minus.split(300), weight.split(300), strict=True)
    got = capacitor_field(x, z, y.numpy(), pairs, 100.0, plus_weight=weight)
    want = capacitor_field(x, z, y, minus, 100.0, plus_weight=weight, minus_weight=weight)
    assert_field_close(got, want, 1e-5, 1e-5)


def test_gradients_reach_the_points_through_chunks():
    x, y, _ = _draw()
    a, b = (x.clone().requires_grad_() for _ in range(2))
    riesz_sum(a, y.numpy(), power=4).log_weight().sum().backward()
    riesz_sum(b, y, power=4).log_weight().sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_progress_is_shown_when_asked_for(capsys):
    x, y, _ = _draw()
    riesz_sum(x, y.numpy(), power=4)
    assert capsys.readouterr().err == ""
    riesz_sum(x, y.numpy(), power=4, progress=True)
    assert "charges" in capsys.readouterr().err


def test_bad_streams_are_named():
    x, y, weight = _draw()
    with pytest.raises(InputError, match=r"y: expected an array of 3 columns, got shape \(1000, 2\)"):
        riesz_sum(x, y[:, :2].numpy(), power=4)
    with pytest.raises(InputError, match=r"y: expected an array of 3 columns, got shape \(10, 10, 30\)"):
        riesz_sum(x, y.numpy().reshape(10, 10, 30), power=4)
    with pytest.raises(InputError, match="weight: expected None, for chunks bring theirs"):
        riesz_sum(x, [y], power=4, weight=weight)
    with pytest.raises(InputError, match=r"y: expected a torch\.Tensor, got list"):
        riesz_sum(x, [[0.0, 1.0, 2.0]], power=4)
    with pytest.raises(InputError, match=r"y: expected a torch\.Tensor, got list"):
        riesz_sum(x, ["charges.npy"], power=4)
    with pytest.raises(InputError, match=r"plus: expected a torch\.Tensor, got str"):
        capacitor_field(x, x[:, 0], "charges.npy", y, 1.0)
    with pytest.raises(InputError, match="y: expected numbers that torch can hold, got dtype"):
        riesz_sum(x, np.zeros((4, 3), dtype="U2"), power=4)


_MEMORY = """
import resource, sys, numpy as np, torch
from efm_fast.field import riesz_sum, streaming
torch.set_num_threads(1)
streaming._CHUNK_ELEMENTS = 1 << 22
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
x = torch.rand(4, 1024) * 255
charges = np.load(sys.argv[1], mmap_mode="r")
riesz_sum(x, charges[:8000], power=1025)
before = peak()
riesz_sum(x, charges, power=1025)
print(peak() - before)
"""


def test_memory_is_flat_in_the_number_of_charges(tmp_path):
    """60000 charges of 1024 bytes: 60 MB as they are, 240 MB as float32; pages of the map may stay resident."""
    path = tmp_path / "charges.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(60_000, 1024))[:] = 7
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 100


@pytest.mark.parametrize("d", [2, 20, 100])
def test_streamed_plates_share_a_centre_too(d):
    q = query_set("far", 16, 90, d, seed=1)
    want = capacitor_field(q.x, q.z, q.plus, q.minus, q.L, backend="reference")
    for plus, minus in (
        (q.plus.numpy(), q.minus.numpy()),
        (iter(q.plus.split(40)), iter(q.minus.split(40))),
        (q.plus, list(q.minus.split(40))),
    ):
        got = capacitor_field(q.x, q.z, plus, minus, q.L)
        assert (got.direction.double() - want.direction).norm(dim=1).max() < promised_error("far", d)
    same = iter(q.plus.split(40))
    with pytest.raises(InputError, match="minus: expected charges of its own"):
        capacitor_field(q.x, q.z, same, same, q.L)
