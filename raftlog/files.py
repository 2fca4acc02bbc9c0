"""Files and directories: readable by their owner alone, as they hold what users have written.

What is made here is durable when the call returns: contents first, then the name.
"""

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


def make_directory(path: pathlib.Path, *, mode: int = DIRECTORY_MODE) -> None:
    """Make a directory, and what is missing above it, durably.

    One that is there already stays as it is.
    """
    missing = [place for place in (path, *path.parents) if not place.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for made in reversed(missing):
        sync_directory(made.parent)


def sync_directory(path: pathlib.Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: pathlib.Path, content: bytes, *, mode: int = FILE_MODE) -> None:
    """Write a small file so that after a crash it is whole: the new one or the old one."""
    staged = path.with_name(path.name + ".new")
    staged.unlink(missing_ok=True)
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    staged.replace(path)
    sync_directory(path.parent)


def close_to_others(path: pathlib.Path) -> None:
    """Take the group's and the others' rights from a directory, if it is this user's.

    A volume that belongs to another user and was given to this one by group stays as it is.
    """
    mode = path.stat().st_mode
    if mode & _OTHERS:
        with contextlib.suppress(PermissionError):
            path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
