"""What the package says of itself in several places is the same in all of them."""

from __future__ import annotations

from importlib.metadata import metadata
from pathlib import Path

import yaml

import efm_fast

ROOT = Path(__file__).parents[2]


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    installed = metadata("efm_fast")
    assert str(citation["version"]) == efm_fast.__version__ == installed["Version"]
    assert citation["license"] == installed["License-Expression"]
    (paper,) = citation["references"]
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert paper["title"] in readme
    assert ", ".join(author["family-names"] for author in paper["authors"]) in readme


def test_wheels_are_built_for_the_versions_that_the_classifiers_name() -> None:
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = [
        row.rpartition(" ")[2]
        for row in metadata("efm_fast").get_all("Classifier") or []
        if row.startswith("Programming Language :: Python :: 3.")
    ]
    wheels = ", ".join(f'"cp{version.replace(".", "")}-*"' for version in named)
    assert named[0] == (metadata("efm_fast")["Requires-Python"] or "").removeprefix(">=")
    assert f"build = [{wheels}]" in settings
