"""From a byte stream to transactions: lines or NUL-ended records, in groups, in bounded memory.

A thread of its own reads, because a pipe may be silent for hours; it is at most a few groups ahead
of the cluster. The event loop takes what is there, as much as fits one group.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from raftlog.errors import InvalidInput, TooLarge

T = TypeVar("T")

CHUNK_BYTES = 256 * 1024
GROUP_RECORDS_MAX = 8192
GROUP_BYTES_MAX = 1024 * 1024
GROUPS_AHEAD_MAX = 8
TRANSACTION_BYTES_MAX = 16 * 1024 * 1024
NEWLINE, NUL = b"\n", b"\0"


class Splitter:
    """Cuts a stream at a separator. A last record without one counts, unless it is empty."""

    def __init__(self, separator: bytes, bytes_max: int = TRANSACTION_BYTES_MAX) -> None:
        self._separator = separator
        self._bytes_max = bytes_max
        self._parts: list[bytes] = []
        self._rest_bytes = 0
        self.count = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the records that `chunk` completes.

        Raises:
            TooLarge: a record is over the limit of one transaction.
        """
        records = chunk.split(self._separator)
        if len(records) == 1:
            self._keep(chunk)
            return []
        if self._parts:
            records[0] = b"".join((*self._parts, records[0]))
            self._parts.clear()
            self._rest_bytes = 0
        last = records.pop()
        if max(map(len, records)) > self._bytes_max:
            at = next(i for i, record in enumerate(records) if len(record) > self._bytes_max)
            self._refuse(self.count + at + 1)
        self.count += len(records)
        self._keep(last)
        return records

    def finish(self) -> list[bytes]:
        """Return the last record, if the stream did not end with a separator."""
        rest = b"".join(self._parts)
        self._parts.clear()
        if not rest:
            return []
        self.count += 1
        return [rest]

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._parts.append(part)
        self._rest_bytes += len(part)
        if self._rest_bytes > self._bytes_max:
            self._refuse(self.count + 1)

    def _refuse(self, number: int) -> None:
        raise TooLarge(
            f"record {number} is over {self._bytes_max} bytes, the limit of one transaction"
        )


class Source:
    """A file descriptor read by a thread; `take` gives the next group. Loop-bound.

    `bytes_read` counts what was taken, for a progress bar.
    """

    def __init__(self, descriptor: int, separator: bytes) -> None:
        self._descriptor = descriptor
        self._splitter = Splitter(separator)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[list[bytes], int] | BaseException | None] = asyncio.Queue()
        self._room = threading.Semaphore(GROUPS_AHEAD_MAX)
        self._next: tuple[list[bytes], int] | None = None
        self._ended = False
        self._unreported = 0
        self.bytes_read = 0
        threading.Thread(target=self._read, name="reader", daemon=True).start()

    async def take(self) -> list[bytes]:
        """Return the next records, at most a group's worth; [] at the end.

        Raises:
            TooLarge: a record is over the limit. InvalidInput: the file cannot be read.
        """
        records: list[bytes] = []
        size = 0
        while True:
            part = self._next or await self._get(wait=not records)
            self._next = None
            if part is None:
                return records
            more, read_bytes = part
            if records and not _fits(records, size, more):
                self._next = part
                return records
            records = records + more if records else more
            size += sum(map(len, more))
            self.bytes_read += read_bytes

    async def _get(self, *, wait: bool) -> tuple[list[bytes], int] | None:
        if self._ended or (not wait and self._queue.empty()):
            return None
        part = await self._queue.get()
        self._room.release()
        if isinstance(part, tuple):
            return part
        self._ended = True
        if isinstance(part, BaseException):
            raise part
        return None

    # ------------------------------------------------------------ the reader thread

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            while chunk := os.read(self._descriptor, CHUNK_BYTES):
                self._hand_over(self._splitter.feed(chunk), len(chunk))
            self._hand_over(self._splitter.finish(), 0)
        except OSError as error:
            end = InvalidInput(f"the input cannot be read: {error.strerror}")
        except TooLarge as error:
            end = error
        self._put(end)

    def _hand_over(self, records: list[bytes], read_bytes: int) -> None:
        self._unreported += read_bytes
        start = 0
        while start < len(records):
            stop, size = start, 0
            while stop < len(records) and stop - start < GROUP_RECORDS_MAX:
                size += len(records[stop])
                if size > GROUP_BYTES_MAX and stop > start:
                    break
                stop += 1
            self._put((records[start:stop], self._unreported))
            self._unreported = 0
            start = stop

    def _put(self, part: tuple[list[bytes], int] | BaseException | None) -> None:
        self._room.acquire()
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._queue.put_nowait, part)


def _fits(records: list[bytes], size: int, more: list[bytes]) -> bool:
    together = len(records) + len(more)
    return together <= GROUP_RECORDS_MAX and size + sum(map(len, more)) <= GROUP_BYTES_MAX


def read_whole(descriptor: int, bytes_max: int = TRANSACTION_BYTES_MAX) -> bytes:
    """Return the whole input, as one transaction.

    Raises:
        TooLarge: it is over the limit. InvalidInput: it cannot be read.
    """
    parts: list[bytes] = []
    size = 0
    try:
        while chunk := os.read(descriptor, CHUNK_BYTES):
            parts.append(chunk)
            size += len(chunk)
            if size > bytes_max:
                raise TooLarge(
                    f"the input is over {bytes_max} bytes, the limit of one transaction; "
                    "--lines makes a transaction of each line"
                )
    except OSError as error:
        raise InvalidInput(f"the input cannot be read: {error.strerror}") from None
    return b"".join(parts)


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Run blocking work in a thread that the process does not wait for when it ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Exception as raised:  # noqa: BLE001 - raised again by whoever awaits
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="worker", daemon=True).start()
    return future
