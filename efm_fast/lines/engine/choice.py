"""The choice of the engine that follows lines: the extension follows whole lines in one call, torch steps all together.

The ``backend`` of the sums makes the choice. With "auto" and "cpp" the extension follows whole lines if it can; with
every other backend torch takes the steps. The argument comes before EFM_FAST_BACKEND, and that before "auto". The older
``engine=`` and EFM_FAST_LINES still work, with a warning.
"""

from __future__ import annotations

import functools
import os
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ... import checks, native
from ...errors import BackendUnavailableError
from ...field.backends import requested_name
from ...field.request import Precision
from ...field.torch_op import watched
from ...types import Plates
from ..geometry.places import Places

Engine = Literal["auto", "torch", "extension"]
WholeLines = Literal["never", "where it can", "always"]

#: The older variable, for one more version.
ENVIRONMENT_VARIABLE = "EFM_FAST_LINES"

_EXTENSION = "cpp"  # its name among the backends
_DIMENSION_CPU = 64  # above it the sums are matrix products, which are fast only for many lines together
_DTYPES_CPU = (torch.float32, torch.float64)
_HERE = 4  # frames from a warning to the caller of a map


@dataclass(frozen=True)
class EngineChoice:
    """The choice of a caller.

    Attributes:
        backend: backend of the sums over charges; "auto" or a name that ``efm-fast info`` lists.
        whole_lines: whether the extension follows whole lines.
        torch_alone: whether "torch" was named, so that steps along a learned field do not use the extension either.
    """

    backend: str
    whole_lines: WholeLines
    torch_alone: bool = False


@dataclass(frozen=True)
class LineProblem:
    """Lines that start at ``x`` [N, D], ``z`` [N] between the ``plates``, with the sums' precision and the method."""

    x: Tensor
    z: Tensor
    plates: Plates
    precision: Precision = "default"
    method: str | None = None

    @functools.cached_property
    def places(self) -> Places:
        """Where lines may end: the distinct places of the minus charges."""
        return Places.of(self.plates.minus)


def choose(backend: str, engine: str | None = None) -> EngineChoice:
    """Return the choice that ``backend``, the older ``engine`` or the environment makes.

    Raises:
        InputError: no backend, or no engine, has that name.
    """
    name = requested_name(backend)
    older = _older_spelling(engine, backend)
    if older == "torch":
        return EngineChoice(backend, "never", torch_alone=True)
    if older == "extension":
        return EngineChoice(backend, "always")
    return EngineChoice(
        backend,
        "where it can" if name in ("auto", _EXTENSION) else "never",
        torch_alone=name in ("torch", "reference"),
    )


def _older_spelling(engine: str | None, backend: str) -> str:
    """Return the value of ``engine=`` or EFM_FAST_LINES, with a warning; "auto" if neither is given."""
    names = ("auto", "torch", "extension")
    what, asked = "engine", "auto" if engine is None else checks.choice("engine", engine, names)
    if asked == "auto" and backend == "auto" and ENVIRONMENT_VARIABLE in os.environ:
        what = ENVIRONMENT_VARIABLE
        asked = checks.choice(what, os.environ[ENVIRONMENT_VARIABLE], names)
    elif engine is None:
        return "auto"
    warnings.warn(
        f"{what} will go in the next version: name the backend instead, "
        "'cpp' for whole lines by the extension, 'torch' for plain torch",
        DeprecationWarning,
        stacklevel=_HERE,
    )
    return asked


def takes_whole_lines(problem: LineProblem, choice: EngineChoice) -> bool:
    """Return whether the extension follows these lines whole.

    Raises:
        BackendUnavailableError: the extension was named and cannot follow them; the text says why.
    """
    if choice.whole_lines == "never":
        return False
    reason = why_not(problem)
    if choice.whole_lines == "always" and choice.backend not in ("auto", _EXTENSION):
        reason = f"backend={choice.backend!r} was asked for, and it sums over charges by its own kernels"
    if reason is not None and choice.whole_lines == "always":
        raise BackendUnavailableError(f"engine 'extension' cannot integrate these lines: {reason}")
    return reason is None


def fuses_steps(choice: EngineChoice) -> bool:
    """Return whether the extension may take the steps between two calls of a learned field.

    Raises:
        BackendUnavailableError: the extension was named and is missing, or was named for whole lines.
    """
    if choice.whole_lines == "always":
        raise BackendUnavailableError("engine 'extension' integrates an ExactField; this field is another")
    if choice.backend == _EXTENSION:
        native.extension()
    return not choice.torch_alone


def why_not(problem: LineProblem) -> str | None:
    """Return a sentence that says why the extension cannot integrate these lines whole; None if it can."""
    missing = native.why_missing()
    if missing is not None:
        return missing
    tensors = (problem.x, problem.z, problem.plates.plus, problem.plates.minus)
    for charges in tensors[2:]:
        if charges.device != problem.x.device:
            return f"the lines are on {problem.x.device}, and charges on {charges.device}"
    if watched(*tensors):
        return "a gradient, a transform or a compiler asks for every step, and it takes all in one call"
    if problem.precision == "exact" and problem.x.dtype != torch.float64:
        return "precision='exact' of float32 lines sums in float64, which it does for float64 lines only"
    if problem.method == "bs23":
        return "it has no steps of method 'bs23'"
    kind = problem.x.device.type
    if kind == "cpu":
        return _why_not_on_the_cpu(problem.x)
    if kind == "cuda":
        return _why_not_on_cuda(problem.x)
    return f"it serves CPU and CUDA tensors, and the lines are on {problem.x.device}"


def _why_not_on_the_cpu(x: Tensor) -> str | None:
    if x.shape[1] > _DIMENSION_CPU:
        return f"on the CPU it serves up to {_DIMENSION_CPU} features, got {x.shape[1]}"
    if x.dtype not in _DTYPES_CPU:
        return f"it serves float32 and float64 lines, got {x.dtype}"
    return None


def _why_not_on_cuda(x: Tensor) -> str | None:
    if not hasattr(native.extension(), "cuda_trace_lines"):
        return "it was built without its CUDA part: nvcc was not found then"
    limit = native.extension().line_dimension_cuda
    if x.shape[1] > limit:
        return f"on a CUDA device it serves up to {limit} features, got {x.shape[1]}"
    if x.dtype != torch.float32:
        return f"on a CUDA device it serves float32 lines, got {x.dtype}"
    return None
