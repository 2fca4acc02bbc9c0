"""What `log append --session NAME` keeps between runs, so that a rerun repeats nothing.

One file per name in the user's state directory. Before a group is sent, the file holds how far the
input was acknowledged, the cluster's session, the group's number, and the group's own payloads; it
is replaced atomically and fsynced. Whatever happens then (kill -9, power cut, no answer), the next
run sends that same group again, byte for byte, under the same session and number, and the cluster
answers it as if it had come once. An acknowledgement needs no write of its own: the group that
follows brings it to disk, and until then sending again is harmless.

The digest covers the acknowledged records, so that a rerun with another input is refused rather
than continued in the middle.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from raftlog import files, groups
from raftlog.checksum import crc32c
from raftlog.errors import InvalidGroup, InvalidInput, SafetyRefused

VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a named session came. `pending` is the group under way, if there is one."""

    cluster_id: str
    session: int
    number: int
    stream: str
    separator: str
    records: int = 0
    digest: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    pending: tuple[bytes, ...] = ()

    def acknowledged(self, records: Sequence[bytes], first: int, last: int) -> Progress:
        """Return the progress after a group was answered."""
        return dataclasses.replace(
            self,
            number=self.number + 1,
            records=self.records + len(records),
            digest=digest(records, self.separator.encode(), self.digest),
            first_sequence=first if self.first_sequence is None else self.first_sequence,
            last_sequence=last,
            pending=(),
        )


def digest(records: Sequence[bytes], separator: bytes, value: int = 0) -> int:
    """Return a checksum of records and where they end, continuing from `value`.

    However records are grouped, the digest of all of them is the same.
    """
    return crc32c(separator.join(records) + separator, value)


def state_directory() -> Path:
    """Return where sessions are kept: $XDG_STATE_HOME/raftlog/sessions, or under ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "raftlog" / "sessions"


class Journal:
    """The file of one named session. Hold `exclusive` while using it."""

    def __init__(self, name: str, directory: Path | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"session name {name!r}: use letters, digits, '.', '-' and '_'")
        self.name = name
        self.path = (directory or state_directory()) / f"{name}.session"

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep two runs from using the same name at once; raises `SafetyRefused`."""
        files.make_directory(self.path.parent)
        lock = self.path.with_suffix(".lock")
        with open(lock, "w", opener=files.private) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SafetyRefused(f"session {self.name!r} is in use by another process") from None
            yield

    def load(self) -> Progress | None:
        """Return what an earlier run left, or None.

        Raises:
            InvalidInput: the file does not parse.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        head, _, frame = content.partition(b"\n")
        try:
            fields = json.loads(head)
            version, checksum = fields.pop("version"), fields.pop("checksum")
            intact = (version, checksum) == (VERSION, crc32c(frame))
            pending = tuple(groups.parse(frame).payloads()) if frame else ()
            progress = Progress(**fields, pending=pending)
        except (ValueError, KeyError, TypeError, InvalidGroup) as error:
            raise InvalidInput(f"{self.path} does not parse: {error}") from None
        if not intact:
            raise InvalidInput(f"{self.path} is of another version, or damaged")
        return progress

    def save(self, progress: Progress) -> None:
        """Replace the file, durably, before returning."""
        frame = groups.pack(progress.pending) if progress.pending else b""
        fields = {f.name: getattr(progress, f.name) for f in dataclasses.fields(progress)}
        del fields["pending"]
        head = json.dumps({"version": VERSION, "checksum": crc32c(frame), **fields})
        files.write_durably(self.path, head.encode() + b"\n" + frame)
