"""The named streams of a log: which there are, and from where to where each one goes.

The storage's index knows the entries that touch a stream. Which transaction of an entry does is
read from the entry itself, so a page is bounded by bytes as well as by count.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftlog import groups
from raftlog.core.entries import Entry
from raftlog.groups import TransactionKind
from raftlog.interfaces import LogReader, StreamInfo, StreamSpan
from raftlog.types import Index

READ_BYTES_MAX = 4 << 20
"""So much is read for a page before it ends; the entry that passes it is still told."""


def stream_page(
    log: LogReader, high: Index, after: str, count_max: int
) -> tuple[list[StreamInfo], bool]:
    """Return up to `count_max` streams behind `after` among the entries up to `high`.

    Also whether there are more behind them.
    """
    spans = log.streams(after, high, count_max + 1)
    found: list[StreamInfo] = []
    size = 0
    for span in spans[:count_max]:
        if size > READ_BYTES_MAX:
            break
        first, last = log.entry(span.first), log.entry(span.last)
        found.append(_stream_info(span, first, last))
        size += first.size + last.size
    return found, len(found) < len(spans)


def _stream_info(span: StreamSpan, first: Entry, last: Entry) -> StreamInfo:
    return StreamInfo(
        name=span.name,
        first_sequence=first.first_sequence + matching_offsets(first, span.name)[0],
        last_sequence=last.first_sequence + matching_offsets(last, span.name)[-1],
        last_timestamp=last.timestamp,
    )


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
