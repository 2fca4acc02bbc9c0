"""A segment of the log that is being written: durable piece by piece, resumed after a crash.

It lies under another name until it is closed: then it has its trailer and its footer, is synced,
and is renamed. What a crash left behind the last sound chunk is cut off, and shipped again.
"""

from __future__ import annotations

import os
import pathlib
from typing import BinaryIO

from raftlog import files
from raftlog.errors import StorageError
from raftlog.storage.backup_file import (
    ENTRIES,
    BackupReader,
    Contents,
    Framing,
    Origin,
    unpack_entries,
)

OPEN_SUFFIX = ".rlopen"


class SegmentWriter:
    """One open segment; made by `begin` and `resume`. For one thread at a time.

    `reached` is behind its last durable entry.
    """

    def __init__(
        self, path: pathlib.Path, file: BinaryIO, framing: Framing, held: Contents
    ) -> None:
        self.path = path
        self.reached = held.end
        self._count = held.entry_count
        self._file = file
        self._framing = framing

    @classmethod
    def begin(cls, path: pathlib.Path, origin: Origin) -> SegmentWriter:
        """Begin a new segment at `path`, durably."""
        file, framing = open(path, "xb", opener=files.private), Framing()  # noqa: SIM115
        made = cls(path, file, framing, Contents(end=origin.start, entry_count=0))
        made.write(framing.head(origin))
        files.sync_directory(path.parent)
        return made

    @classmethod
    def resume(cls, path: pathlib.Path) -> SegmentWriter | None:
        """Return the segment that was left open at `path`; None if not even its head is whole.

        Raises:
            OSError: it cannot be read or written.
        """
        with path.open("rb") as file:
            try:
                reader = BackupReader(file, is_open=True)
            except StorageError:
                return None
        written = path.open("r+b")
        written.truncate(reader.end_offset)
        written.seek(reader.end_offset)
        return cls(path, written, Framing.resumed(reader), reader.contents)

    @property
    def size_bytes(self) -> int:
        """Return how large it is."""
        return self._framing.size

    def append(self, payload: bytes) -> None:
        """Add a chunk of entries, durably.

        Raises:
            StorageCorrupt: one fails a checksum, or they do not follow what is there.
        """
        entries = unpack_entries(payload, self.reached)
        self.write(self._framing.chunk(ENTRIES, payload))
        self._count += len(entries)
        for entry in entries:
            self.reached = self.reached.after(entry)

    def finish(self, path: pathlib.Path) -> None:
        """Make it whole, and give it its name."""
        self.write(self._framing.end(Contents(end=self.reached, entry_count=self._count)))
        self._file.close()
        self.path.rename(path)
        files.sync_directory(path.parent)

    def close(self) -> None:
        """Leave it open on disk, to be resumed."""
        self._file.close()

    def write(self, piece: bytes) -> None:
        """Write bytes, durably."""
        self._file.write(piece)
        self._file.flush()
        os.fsync(self._file.fileno())
