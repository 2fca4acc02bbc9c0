"""Ships the log into a directory as it is committed, so that a restore can stop at any point in it.

The directory begins with a backup; segments follow it. What has arrived is durable before more is
asked for. After a crash, a lost connection or a failover it goes on behind the last entry that is
there. Where the log was purged meanwhile, a new backup is made and followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from raftlog import files
from raftlog.backup.catalog import SEGMENT_SUFFIX, SUFFIX, Description, chains, find
from raftlog.client.client import Client
from raftlog.client.values import BackupEntries
from raftlog.core.entries import Boundary
from raftlog.errors import (
    Compacted,
    ConnectFailed,
    InvalidInput,
    NotFound,
    Overloaded,
    SafetyRefused,
    StorageError,
    Unavailable,
)
from raftlog.storage.backup_file import Origin
from raftlog.storage.segment_file import OPEN_SUFFIX, SegmentWriter

LOCK_FILE = ".lock"
PAUSE_SECONDS = 1.0
P = ParamSpec("P")
T = TypeVar("T")
PASSING = (Unavailable, ConnectFailed, Overloaded, NotFound)
"""What another member, or a later moment, may not meet."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShipSettings:
    """How to ship. `rate`: bytes a second of a backup; 0: no limit.

    A segment is closed when it has so many bytes, or is so old.
    """

    member: str | None = None
    rate: float = 0.0
    segment_bytes: int = 64 << 20
    segment_seconds: float = 3600.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """How far it has come. `behind`: entries that are committed and not here yet."""

    sequence: int
    timestamp: int
    behind: int
    served_by: str


async def _on_disk(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Run disk work on a thread; who is cancelled waits for it: it is at a file."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *arguments, **named))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


class Shipper:
    """Ships one cluster's log into one directory."""

    def __init__(
        self,
        client: Client,
        directory: pathlib.Path,
        settings: ShipSettings,
        told: Callable[[Shipped], None],
        warn: Callable[[str], None],
    ) -> None:
        self._client = client
        self._directory = directory
        self._settings = settings
        self._told = told
        self._warn = warn
        self._segment: SegmentWriter | None = None
        self._begun_at = time.monotonic()
        self._last: Shipped | None = None

    async def run(self, *, once: bool) -> Shipped | None:
        """Ship until this is cancelled; `once`: until all that was committed at the start is here.

        Raises:
            InvalidInput: the directory cannot be used.
            SafetyRefused: another process ships into it, or it is of another cluster.
            StorageError: it cannot be written.
        """
        with self._exclusive():
            try:
                while True:
                    try:
                        await self._ship(once=once)
                    except Compacted as error:
                        self._warn(f"{error.message}; a new backup is made")
                        await _on_disk(self._close_segment)
                        await self._make_base()
                    except PASSING as error:
                        if once:
                            raise
                        self._warn(f"{error.message}; trying again")
                        await asyncio.sleep(PAUSE_SECONDS)
                    else:
                        return self._last
            except OSError as error:
                why = error.strerror or error
                raise StorageError(f"cannot write {self._directory}: {why}") from None
            finally:
                if self._segment is not None:
                    self._segment.close()

    async def _ship(self, *, once: bool) -> None:
        """Follow the log from where the directory ends; returns only where `once` is done."""
        place = await _on_disk(self._find_end)
        if place is None:
            await self._make_base()
            place = await _on_disk(self._find_end)
        if place is None:
            raise InvalidInput(f"{self._directory} holds no backup that can be followed")
        base, reached = place
        pieces = self._client.backup.follow(
            cluster_id=base.cluster_id,
            after=reached.index,
            checksum=reached.checksum,
            member=self._settings.member,
        )
        wanted: int | None = None
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                wanted = piece.commit_index if wanted is None else wanted
                if piece.data:
                    reached = await _on_disk(self._add, base, reached, piece)
                elif self._is_old():
                    await _on_disk(self._close_segment)
                self._last = Shipped(
                    sequence=reached.next_sequence - 1,
                    timestamp=reached.timestamp,
                    behind=max(0, piece.commit_index - reached.index),
                    served_by=piece.served_by,
                )
                self._told(self._last)
                if once and reached.index >= wanted:
                    return
        raise Unavailable("the stream ended")

    def _find_end(self) -> tuple[Description, Boundary] | None:
        """Return the newest backup and where what follows it ends; take up its open segment."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        for path in self._directory.glob(f"*{OPEN_SUFFIX}"):
            segment = SegmentWriter.resume(path)
            if segment is None:
                path.unlink()  # a crash came before there was anything in it
            else:
                segment.close()
        made = chains(find(self._directory))
        if not made:
            return None
        parts, reached = made[0]
        last = parts[-1].path
        if last.suffix == OPEN_SUFFIX:
            self._segment = SegmentWriter.resume(last)
            self._begun_at = time.monotonic()
        return parts[0], reached

    def _add(self, base: Description, reached: Boundary, piece: BackupEntries) -> Boundary:
        """Make entries durable; return where the directory ends then."""
        if self._segment is None:
            name = f"log-{reached.index + 1:020d}{OPEN_SUFFIX}"
            origin = Origin(
                cluster_id=base.cluster_id,
                predecessors=(),
                node_id=piece.served_by,
                created_microseconds=time.time_ns() // 1000,
                writer=base.writer,
                start=reached,
            )
            (self._directory / name).unlink(missing_ok=True)  # one without entries
            self._segment = SegmentWriter.begin(self._directory / name, origin)
            self._begun_at = time.monotonic()
        self._segment.append(piece.data)
        reached = self._segment.reached
        if self._segment.size_bytes >= self._settings.segment_bytes or self._is_old():
            self._close_segment()
        return reached

    def _is_old(self) -> bool:
        age = time.monotonic() - self._begun_at
        return self._segment is not None and age >= self._settings.segment_seconds

    def _close_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            name = segment.path.name.removesuffix(OPEN_SUFFIX)
            name = f"{name}-{segment.reached.index:020d}{SEGMENT_SUFFIX}"
            segment.finish(self._directory / name)

    async def _make_base(self) -> None:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        await self._client.backup.create(
            self._directory / f"base-{moment}{SUFFIX}",
            member=self._settings.member,
            rate=self._settings.rate,
        )

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Keep a second process from shipping into the directory."""
        try:
            files.make_directory(self._directory)
            descriptor = files.private(str(self._directory / LOCK_FILE), os.O_RDWR | os.O_CREAT)
        except OSError as error:
            why = error.strerror or error
            raise InvalidInput(f"cannot use {self._directory}: {why}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise SafetyRefused(f"another process ships into {self._directory}") from None
        finally:
            os.close(descriptor)
