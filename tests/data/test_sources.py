"""Every source: shapes, splits, and a plain sentence for whatever cannot be."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_moons, make_swiss_roll
from torch.utils.data import TensorDataset

from efm_fast.data import Source, make_source, register_source, resolve_source, source_names
from efm_fast.errors import InputError


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Numbered(torch.utils.data.Dataset):
    """Item k is (k, k) with label k % 3, blurred by torch's global random numbers if asked."""

    def __init__(self, count=20, noisy=False):
        self.count, self.noisy = count, noisy

    def __len__(self):
        return self.count

    def __getitem__(self, k):
        return torch.full((2,), float(k)) + (torch.rand(2) if self.noisy else 0), k % 3


READY = {
    "gaussian": {"name": "gaussian", "dimension": 5},
    "noise images": {"name": "gaussian", "shape": [3, 8, 8], "std": 2},
    "mixture": "mixture",
    "swiss_roll": "swiss_roll",
    "moons": "moons",
    "digits": "digits",
    "digits 3 at 16": {"name": "digits", "label": 3, "size": 16},
    "tensor": {"name": "tensor", "data": torch.arange(40.0).reshape(20, 2)},
    "byte images": {
        "name": "tensor",
        "data": np.random.default_rng(0).integers(0, 256, (20, 3, 4, 4), np.uint8),
    },
    "dataset": {"name": "dataset", "dataset": Numbered()},
}


@pytest.mark.parametrize("spec", READY.values(), ids=READY)
@pytest.mark.parametrize("split", ["train", "test"])
def test_draws_are_float32_rows_fixed_by_the_generator(spec, split):
    source = make_source(spec, seed=4)
    x = source.draw(7, generator(1), split)
    assert x.shape == (7, source.dimension)
    assert source.dimension == math.prod(source.shape)
    assert x.dtype == torch.float32
    assert torch.isfinite(x).all()
    assert torch.equal(x, source.draw(7, generator(1), split))
    assert not torch.equal(x, source.draw(7, generator(2), split))


@pytest.mark.parametrize("spec", READY.values(), ids=READY)
def test_bad_draws_name_the_argument(spec):
    source = make_source(spec)
    with pytest.raises(InputError, match=r"n: expected an integer of at least 1, got 0"):
        source.draw(0, generator())
    with pytest.raises(
        InputError, match=r"split: expected one of train, test, got 'tset'; did you mean test"
    ):
        source.draw(1, generator(), "tset")
    with pytest.raises(InputError, match=r"generator: expected a torch\.Generator on the CPU, got int"):
        source.draw(1, 3)


def test_endless_sources_have_no_size_and_say_so():
    source = make_source("moons")
    assert source.size() is None
    assert source.labels() is None
    with pytest.raises(InputError, match="endless"):
        source.all()


@pytest.mark.parametrize("key", ["tensor", "byte images", "dataset"])
def test_finite_splits_are_disjoint_complete_and_fixed(key):
    source = make_source(READY[key], seed=3)
    rows = {split: {tuple(r) for r in source.all(split).tolist()} for split in ("train", "test")}
    assert len(rows["train"]) == source.size("train") == 16
    assert len(rows["test"]) == source.size("test") == 4
    assert not rows["train"] & rows["test"]
    for split in rows:
        drawn = {tuple(r) for r in source.draw(200, generator(), split).tolist()}
        assert drawn == rows[split]
    assert torch.equal(make_source(READY[key], seed=3).all("test"), source.all("test"))
    assert not torch.equal(make_source(READY[key], seed=5).all("test"), source.all("test"))


def test_bytes_stay_bytes_in_memory_and_become_minus_one_to_one():
    data = torch.tensor([[0, 255], [51, 204]], dtype=torch.uint8)
    source = make_source({"name": "tensor", "data": data, "held_out": 0.0})
    assert source._rows["train"].dtype == torch.uint8
    torch.testing.assert_close(source.all(), torch.tensor([[-1.0, 1.0], [-0.6, 0.6]]))


def test_labels_follow_their_rows():
    data = torch.arange(30.0).reshape(30, 1)
    source = make_source({"name": "tensor", "data": data, "labels": torch.arange(30) % 4})
    for split in ("train", "test"):
        assert torch.equal(source.labels(split), source.all(split)[:, 0].long() % 4)
    pairs = make_source({"name": "dataset", "dataset": Numbered()})
    assert torch.equal(pairs.labels("test"), pairs.all("test")[:, 0].long() % 3)
    assert make_source({"name": "dataset", "dataset": TensorDataset(data)}).labels() is None


def test_dataset_randomness_is_seeded_by_the_draw_and_leaves_the_global_state():
    source = make_source({"name": "dataset", "dataset": Numbered(noisy=True)})
    torch.manual_seed(0)
    first = source.draw(5, generator())
    after = torch.rand(3)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(99)
    assert torch.equal(source.draw(5, generator()), first)


