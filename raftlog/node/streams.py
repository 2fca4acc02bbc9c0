"""The named streams of a log: which there are, and from where to where each one goes.

The storage's index knows the entries that touch a stream. Which transaction of an entry does is
read from the entry itself, once for all streams of a page, so a page is bounded by bytes as well as
by count. It is read in steps, between which the event loop may do other things.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence

from raftlog import groups
from raftlog.core.entries import Entry
from raftlog.errors import Compacted
from raftlog.groups import TransactionKind
from raftlog.interfaces import LogReader, StreamInfo
from raftlog.types import Index

READ_BYTES_MAX = 4 << 20
"""So much is read for a page before it ends; the entry that passes it is still told."""
ATTEMPTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class _Ends:
    """Of one entry: the first and the last sequence of each stream it touches, and its time."""

    sequences: dict[str, tuple[int, int]]
    timestamp: int
    size: int


StreamPage = tuple[list[StreamInfo], bool]


def read_streams(
    log: LogReader, high: Index, after: str, count_max: int
) -> Generator[None, None, StreamPage]:
    """Return up to `count_max` streams behind `after` among the entries up to `high`.

    Also whether there are more behind them. It yields after each entry that it read.

    Raises:
        Compacted: again and again what comes next was purged between two steps.
    """
    found: list[StreamInfo] = []
    left = ATTEMPTS
    while True:
        try:
            after, is_more = yield from _read_page(log, (high, after, count_max), found)
        except Compacted:
            # What was found stands; what is left of the others is listed anew.
            left -= 1
            if found:
                return found, True
            if not left:
                raise
            continue
        # An empty page would tell nobody where to go on.
        if found or not is_more:
            return found, is_more


def _read_page(
    log: LogReader, wanted: tuple[Index, str, int], found: list[StreamInfo]
) -> Generator[None, None, tuple[str, bool]]:
    """Add to what was found; return the name up to which it was read, and whether more follow."""
    high, after, count_max = wanted
    spans = log.streams(after, high, count_max + 1)
    known: dict[Index, _Ends] = {}
    size = told = 0
    for span in spans[:count_max]:
        if size > READ_BYTES_MAX:
            break
        for index in {span.first: None, span.last: None}:
            if index not in known:
                known[index] = ends = _ends_of(log.entry(index))
                size += ends.size
                yield
        told, after = told + 1, span.name
        first, last = known[span.first], known[span.last]
        # A group may name a stream in its table to which no transaction of it belongs.
        if span.name in first.sequences and span.name in last.sequences:
            found.append(
                StreamInfo(
                    name=span.name,
                    first_sequence=first.sequences[span.name][0],
                    last_sequence=last.sequences[span.name][1],
                    last_timestamp=last.timestamp,
                )
            )
    return after, told < len(spans)


def _ends_of(entry: Entry) -> _Ends:
    group = groups.parse(entry.payload)
    names = [name if kind is TransactionKind.OPAQUE else None for kind, name in group.tag_table]
    first = entry.first_sequence
    if not group.tags:
        ends = {names[0]: (first, first + group.count - 1)}
    else:
        ends = {}
        for sequence, tag in enumerate(group.tags, first):
            name = names[tag]
            ends[name] = (ends[name][0] if name in ends else sequence, sequence)
    sequences = {name: each for name, each in ends.items() if name is not None}
    return _Ends(sequences, entry.timestamp, entry.size)


def matching_offsets(entry: Entry, stream: str | None) -> Sequence[int]:
    """Return which of an entry's transactions are opaque, and of that stream if one is named."""
    group = groups.parse(entry.payload)
    wanted = [
        kind is TransactionKind.OPAQUE and (stream is None or name == stream)
        for kind, name in group.tag_table
    ]
    if not group.tags:
        return range(group.count if wanted[0] else 0)
    return [offset for offset, tag in enumerate(group.tags) if wanted[tag]]
