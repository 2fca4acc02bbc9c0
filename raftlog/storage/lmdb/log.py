"""The log in LMDB: verified reads, and what a round does to it inside its transaction.

Reads may come from any thread; they use the entry cache, else a read transaction that ends within
the call. Writes come from the one writer; each step takes the log's shape and returns the shape it
leaves, and `publish` makes that visible once the commit succeeded. A reader may therefore look for
a record that a commit under way has just purged: what seems missing or damaged is looked at again
under the write lock before it is believed.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import lmdb

from raftlog.core.entries import Boundary, Entry, Seal
from raftlog.errors import Compacted, StorageCorrupt, invariant
from raftlog.interfaces import StreamSpan
from raftlog.storage.entry_cache import EntryCache
from raftlog.storage.lmdb.environment import Databases, Opened, map_error
from raftlog.storage.lmdb.layout import decode_index, encode_index
from raftlog.storage.lmdb.stream_index import (
    delete_streams,
    find_streams,
    list_streams,
    put_streams,
    sweep_streams,
)
from raftlog.storage.records import (
    HEADER_BYTES,
    Header,
    decode_entry,
    decode_header,
    encode_entry,
)
from raftlog.storage.rules import LogShape
from raftlog.storage.streams import stream_names
from raftlog.types import Index

if TYPE_CHECKING:
    from lmdb import _Database as Database

_STREAM_KIND_OFFSET = 1
_STREAM_CODEC_OFFSET = 2

T = TypeVar("T")


def check_link(seal: Seal, previous: int, entry: Entry) -> None:
    """Check that `entry` follows an entry whose chained checksum is `previous`.

    Raises:
        StorageCorrupt: it does not.
    """
    sealed = seal(
        previous,
        entry.term,
        entry.index,
        entry.kind,
        entry.codec,
        entry.first_sequence,
        entry.count,
        entry.timestamp,
        entry.payload,
    )
    if sealed != entry.checksum:
        raise StorageCorrupt(f"record {entry.index} does not follow the one before it")


VERIFY_BYTES = 1 << 20


class LmdbLog:
    """The log of one data directory."""

    def __init__(
        self,
        environment: lmdb.Environment,
        databases: Databases,
        *,
        shape: LogShape,
        seal: Seal,
        cache_bytes_max: int,
    ) -> None:
        self.opened = Opened(environment, databases)
        self._seal = seal
        self._shape = shape
        self._cache = EntryCache(cache_bytes_max)
        self.write_lock = threading.RLock()
        self.cache_hits = 0
        self.cache_misses = 0

    @property
    def shape(self) -> LogShape:
        """Return the durable log's shape."""
        return self._shape

    @property
    def cache_bytes(self) -> int:
        """Return the bytes the entry cache holds."""
        return self._cache.size_bytes

    # ------------------------------------------------------------ reading

    def entry(self, index: Index) -> Entry:
        """See `LogReader.entry`."""
        self._check_kept(index)
        cached = self._cache.get(index)
        if cached is not None:
            self.cache_hits += 1
            return cached
        self.cache_misses += 1
        return self._read_run(index, index, 0)[0]

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """See `LogReader.entries`."""
        self._check_kept(low)
        invariant(low <= high <= self._shape.last_index, f"no entries {low} to {high} in the log")
        found: list[Entry] = []
        size = 0
        index = low
        while index <= high:
            cached = self._cache.get(index)
            if cached is None:
                stop = self._first_cached(index, high)
                run = self._read_run(index, stop, bytes_max - size)
                self.cache_misses += len(run)
            else:
                run = [cached]
                self.cache_hits += 1
            for entry in run:
                size += entry.size
                if found and size > bytes_max:
                    return found
                found.append(entry)
            index = Index(run[-1].index + 1)
        return found

    def term(self, index: Index) -> int:
        """See `LogReader.term`."""
        return self._position(index)[0]

    def checksum(self, index: Index) -> int:
        """See `LogReader.checksum`."""
        return self._position(index)[1]

    def find_sequence(self, sequence: int) -> Index:
        """See `LogReader.find_sequence`."""
        shape = self._shape
        boundary = shape.boundary
        if sequence < boundary.next_sequence:
            raise Compacted(
                f"sequence {sequence} was purged; the oldest one kept is {boundary.next_sequence}"
            )
        if sequence >= shape.next_sequence:
            return Index(shape.last_index + 1)
        low, high = boundary.index + 1, int(shape.last_index)
        while low < high:
            middle = (low + high) // 2
            if self._header(Index(middle)).next_sequence > sequence:
                high = middle
            else:
                low = middle + 1
        return Index(low)

    def stream_indexes(self, stream: str, low: Index, high: Index, count_max: int) -> list[Index]:
        """See `LogReader.stream_indexes`."""
        shape = self._shape
        low = Index(max(low, shape.boundary.index + 1))
        high = Index(min(high, shape.last_index))
        if low > high or not stream:
            return []
        try:
            environment, databases = self.opened
            with environment.begin(buffers=True) as txn:
                return find_streams(txn, databases.stream, stream.encode(), low, high, count_max)
        except lmdb.Error as error:
            raise map_error(error, "cannot read the stream index") from None

    def streams(self, after: str, high: Index, count_max: int) -> list[StreamSpan]:
        """See `LogReader.streams`."""
        high = Index(min(high, self._shape.last_index))
        try:
            environment, databases = self.opened
            with environment.begin(buffers=True) as txn:
                bounds = Index(self._shape.boundary.index + 1), high
                found = list_streams(txn, databases.stream, after.encode(), bounds, count_max)
        except lmdb.Error as error:
            raise map_error(error, "cannot read the stream index") from None
        return [StreamSpan(name.decode(errors="replace"), *span) for name, *span in found]

    def verify(self, low: Index, high: Index) -> Index:
        """Read about a megabyte of low..high from disk, past the cache; return how far it came.

        Raises `StorageCorrupt`.
        """
        return self._read_run(low, high, VERIFY_BYTES)[-1].index

    # ------------------------------------------------------------ writing, inside a round

    def truncate(
        self, txn: lmdb.Transaction[memoryview], shape: LogShape, truncate_from: Index
    ) -> LogShape:
        """Drop the log from `truncate_from` up, damaged records above the end included."""
        last = Index(min(truncate_from - 1, shape.last_index))
        if last == shape.boundary.index:
            kept = LogShape.empty(shape.boundary)
        elif last == shape.last_index:
            kept = shape
        else:
            header = _read_header(txn, self.opened.databases.log, last)
            kept = dataclasses.replace(
                shape,
                last_index=last,
                last_term=header.term,
                last_checksum=header.checksum,
                next_sequence=header.next_sequence,
            )
        dropped = 0
        streams: list[tuple[bytes, Index]] = []
        sound = True
        for index, record in self._delete(txn, truncate_from, shape.physical_last):
            dropped += max(0, len(record) - HEADER_BYTES)
            try:
                entry = decode_entry(index, record)
                names = stream_names(entry.kind, entry.codec, entry.payload)
                streams += ((name, index) for name in names)
            except StorageCorrupt:
                sound = False
        if sound:
            delete_streams(txn, self.opened.databases.stream, streams)
        else:
            sweep_streams(txn, self.opened.databases.stream, truncate_from)
        return dataclasses.replace(
            kept, physical_last=last, payload_bytes=shape.payload_bytes - dropped
        )

    def append(
        self, txn: lmdb.Transaction[memoryview], shape: LogShape, entries: Sequence[Entry]
    ) -> LogShape:
        """Add entries that `rules.check_entries` passed."""
        if shape.physical_last > shape.last_index:
            shape = self.truncate(txn, shape, Index(shape.last_index + 1))
        records: list[tuple[bytes, bytes]] = []
        streams: list[tuple[bytes, Index]] = []
        for entry in entries:
            records.append((encode_index(entry.index), encode_entry(entry)))
            names = stream_names(entry.kind, entry.codec, entry.payload)
            if names:
                streams += [(name, entry.index) for name in names]
        cursor = txn.cursor(self.opened.databases.log)
        _, added = cursor.putmulti(records, append=True)
        if added != len(records):
            raise StorageCorrupt("the log holds records above its end: its tree is damaged")
        if streams:
            put_streams(txn, self.opened.databases.stream, streams)
        return shape.extended(entries)

    def purge(
        self, txn: lmdb.Transaction[memoryview], shape: LogShape, purge_to: Boundary
    ) -> LogShape:
        """Drop entries up to `purge_to`, which becomes the boundary.

        Records are dropped unread but for their first bytes, which name the streams; a damaged one
        may leave a key in the stream index, below the boundary, where no reader looks.
        """
        dropped = 0
        streams: list[tuple[bytes, Index]] = []
        for index, record in self._delete(txn, Index(shape.boundary.index + 1), purge_to.index):
            dropped += max(0, len(record) - HEADER_BYTES)
            if len(record) > HEADER_BYTES:
                kind, codec = record[_STREAM_KIND_OFFSET], record[_STREAM_CODEC_OFFSET]
                names = stream_names(kind, codec, record[HEADER_BYTES:])
                streams += ((name, index) for name in names)
        delete_streams(txn, self.opened.databases.stream, streams)
        return dataclasses.replace(
            shape, boundary=purge_to, payload_bytes=max(0, shape.payload_bytes - dropped)
        )

    def switch(self, opened: Opened, boundary: Boundary) -> None:
        """Go on in another file, whose log is empty behind `boundary`: that of a snapshot.

        A reader may still look in the old one, or for what the new one has not; it looks again.
        """
        self.opened, self._shape = opened, LogShape.empty(boundary)
        self._cache.clear()

    def position_in(self, txn: lmdb.Transaction[memoryview], index: Index) -> tuple[int, int]:
        """Return term and chained checksum at `index`, as the transaction sees it."""
        header = _read_header(txn, self.opened.databases.log, index)
        return header.term, header.checksum

    def publish(
        self,
        shape: LogShape,
        *,
        truncated_from: Index | None,
        entries: tuple[Entry, ...],
    ) -> None:
        """Make visible what a successful commit left."""
        before, self._shape = self._shape, shape
        if truncated_from is not None:
            self._cache.truncate(truncated_from)
        if entries:
            self._cache.extend(entries)
        if shape.boundary.index != before.boundary.index:
            self._cache.purge(shape.boundary.index)

    # ------------------------------------------------------------ private

    def _check_kept(self, index: Index) -> None:
        shape = self._shape
        if index <= shape.boundary.index:
            raise Compacted(
                f"index {index} was purged; the oldest one kept is {shape.boundary.index + 1}"
            )
        invariant(index <= shape.last_index, f"index {index} is beyond {shape.last_index}")

    def _first_cached(self, low: Index, high: Index) -> Index:
        """Return the end of the run from `low` that must be read from disk."""
        cache = self._cache
        if cache.get(high) is None:
            return high
        while low < high:
            middle = Index((low + high + 1) // 2)
            if cache.get(middle) is None:
                low = middle
            else:
                high = Index(middle - 1)
        return low

    def _position(self, index: Index) -> tuple[int, int]:
        shape = self._shape
        if index == shape.last_index:
            return shape.last_term, shape.last_checksum
        if index == shape.boundary.index:
            return shape.boundary.term, shape.boundary.checksum
        header = self._header(index)
        return header.term, header.checksum

    def _header(self, index: Index) -> Header | Entry:
        self._check_kept(index)
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        return self._retried(index, lambda txn, log: _read_header(txn, log, index))

    def _read_run(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        return self._retried(
            low, lambda txn, log: self._read_entries(txn, log, low, high, bytes_max)
        )

    def _retried(
        self, index: Index, read: Callable[[lmdb.Transaction[memoryview], Database], T]
    ) -> T:
        """Run a read; look again under the write lock before a failure is believed."""
        try:
            environment, databases = self.opened
            with environment.begin(buffers=True) as txn:
                return read(txn, databases.log)
        except (StorageCorrupt, lmdb.Error):
            pass
        with self.write_lock:
            self._check_kept(index)
            try:
                with self.opened.environment.begin(buffers=True) as txn:
                    return read(txn, self.opened.databases.log)
            except lmdb.Error as error:
                raise map_error(error, f"cannot read record {index}") from None

    def _read_entries(
        self,
        txn: lmdb.Transaction[memoryview],
        log: Database,
        low: Index,
        high: Index,
        bytes_max: int,
    ) -> list[Entry]:
        """Read at least one entry; all after the first are checked against their predecessor."""
        cursor = txn.cursor(log)
        if not cursor.set_key(encode_index(low)):
            raise StorageCorrupt(f"record {low} is missing")
        found: list[Entry] = []
        size = 0
        for index in range(low, high + 1):
            key, record = cursor.item()
            if decode_index(key) != index:
                raise StorageCorrupt(f"record {index} is missing")
            size += len(record)
            if found and size > bytes_max:
                break
            entry = decode_entry(Index(index), record)
            if found:
                check_link(self._seal, found[-1].checksum, entry)
            found.append(entry)
            if index < high and not cursor.next():
                raise StorageCorrupt(f"record {index + 1} is missing")
        return found

    def _delete(
        self, txn: lmdb.Transaction[memoryview], low: Index, high: Index
    ) -> Iterator[tuple[Index, memoryview]]:
        """Yield the records in low..high and delete each after it was looked at."""
        cursor = txn.cursor(self.opened.databases.log)
        more = cursor.set_range(encode_index(low))
        while more:
            key, record = cursor.item()
            index = decode_index(key)
            if index > high:
                return
            yield index, record
            cursor.delete()
            more = bool(cursor.key())


def _read_header(txn: lmdb.Transaction[memoryview], log: Database, index: Index) -> Header:
    record = txn.get(encode_index(index), db=log)
    if record is None:
        raise StorageCorrupt(f"record {index} is missing")
    return decode_header(index, record)
