"""A run as a folder with the names that the hub knows, written, published and opened.

    config.json          settings, lengths and support of the run, and the step of its weights
    model.safetensors    the averaged weights, what ``Run.export`` writes
    README.md            the model card
    pictures/            what the card shows

The folder holds no code and no pickle, and opening one imports no module that it names.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from .. import __version__, checks
from ..config import Config
from ..data.registry import PATHS
from ..data.spec import without_places
from ..errors import EfmError, InputError, RunError
from ..extras import extra
from ..files import naming, write_text
from ..methods import Problem, make_method
from ..runs.checkpoint import exported_weights
from ..runs.run import Run, fill, geometry_from, resolve_device, support_from, support_numbers, untrained
from ..runs.sources import sources_if_there, with_data
from .card import write_card

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
_FORMAT = 1
_KEYS = {"library_name", "format", "efm_fast", "step", "config", "geometry", "support"}
_REPO = re.compile(r"[\w.-]+/[\w.-]+|[\w-][\w.-]*")


def save_pretrained(run: Run, folder: str | Path, *, license: str | None = None) -> Path:
    """Write a run as a folder for the hub.

    A README.md that is there already stays as it is, so that a card can be edited by hand. Paths on this machine are
    not written.

    Args:
        run: a trained run.
        folder: made if it is not there.
        license: of the weights, an identifier of the hub such as "mit"; without one the card says that none was chosen.

    Returns:
        The folder.

    Raises:
        InputError: the folder is a run folder, or the field lies among latents.
        RunError: a file cannot be written.
        MissingPackageError: huggingface_hub is not installed.
    """
    folder = checks.folder("folder", folder)
    if run.autoencoder is not None:
        raise InputError(
            "run: expected one whose field lies among its data, got one among latents, which needs its autoencoder:"
            " FieldMatchingPipeline.from_run(run).save_pretrained(folder) writes both"
        )
    if license is not None:
        checks.instance("license", license, str, "an identifier of the hub such as 'mit'")
    if (folder / "config.yaml").exists():
        raise InputError(f"folder: expected one that is no run folder, got {str(folder)!r}")
    with naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings = _published(run.config)
    run.export(folder / WEIGHTS)
    content = {
        "library_name": "efm_fast",
        "format": _FORMAT,
        "efm_fast": __version__,
        "step": run.step,
        "config": settings,
        "geometry": dataclasses.asdict(run.geometry),
        "support": support_numbers(run.support),
    }
    write_text(folder / CONFIG, json.dumps(content, indent=1) + "\n")
    write_card(run, settings, folder, CARD, license)
    return folder


def push_to_hub(
    run: Run,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a run of efm_fast",
) -> str:
    """Write a run as a folder and upload it to the hub. Nothing else in this package uploads anything.

    Args:
        run: a trained run.
        repo_id: "user/name"; the repository is made if it is not there.
        license: see :func:`save_pretrained`.
        private: whether a repository that is made is private; None for the default of the account.
        token: of the account; None for the one that ``hf auth login`` saved.
        revision: branch; None for the main one.
        commit_message: of the upload.

    Returns:
        The address of the commit.

    Raises:
        InputError: not the name of a repository.
        RunError: the hub refuses or cannot be reached; the text says why.
        MissingPackageError: huggingface_hub is not installed.
    """
    if not isinstance(repo_id, str) or not _REPO.fullmatch(repo_id):
        raise InputError(f"repo_id: expected 'user/name', got {checks.describe(repo_id)}")
    with extra("hub"):
        from huggingface_hub import HfApi
    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(run, Path(temporary) / "run", license=license)
        try:
            api = HfApi(token=token)
            repo = api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo.repo_id, folder_path=folder, revision=revision, commit_message=commit_message
            )
        except (OSError, ValueError) as problem:  # the hub's own errors are of these
            raise RunError(f"{repo_id} was not uploaded: {_in_a_line(problem)}") from None
    return str(done)


def from_pretrained(
    folder_or_repo: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    plus: object = None,
    minus: object = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Run:
    """Open a run that ``save_pretrained`` wrote, from a folder or from the hub.

    Loading is strict: every tensor of the network has to be there, and no other. No code is run from a repository:
    a network or method of one's own has to be imported first. Data that are files of another machine are not there;
    sampling from starts ``x0`` does without.

    Args:
        folder_or_repo: a folder, which needs no network, or the name of a repository, "user/name".
        revision: branch, tag or commit of the repository.
        device: "auto", "cpu", "cuda" or "cuda:N".
        plus: the data on the plate z = 0 again, if they were in memory.
        minus: the data on the plate z = L again, if they were in memory.
        cache_dir: where downloads are kept; None for the hub's own cache.
        token: of an account, for private repositories.
        force_download: load again what is in the cache.
        local_files_only: take what is in the cache and ask nobody; ``HF_HUB_OFFLINE=1`` means the same.

    Returns:
        The run, with its averaged weights; its folder is the one that was read.

    Raises:
        RunError: nothing there, not such a folder, or a damaged one; or the hub cannot be reached.
        InputError: the device is not there, or other data than those of the run are given.
        MissingPackageError: huggingface_hub is not installed and a repository was named.
    """
    folder = checks.folder("folder_or_repo", folder_or_repo)
    if not os.path.isdir(folder):  # noqa: PTH112  pathlib raises where a name is too long
        options = {"cache_dir": cache_dir, "token": token}
        options |= {"force_download": force_download, "local_files_only": local_files_only}
        folder = _downloaded(str(folder_or_repo), revision, options)
    where = resolve_device(device)
    content = _read(folder)
    try:
        config = Config.of_plain(content["config"])
        geometry = geometry_from(content["geometry"], CONFIG)
        support = support_from(content["support"])
    except (EfmError, ValueError, TypeError, KeyError) as problem:
        raise RunError(f"{folder} does not describe a run of this version: {problem}") from None
    weights, step = exported_weights(folder / WEIGHTS, geometry, CONFIG)
    if step != content["step"]:
        raise RunError(
            f"{folder} mixes two runs: {CONFIG} is of step {content['step']}, {WEIGHTS} of step {step}"
        )
    config = with_data(folder, config, plus, minus)
    sources = sources_if_there(folder, config, geometry, "from_pretrained")
    method = make_method(config.method, Problem(geometry, *sources, config.seed))
    field = untrained(config, method)
    fill(field, weights, folder / WEIGHTS)
    return Run(folder, config, geometry, method, field.to(where).eval(), *sources, step, support)


def _read(folder: Path) -> dict[str, Any]:
    """What config.json in ``folder`` holds.

    Raises:
        RunError: it is not there, damaged, foreign, or of a later version.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        hint = "; efm_fast.load opens run folders" if (folder / "config.yaml").is_file() else ""
        raise RunError(
            f"{checks.place(folder)} holds no run: expected {CONFIG} and {WEIGHTS}, which save_pretrained writes{hint}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise RunError(f"{path} is damaged: {problem}") from None
    if not isinstance(content, dict) or content.get("library_name") != "efm_fast":
        raise RunError(f"{path} was not written by efm_fast: expected library_name efm_fast in it")
    if content.get("format") != _FORMAT:
        raise RunError(
            f"{path} is of format {checks.describe(content.get('format'))}, this version reads {_FORMAT}"
            f"; it was written by efm_fast {checks.describe(content.get('efm_fast'))}"
        )
    if content.keys() != _KEYS:
        odd = ", ".join(sorted(map(str, content.keys() ^ _KEYS)))
        raise RunError(f"{path} is damaged: missing or unknown entries {odd}")
    return content


def _downloaded(repo: str, revision: str | None, options: dict[str, Any]) -> Path:
    """The folder in the hub's cache that holds ``repo``; only the two files that are read are loaded.

    Raises:
        RunError: no such repository, or it cannot be had.
    """
    if not _REPO.fullmatch(repo):
        raise RunError(f"no folder at {checks.place(repo)}, and no repository can have that name")
    with extra("hub"):
        from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=[CONFIG, WEIGHTS], **options))
    except (OSError, ValueError) as problem:  # the hub's own errors are of these
        raise RunError(
            f"there is no folder {checks.place(repo)}, and the repository {repo!r} cannot be had: {_in_a_line(problem)}"
        ) from None


def _in_a_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300]


def _published(config: Config) -> dict[str, Any]:
    """The settings as plain data, without what says something about this machine."""
    plain = config.plain()
    plates = {plate: without_places(plain[plate], PATHS) for plate in ("plus", "minus")}
    return {**plain, "runs": "runs", "device": "auto", **plates}
