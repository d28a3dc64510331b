"""The errors efm_fast raises on purpose; the command line prints their text without a traceback."""


class EfmError(Exception):
    """Base of every error that is the user's to mend; its text says what to do.

    Attributes:
        shared: whether every process of a job raises it, so that the first alone says it.
    """

    shared: bool = False


class InputError(EfmError, ValueError):
    """An argument, a setting or a data set is not what the function needs."""


class BackendUnavailableError(EfmError, RuntimeError):
    """A backend was asked for by name and cannot serve the call; the text says why."""


class MissingPackageError(EfmError, ImportError):
    """A package that an extra of efm_fast installs is missing; the text names both."""


class RunError(EfmError, RuntimeError):
    """A run folder or a checkpoint is missing, truncated, foreign or already there."""


class NothingArrivedWarning(RuntimeWarning):
    """Not one line of a map reached a plate, so its ends are no samples."""
