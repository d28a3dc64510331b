"""Data files that are damaged, hostile, big-endian or elsewhere: read rightly, or refused in one line."""

from __future__ import annotations

import io
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from efm_fast.data import make_source
from efm_fast.errors import InputError

ROWS = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)


def member(shape: tuple[int, ...], descr: str = "<f4", data: bytes = b"") -> bytes:
    """An .npy file whose header says whatever it likes."""
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(path: Path, content: bytes) -> Path:
    """An .npz file of one member."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("rows.npy", content)
    return path


def source(path: Path, **more: object):
    return make_source({"name": "npz", "path": str(path), "held_out": 0.0, **more})


HOSTILE = {
    "claims 800 GB": (member((200_000_000_000, 1)), "its header says 800,000,000,000 bytes, the file holds 0"),
    "claims more rows": (member((21, 3), data=ROWS.tobytes()), "says 252 bytes, the file holds 240"),
    "claims fewer rows": (member((19, 3), data=ROWS.tobytes()), "says 228 bytes, the file holds 240"),
    "negative": (member((-1, 3), data=ROWS.tobytes()), "says -12 bytes, the file holds 240"),
    "objects": (member((1,), "|O", b"\x80\x04N."), "expected numbers, got dtype object; nothing is unpickled"),
    "text": (member((2,), "<U1", b"a\0\0\0b\0\0\0"), "expected numbers, got dtype <U1"),
    "dates": (member((1,), "<M8[s]", bytes(8)), "expected numbers, got dtype datetime64"),
    "records": (member((1,), [("a", "<f4")], bytes(4)), "expected numbers, got dtype"),
    "complex": (member((1, 2), "<c8", bytes(16)), " data: expected a real dtype, got torch.complex64"),
    "not an array": (b"hello", "cannot read .* as arrays of numbers"),
    "empty": (b"", "cannot read .* as arrays of numbers"),
    "a dtype torch has not": (member((1, 2), "<f16", bytes(32)), "data: expected a dtype that torch has, got float128"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_npz_is_refused_by_its_header(tmp_path: Path, case: str) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(InputError, match=f"^npz.*{message}") as caught:
        source(archive(tmp_path / "bad.npz", content))
    assert "\n" not in str(caught.value)


def test_an_array_beyond_this_machine_is_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "large.npz", member((20, 3), data=ROWS.tobytes()))
    monkeypatch.setattr("efm_fast.data.npz._memory", lambda: 100)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("read before it was looked at"))
    with pytest.raises(InputError, match="needs 240 bytes, this machine has 100; a torch Dataset"):
        source(path)


def test_a_damaged_npz_is_refused_or_read_wholly(tmp_path: Path) -> None:
    """Bytes flipped at random: one line, or the rows as they were; never another exception."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rows=ROWS)
    whole, chance = buffer.getvalue(), random.Random(0)
    refused = 0
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(chance.choice((1, 3))):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        (tmp_path / "damaged.npz").write_bytes(raw[: chance.choice((len(raw), chance.randrange(len(raw))))])
        try:
            assert torch.equal(source(tmp_path / "damaged.npz").all(), torch.from_numpy(ROWS))
        except InputError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i4", ">u2", "<f2", "|i1", "|u1", "<u8", "<i8"])
def test_every_dtype_of_numbers_gives_the_same_rows(tmp_path: Path, dtype: str) -> None:
    numbers = np.arange(60).reshape(20, 3)
    np.savez(tmp_path / "rows.npz", rows=numbers.astype(dtype))
    rows = torch.from_numpy(numbers).float()
    expected = rows / 127.5 - 1.0 if dtype == "|u1" else rows
    assert torch.equal(source(tmp_path / "rows.npz").all(), expected)
    tensor = {"name": "tensor", "data": numbers.astype(dtype), "held_out": 0.0}
    assert torch.equal(make_source(tensor).all(), expected)
    assert torch.equal(make_source({**tensor, "data": numbers.astype(dtype).T.copy().T}).all(), expected)


def test_a_relative_path_says_where_was_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for spec, place in (
        ({"name": "npz", "path": "sub/rows.npz"}, f"a file at '{tmp_path / 'sub' / 'rows.npz'}'"),
        ({"name": "imagefolder", "root": "pictures"}, f"a folder at '{tmp_path / 'pictures'}'"),
        ({"name": "npz", "path": "."}, f"a file at '{tmp_path}'"),
        ({"name": "mnist", "root": "sets"}, f"no copy in '{tmp_path / 'sets'}'"),
    ):
        with pytest.raises(InputError) as caught:
            make_source(spec)
        assert place in str(caught.value)
        assert "relative" in str(caught.value) or spec["name"] == "mnist"


def picture(path: Path, grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (10, 8), (grey, grey, grey)).save(path)


def test_pictures_of_a_flat_folder_are_read_in_order(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    for k in range(4):
        picture(tmp_path / f"{k}.png", 50 * k)
    (tmp_path / "notes.txt").write_text("no picture")
    flat = make_source({"name": "imagefolder", "root": str(tmp_path), "size": 4, "held_out": 0.0})
    assert flat.shape == (3, 4, 4)
    assert flat.labels() is None
    torch.testing.assert_close(flat.all().mean(1), torch.tensor([0.0, 50, 100, 150]) / 127.5 - 1)

    picture(tmp_path / "cats" / "a.png", 10)
    with pytest.raises(InputError, match=r"got both: '.*0\.png' and '.*a\.png'"):
        make_source({"name": "imagefolder", "root": str(tmp_path)})


def test_pictures_of_class_folders_have_labels(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    for k, name in enumerate(("cats/a.png", "cats/deep/b.png", "dogs/c.PNG", "dogs/d.png")):
        picture(tmp_path / name, 50 * k)
    classes = make_source({"name": "imagefolder", "root": str(tmp_path), "size": 4, "held_out": 0.0})
    assert classes.labels().tolist() == [0, 0, 1, 1]
    (tmp_path / "cats" / "e.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"imagefolder root: .*e\.png") as caught:
        make_source({"name": "imagefolder", "root": str(tmp_path)})
    assert "\n" not in str(caught.value)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"imagefolder root: .*class folder"):
        make_source({"name": "imagefolder", "root": str(tmp_path / "none")})


def test_crops_are_windows_of_the_kept_picture_and_what_is_held_out_is_its_middle(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    ramp = np.arange(100, dtype=np.uint8).reshape(10, 10)
    for k in range(2):
        Image.fromarray(np.stack([ramp + 100 * k] * 3, 2)).save(tmp_path / f"{k}.png")
    settings = {"name": "imagefolder", "root": str(tmp_path), "size": 6, "crop": 4, "held_out": 0.5}
    made = make_source(settings)
    assert made.shape == (3, 6, 6)
    drawn = (
        ((made.draw(400, torch.Generator().manual_seed(0)) + 1) * 127.5).round().long().reshape(-1, 3, 6, 6)
    )
    first = drawn[:, 0, 0, 0] % 100
    window = torch.arange(6) * 10
    assert torch.equal(drawn - drawn[:, :1, :1, :1], (window[:, None] + torch.arange(6)).expand(400, 3, 6, 6))
    assert set((first // 10).tolist()) == set((first % 10).tolist()) == set(range(5))
    middle = ((made.all("test") + 1) * 127.5).round().long()[0, 0] % 100
    assert middle == 22
    with pytest.raises(InputError, match="imagefolder crop"):
        make_source({**settings, "crop": -1})
