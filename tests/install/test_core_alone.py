"""The core needs torch and numpy alone; whatever needs more names the missing package and the extra that brings it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = (
    "matplotlib",
    "mpl_toolkits",
    "ot",
    "PIL",
    "pydantic",
    "safetensors",
    "scipy",
    "sklearn",
    "tqdm",
    "typer",
    "yaml",
)
WITHOUT = f"""
import importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {TRAIN}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
import torch, efm_fast
"""
CORE = """
torch.set_num_threads(1)
x, y, z = torch.randn(5, 2), torch.randn(7, 2), torch.full((5,), 0.5)
efm_fast.riesz_sum(x, y, power=3, height=z)
efm_fast.riesz_sum(x, y.numpy(), power=3, height=z)
efm_fast.gaussian_sum(x, y, bandwidth=1.0)
field = efm_fast.capacitor_field(x, z, y, y + 3, 2.0)
assert torch.isfinite(field.direction).all()
efm_fast.potential(x, y, height=z)
efm_fast.trace_lines(x, torch.full((5,), 0.1), y, y + 3, 2.0, max_steps=20)
efm_fast.forward_map(efm_fast.ExactField(efm_fast.Plates(y, y + 3, 2.0)), x, steps=4)
"""
TOUCHES = {
    "efm_fast.train": "pyyaml|pydantic",
    "efm_fast.Config": "pyyaml|pydantic",
    "efm_fast.load": "pyyaml|pydantic",
    "efm_fast.resume": "pyyaml|pydantic",
    "efm_fast.sample": "pyyaml|pydantic",
    "efm_fast.evaluate": "pyyaml|pydantic",
    "efm_fast.diagnose": "pyyaml|pydantic|tqdm",
    "__import__('efm_fast.training')": "pyyaml|pydantic",
    "__import__('efm_fast.lines.physics')": "scipy",
    "efm_fast.riesz_sum(x, y.numpy(), power=3, progress=True)": "tqdm",
    "metrics.wasserstein2(x, y)": "POT",
    "metrics.outlier_threshold(x, y)": "scikit-learn",
    "data.make_source('digits', seed=0)": "scikit-learn",
    "plots.plot_transport(x, y, 'never.png')": "matplotlib",
}


def child(script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT + script]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_sums_fields_and_lines_need_torch_and_numpy_alone() -> None:
    done = child(CORE)
    assert done.returncode == 0, done.stderr


def test_what_needs_more_names_the_package_and_the_extra() -> None:
    script = f"""
from efm_fast import data, metrics, plots
from efm_fast.errors import EfmError
x, y = torch.randn(5, 2), torch.randn(7, 2)
for touch in {tuple(TOUCHES)}:
    try:
        eval(touch)
    except ImportError as problem:
        assert isinstance(problem, EfmError), touch
        print(problem)
    else:
        print("no error")
"""
    done = child(script)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    for (touch, packages), line in zip(TOUCHES.items(), said, strict=True):
        expected = rf"({packages}) is needed here and is not installed: pip install 'efm_fast\[train\]'"
        assert re.fullmatch(expected, line), (touch, line)


def test_the_command_line_without_its_extra_says_so_in_one_line() -> None:
    done = child("from efm_fast.__main__ import main\nmain()\n")
    assert done.returncode == 1
    expected = r"efm-fast: \w+ is needed here and is not installed: pip install 'efm_fast\[train\]'\n"
    assert re.fullmatch(expected, done.stderr), done.stderr


def packages(node: ast.AST) -> set[str]:
    """Packages that an import statement names, without the dots of efm_fast's own."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    return (
        {(node.module or "").partition(".")[0]}
        if isinstance(node, ast.ImportFrom) and not node.level
        else set()
    )


def unguarded(node: ast.AST) -> set[str]:
    """Packages that are imported below ``node``, but neither under ``with extra(...)`` nor for types alone."""
    if isinstance(node, ast.With) and "extra(" in ast.unparse(node.items[0]):
        return set()
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return set()
    return packages(node).union(*map(unguarded, ast.iter_child_nodes(node)))


@pytest.mark.parametrize("path", sorted((ROOT / "efm_fast").rglob("*.py")), ids=lambda p: p.name)
def test_every_import_beyond_the_core_says_which_extra_brings_it(path: Path) -> None:
    own = {
        "torch",
        "numpy",
        "diffusers",
        "torchvision",
        "tensorboard",
    }  # the last three have messages of their own
    assert unguarded(ast.parse(path.read_text())) - own - set(sys.stdlib_module_names) == set()


def test_the_core_requires_torch_and_numpy_and_the_tests_all_of_training() -> None:
    rows = requires("efm_fast") or []
    assert {re.split(r"[^\w-]", row)[0] for row in rows if "extra ==" not in row} == {"torch", "numpy"}
    assert any("train" in row and re.search(r"extra == .test.", row) for row in rows)
