"""Files and directories that their owner alone may read: they hold what users have written."""

from __future__ import annotations

import contextlib
import os
import pathlib
import stat

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private(path: str, flags: int) -> int:
    """Open a file, made with mode 0600 if it is not there: the `opener` of the built-in `open`."""
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def make_directory(path: pathlib.Path) -> None:
    """Make a directory with mode 0700; one that is there already stays as it is."""
    path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)


def close_to_others(path: pathlib.Path) -> None:
    """Take the group's and the others' rights from a directory, if it is this user's.

    A volume that belongs to another user and was given to this one by group stays as it is.
    """
    mode = path.stat().st_mode
    if mode & _OTHERS:
        with contextlib.suppress(PermissionError):
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
