"""The file in the data directory that keeps what an operator has switched at this member."""

from __future__ import annotations

import pathlib

from raftlog.errors import StorageError
from raftlog.files import write_durably

NAME = "SWITCHES"


class FileSwitches:
    """One small file, replaced as a whole."""

    def __init__(self, data_dir: str) -> None:
        self._path = pathlib.Path(data_dir) / NAME

    def load(self) -> bytes:
        """Return what the file holds; b"" if there is none."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise StorageError(f"{self._path} cannot be read: {error.strerror}") from None

    def save(self, content: bytes) -> None:
        """Replace the file, durably."""
        try:
            write_durably(self._path, content)
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written: {error.strerror}") from None