def test_toy_laws_match_the_ones_they_are_named_after():
    x = make_source({"name": "gaussian", "dimension": 3, "std": 2.0}).draw(40000, generator())
    torch.testing.assert_close(x.T.cov(), 4 * torch.eye(3), atol=0.1, rtol=0)
    mixture = make_source("mixture").draw(8000, generator())
    angle = (torch.atan2(mixture[:, 1], mixture[:, 0]) / (2 * math.pi / 8)).round().long() % 8
    assert angle.bincount(minlength=8).min() > 850
    assert abs(mixture.norm(dim=1).mean() - 2.0) < 0.02
    roll = make_source("swiss_roll").draw(40000, generator())
    theirs = torch.from_numpy(make_swiss_roll(40000, noise=0.5, random_state=0)[0][:, [0, 2]]) / 5
    torch.testing.assert_close(roll.T.cov().double(), theirs.T.cov(), atol=0.05, rtol=0)
    torch.testing.assert_close(roll.mean(0).double(), theirs.mean(0), atol=0.03, rtol=0)
    moons = make_source("moons").draw(40000, generator())
    theirs = torch.from_numpy(make_moons(40000, noise=0.05, random_state=0)[0])
    torch.testing.assert_close(moons.T.cov().double(), theirs.T.cov(), atol=0.02, rtol=0)
    torch.testing.assert_close(moons.mean(0).double(), theirs.mean(0), atol=0.02, rtol=0)


def test_npz_is_read_by_key(tmp_path):
    path = tmp_path / "two.npz"
    np.savez(path, a=np.zeros((4, 2)), b=np.ones((4, 3), np.float64))
    assert torch.equal(make_source({"name": "npz", "path": str(path), "key": "b"}).all(), torch.ones(3, 3))
    with pytest.raises(InputError, match="npz key: expected one of a, b, got none"):
        make_source({"name": "npz", "path": str(path)})
    with pytest.raises(InputError, match="npz key: expected one of a, b, got 'c'"):
        make_source({"name": "npz", "path": str(path), "key": "c"})
    np.savez(path, np.ones((4, 3)))
    assert make_source({"name": "npz", "path": str(path)}).shape == (3,)


def test_npz_refuses_pickles_and_broken_files(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(
        InputError, match=r"npz path: .* expected numbers, got dtype object; nothing is unpickled"
    ):
        make_source({"name": "npz", "path": str(path)})
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=r"npz path: expected an \.npz file, cannot read"):
        make_source({"name": "npz", "path": str(path)})
    with pytest.raises(InputError, match="which is not there"):
        make_source({"name": "npz", "path": str(tmp_path / "none.npz")})
    np.save(tmp_path / "one.npy", np.ones((4, 2)))
    with pytest.raises(InputError, match="single array"):
        make_source({"name": "npz", "path": str(tmp_path / "one.npy")})


BAD = {
    "NaN": ({"name": "tensor", "data": [[1.0, math.nan], [1, 1]]}, "finite numbers, got 1 NaN"),
    "inf": ({"name": "tensor", "data": torch.full((3, 2), math.inf)}, "got 6 NaN or infinite, the first at .0, 0."),
    "empty": ({"name": "tensor", "data": torch.zeros(0, 2)}, "expected at least one row"),
    "no features": ({"name": "tensor", "data": torch.zeros(3, 0)}, "expected at least one row"),
    "scalar": ({"name": "tensor", "data": 3.0}, "expected shape|at least 2 rows"),
    "flat": ({"name": "tensor", "data": torch.zeros(5)}, r"expected shape \[M, D\] or \[M, C, H, W\]"),
    "rank 3": ({"name": "tensor", "data": torch.zeros(5, 4, 4)}, r"expected shape \[M, D\]"),
    "complex": ({"name": "tensor", "data": torch.zeros(5, 2, dtype=torch.cfloat)}, "expected a real dtype"),
    "strings": ({"name": "tensor", "data": [["a"], ["b"]]}, "expected a tensor or an array .* got list"),
    "one row": ({"name": "tensor", "data": torch.zeros(1, 2)}, "set held_out=0"),
    "share": ({"name": "tensor", "data": torch.zeros(5, 2), "held_out": 1.0}, "held_out: expected"),
    "labels": ({"name": "tensor", "data": torch.zeros(5, 2), "labels": [1, 2]}, "expected 5 whole numbers"),
    "digit": ({"name": "digits", "label": 12}, "digits label: expected one of 0, 1"),
    "true digit": ({"name": "digits", "label": True}, "digits label: expected one of 0, 1"),
    "size": ({"name": "digits", "size": 9}, "digits size: expected 8, 16 or 32, got 9"),
    "std": ({"name": "gaussian", "std": 0.0}, "gaussian std: expected a finite number above 0"),
    "text": ({"name": "gaussian", "dimension": "two"}, "expected an integer of at least 1, got 'two'"),
    "shape": ({"name": "gaussian", "shape": [3, 8]}, r"expected \(D,\) or \(C, H, W\)"),
    "both": ({"name": "gaussian", "shape": [3, 8, 8], "dimension": 5}, "expected 192 as in shape, got 5"),
    "noise": ({"name": "moons", "noise": -1}, "moons noise: expected a finite number of at least 0, got -1"),
    "name": ("digit", "source name: expected one of .* got 'digit'; did you mean digits"),
    "key": ({"name": "digits", "lable": 3}, "setting of source digits: .* did you mean label"),
    "missing": ({"name": "npz"}, "source npz: expected the setting path, got none"),
    "no name": ({"label": 3}, "expected a name or a mapping with a name"),
    "no items": ({"name": "dataset", "dataset": Numbered(0)}, "expected at least one item"),
    "not a set": ({"name": "dataset", "dataset": 3}, r"expected one with len and \[index\], got int"),
    "item kind": ({"name": "dataset", "dataset": ["a", "b"]}, r"dataset\[0\]: expected a tensor"),
    "mnist": ({"name": "mnist", "root": "/nowhere"}, "mnist: no copy in '/nowhere'.* set download=true"),
    "cifar10": ({"name": "cifar10", "root": "/nowhere"}, "cifar10: no copy .* set download=true"),
    "folder": ({"name": "imagefolder", "root": "/nowhere"}, "imagefolder root: expected a folder"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "message"), BAD.values(), ids=BAD)
