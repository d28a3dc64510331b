"""Modules with sources of one's own: imported by name, recorded by a run, never imported by opening one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from efm_fast.data import import_sources, make_source
from efm_fast.errors import InputError

RINGS = """
import torch
from efm_fast.data import Source, register_source

@register_source("{name}")
class Rings(Source):
    name, shape = "{name}", (2,)

    def draw(self, n, generator, split="train"):
        return torch.rand(n, 2, generator=generator)
"""


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("own_rings", "own_file", "own_broken", "own_needy", "own_syntax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from efm_fast.data import registry

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))


def test_a_module_of_the_working_folder_registers_its_sources(tmp_path: Path) -> None:
    (tmp_path / "own_rings.py").write_text(RINGS.format(name="rings"))
    import_sources(["own_rings"])
    assert make_source("rings").shape == (2,)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "own_file.py").write_text(RINGS.format(name="deep_rings"))
    import_sources(["own_rings", "deep/own_file.py", "deep/own_file.py"])
    assert make_source("deep_rings").shape == (2,)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_missing", "expected a module, looked for own_missing in '.*' and among what is installed"),
        ("own_missing.part", "expected a module, looked for own_missing.part in"),
        (
            "own_missing.py",
            r"expected a file at '.*own_missing\.py' \(relative paths start at the working folder\)",
        ),
        ("own_broken", "own_broken failed with ValueError: two lines"),
        ("own_syntax", "own_syntax failed with SyntaxError"),
        ("own_needy", "own_needy needs no_such_package, which is not installed"),
        ("json.py", r"'.*json\.py' has the name of another module, .*; rename the file"),
        ("", "import: "),
        ("a b", "import: expected a module"),
        ("..x", "import: "),
    ],
)
def test_a_module_that_cannot_be_imported_gets_one_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "own_broken.py").write_text("raise ValueError('two\\nlines')")
    (tmp_path / "own_syntax.py").write_text("def (")
    (tmp_path / "own_needy.py").write_text("import no_such_package")
    (tmp_path / "json.py").write_text("")
    with pytest.raises(InputError, match=message) as caught:
        import_sources([name])
    assert "\n" not in str(caught.value)


SCRIPT = """
import sys, efm_fast
from efm_fast.data import import_sources
{imports}
settings = dict(name="own", runs="runs", plus="gaussian", minus="rings",
                method=dict(L=6.0, points=dict(charges=32)), net=dict(width=8, depth=1),
                train=dict(steps=2, batch=16))
{work}
"""


def python(imports: str, work: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(imports=imports, work=work)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def test_a_run_names_the_modules_of_its_sources_and_does_not_import_them(tmp_path: Path) -> None:
    (tmp_path / "own_rings.py").write_text(RINGS.format(name="rings"))
    done = python("import_sources(['own_rings'])", "efm_fast.train(settings, progress=False)")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((tmp_path / "runs" / "own" / "config.yaml").read_text())["imports"] == ["own_rings"]
    calls = "efm_fast.load('runs/own'); efm_fast.resume('runs/own', progress=False)"
    done = python("", f"assert 'own_rings' not in sys.modules; {calls}")
    assert (
        done.stderr.strip()
        .splitlines()[-1]
        .startswith("efm_fast.errors.RunError: runs/own: minus: source name:")
    )
    assert "(its sources came from own_rings: import that first; on the command line --import)" in done.stderr
    assert python("import_sources(['own_rings'])", calls).returncode == 0
