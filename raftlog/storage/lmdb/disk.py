"""The free-space guard and the reserve, so that a full disk never fails a commit (decision 12).

After any failed commit nothing about the file can be trusted and the node stops, so running out of
space must be foreseen: appends are refused while the file system is nearly full, and only rounds of
term and vote go on, and of what was accepted before. For those a file of preallocated bytes lies
ready. It is given back before such a round begins, never after one failed, and is made again once
there is room.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import Callable

from raftlog import files
from raftlog.errors import DiskFull
from raftlog.storage.lmdb.environment import StorageSettings
from raftlog.storage.lmdb.layout import RESERVE_FILE

URGENT_BYTES = 4 << 20
"""What a round of term and vote may need: the pages of a few tree paths, and slack."""
TIGHT_BYTES = 16 << 20
"""Below this any round may fail for want of room, and with it the node."""
_GROWTH = 2
"""Bytes of file taken per byte appended, at worst: page rounding and copied tree pages."""
_RETRY_SECONDS = 60.0
"""How long after a failed try the reserve is not tried again."""


class DiskGuard:
    """Watches the file system a data directory lies on."""

    def __init__(
        self,
        path: pathlib.Path,
        settings: StorageSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._reserve = path / RESERVE_FILE
        self._settings = settings
        self._monotonic = monotonic
        self._checked_at = float("-inf")
        self._free = 0
        self._total = 1
        self._has_reserve = self._reserve.exists()
        self._retry_at = float("-inf")
        self.is_tight = False
        """Whether so little was free at the last look that a round must be made room for."""

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve is in place."""
        return self._has_reserve

    def refusal(self, bytes_wanted: int) -> str | None:
        """Return why an append of that many bytes must be refused now, or None."""
        return self.refusal_of_file(bytes_wanted * _GROWTH)

    def refusal_of_file(self, bytes_taken: int, *, fresh: bool = False) -> str | None:
        """Return why a file that takes that many bytes must not be made now, or None.

        `fresh`: by what is free at this moment, and not a moment ago.
        """
        self._look(fresh=fresh)
        # A reserve that was given back is not room: it is owed, and comes back before appends do.
        owed = 0 if self._has_reserve else self._settings.reserve_bytes
        return self._shortage(bytes_taken + owed)

    def _shortage(self, bytes_taken: int) -> str | None:
        """Say what is free and what must stay free, if that many bytes would eat into it."""
        left = self._free - bytes_taken
        floor = max(
            self._settings.free_bytes_min,
            int(self._total * self._settings.free_fraction_min),
        )
        if left >= floor:
            return None
        return (
            f"disk nearly full: {self._free >> 20} MiB of {self._total >> 20} MiB are free on the "
            f"file system of {self._path}, {floor >> 20} MiB must stay free: free space there, or "
            "make it larger; no restart is needed"
        )

    def require(self, bytes_wanted: int, what: str) -> None:
        """Raise `DiskFull` if that many bytes would eat into what must stay free."""
        reason = self.refusal(bytes_wanted)
        if reason is not None:
            raise DiskFull(f"{what}: {reason}")

    def make_room(self, bytes_wanted: int = URGENT_BYTES) -> None:
        """Give the reserve back if a round might not find room without it.

        Appends are refused long before. What was accepted until then, and the state that follows
        from it, still has to get to the disk.
        """
        if not self._has_reserve:
            return
        self._look(fresh=True)
        if self._free < bytes_wanted:
            with contextlib.suppress(OSError):
                self._reserve.unlink()
            self._has_reserve = False

    def make_reserve(self) -> None:
        """Put the reserve in place if it is missing and there is room for it. Never raises."""
        size = self._settings.reserve_bytes
        if self._has_reserve or not size or self._monotonic() < self._retry_at:
            return
        self._look()
        if self._shortage(size) is not None:
            return
        try:
            descriptor = files.private(str(self._reserve), os.O_RDWR | os.O_CREAT)
            try:
                _allocate(descriptor, size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError:
            self._retry_at = self._monotonic() + _RETRY_SECONDS
            with contextlib.suppress(OSError):
                self._reserve.unlink()
            return
        self._has_reserve = True

    def _look(self, *, fresh: bool = False) -> None:
        now = self._monotonic()
        if not fresh and now - self._checked_at < self._settings.guard_seconds:
            return
        status = os.statvfs(self._path)
        self._free = status.f_bavail * status.f_frsize
        self._total = max(1, status.f_blocks * status.f_frsize)
        self.is_tight = self._free < TIGHT_BYTES
        self._checked_at = now


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    block = bytes(1 << 20)
    for start in range(0, size, len(block)):
        os.pwrite(descriptor, block[: size - start], start)