def test_bad_specs_get_one_line(spec, message):
    with pytest.raises(InputError, match=message) as caught:
        make_source(spec)
    assert "\n" not in str(caught.value)


def test_dataset_items_must_agree():
    items = [torch.zeros(2), torch.zeros(3)] * 5
    with pytest.raises(InputError, match=r"dataset\[\d\]: expected shape \(2,\), got \(3,\)"):
        make_source({"name": "dataset", "dataset": items}).all()


def test_no_test_split_without_held_out_rows():
    source = make_source({"name": "tensor", "data": torch.zeros(1, 2), "held_out": 0})
    assert source.size("test") == 0
    with pytest.raises(InputError, match="the test split is empty; set held_out above 0"):
        source.draw(1, generator(), "test")


def test_resolved_specs_carry_their_defaults_and_build_the_same_source():
    spec = resolve_source({"name": "digits", "label": 3})
    assert spec == {"name": "digits", "label": 3, "size": 8}
    a, b = make_source(spec), make_source({"name": "digits", "label": 3})
    assert torch.equal(a.all(), b.all())
    assert resolve_source("moons") == {"name": "moons", "noise": 0.05}


def test_users_can_add_their_own_and_pass_a_ready_one():
    @register_source("always_one")
    class AlwaysOne(Source):
        name = "always_one"
        shape = (2,)

        def draw(self, n, generator, split="train"):
            return torch.ones(n, 2)

    try:
        assert "always_one" in source_names()
        source = make_source("always_one")
        assert make_source(source) is source
        with pytest.raises(InputError, match="'always_one' is taken by"):
            register_source("always_one")(lambda: source)
    finally:
        from efm_fast.data import registry

        del registry._FACTORIES["always_one"]


def test_digits_are_the_real_ones_split_by_shape():
    source = make_source("digits")
    assert source.size("train") + source.size("test") == 1797
    assert 0.19 < source.size("test") / 1797 < 0.21
    real = torch.from_numpy(load_digits().images / 16).float()
    train, test = source.shapes("train"), source.shapes("test")
    assert torch.equal(torch.cat([train, test]).sum((1, 2)).sort().values, real.sum((1, 2)).sort().values)
    assert torch.cdist(test.flatten(1), train.flatten(1)).min() > 0
    assert source.labels("test").bincount().min() >= 34


def test_one_digit_is_dealt_as_in_the_full_set():
    full, threes = make_source("digits", seed=1), make_source({"name": "digits", "label": 3}, seed=1)
    for split in ("train", "test"):
        assert torch.equal(full.shapes(split)[full.labels(split) == 3], threes.shapes(split))
        assert torch.equal(threes.every_class().shapes(split), full.shapes(split))
    assert set(threes.labels().tolist()) == {3}


def test_digits_are_painted_fully_saturated_on_black_and_anew_each_time():
    source = make_source({"name": "digits", "label": 2})
    x = source.draw(300, generator()).reshape(300, 3, 8, 8) / 2 + 0.5
    grey = x.amax(1)
    assert torch.cdist(grey.flatten(1), source.shapes().flatten(1)).min(1).values.max() < 1e-3
    lit = grey.flatten(1).argmax(1)
    pixel = x.flatten(2).gather(2, lit[:, None, None].expand(-1, 3, 1))[:, :, 0]
    torch.testing.assert_close(pixel.amin(1), torch.zeros(300), atol=1e-6, rtol=0)
    from efm_fast.data import rgb_to_hue

    hue = rgb_to_hue(pixel).sort().values
    assert (hue - torch.linspace(0, 1, 300)).abs().max() < 0.1  # uniform: Kolmogorov distance
    assert torch.equal(source.all(), source.all())
