"""What would be left after a power cut: a record of every fsync, new directory and new name.

A file is safe once its content was synced, then given its name, and then its directory was synced;
a directory, once the one above it was synced after it was made. LMDB syncs in C, unseen from here:
what it does is asserted by its flags.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable

import pytest


class Syncs:
    """Events in their order: (what, path, inode)."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, pathlib.Path, int]] = []
        self._synced_bytes: dict[int, int] = {}
        """By inode: how long a file was when it was synced last."""
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._syncing(getattr(os, name)))
        for name in ("rename", "replace"):
            patch.setattr(os, name, self._naming(getattr(os, name)))
        patch.setattr(os, "mkdir", self._making(os.mkdir))

    def _add(self, what: str, path: str | os.PathLike[str]) -> None:
        place = pathlib.Path(path).absolute()
        self.events.append((what, place, place.stat().st_ino))

    def _syncing(self, real: Callable[..., None]) -> Callable[..., None]:
        def sync(descriptor) -> None:
            real(descriptor)
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            place = pathlib.Path(f"/proc/self/fd/{number}").readlink()
            self._add("sync", place)
            status = place.stat()
            self._synced_bytes[status.st_ino] = status.st_size

        return sync

    def _naming(self, real: Callable[..., None]) -> Callable[..., None]:
        def name(source, target, **options) -> None:
            real(source, target, **options)
            self._add("name", target)

        return name

    def _making(self, real: Callable[..., None]) -> Callable[..., None]:
        def make(path, *arguments, **options) -> None:
            real(path, *arguments, **options)
            self._add("make", path)

        return make

    def _at(self, what: str, path: pathlib.Path) -> list[int]:
        inode = path.stat().st_ino
        return [
            at for at, (kind, _, found) in enumerate(self.events) if (kind, found) == (what, inode)
        ]

    def at_risk(self, path: pathlib.Path, *, is_synced_elsewhere: bool = False) -> list[str]:
        """Return why a power cut now could lose this file or directory; [] if it cannot.

        `is_synced_elsewhere`: the content is synced where nothing here can see it.
        """
        why = []
        named = max(self._at("name", path), default=-1)
        if path.is_file() and not is_synced_elsewhere:
            contents = self._at("sync", path)
            if not contents:
                why.append(f"the content of {path} was never synced")
            elif named >= 0 and min(contents) > named:
                why.append(f"{path} had its name before its content was synced")
            elif self._synced_bytes[path.stat().st_ino] < path.stat().st_size:
                why.append(f"some of {path} came after it was synced")
            named = max(named, min(contents, default=-1) if named < 0 else named)
        place, since = path, max(named, *self._at("make", path), -1)
        while since >= 0:
            if max(self._at("sync", place.parent), default=-1) < since:
                why.append(f"{place.parent} was not synced after {place.name} came into it")
            place = place.parent
            since = max(self._at("make", place), default=-1)
        return why


def crash_at_sync(patch: pytest.MonkeyPatch) -> None:
    """Let the next sync fail, as a power cut would end it."""

    def crash(_descriptor) -> None:
        raise OSError("power cut")

    patch.setattr(os, "fsync", crash)
