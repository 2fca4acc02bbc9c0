"""Which named streams an entry touches, read from the head of its group's frame.

The table of tags lies before the lengths and payloads (`raftlog.groups`), so nothing else of the
group is touched. What does not parse names no stream: the framing was checked before the entry was
appended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raftlog.core.entries import Entry, EntryKind
from raftlog.groups import HEADER_BYTES, TransactionKind
from raftlog.interfaces import StreamSpan
from raftlog.types import Index


def stream_names(kind: int, codec: int, payload: bytes | memoryview) -> tuple[bytes, ...]:
    """Return the named streams a group touches, UTF-8, without repeats."""
    if kind != EntryKind.TRANSACTIONS or codec or len(payload) < HEADER_BYTES + 2:
        return ()
    count = payload[1]
    if count == 1 and not payload[HEADER_BYTES + 1]:
        return ()
    names: dict[bytes, None] = {}
    at = HEADER_BYTES
    for _ in range(count):
        if at + 2 > len(payload):
            return ()
        kind_of_transaction, length = payload[at], payload[at + 1]
        if length and kind_of_transaction == TransactionKind.OPAQUE:
            names[bytes(payload[at + 2 : at + 2 + length])] = None
        at += 2 + length
    return tuple(names) if at <= len(payload) else ()


def touched_streams(entries: Iterable[Entry]) -> dict[bytes, list[Index]]:
    """Return the named streams that entries touch, each with their indexes in order."""
    found: dict[bytes, list[Index]] = {}
    for entry in entries:
        for name in stream_names(entry.kind, entry.codec, entry.payload):
            found.setdefault(name, []).append(entry.index)
    return found


def stream_spans(touched: Mapping[bytes, list[Index]], after: bytes) -> list[StreamSpan]:
    """Return where the streams behind `after` begin and end, as `LogReader.streams` orders them."""
    names = sorted((len(name), name) for name in touched)
    return [
        StreamSpan(name.decode(errors="replace"), touched[name][0], touched[name][-1])
        for length, name in names
        if (length, name) > (len(after), after)
    ]
