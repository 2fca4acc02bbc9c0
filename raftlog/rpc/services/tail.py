"""What of a committed entry a subscriber sees, and how it is cut into messages.

An entry that a subscriber wants whole is sent as it is stored. Otherwise its group is packed anew
from the transactions that match, with their sequences beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.groups import Group, Tag, TransactionKind
from raftlog.wire.pb import log_pb2 as pb


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a subscriber wants: sequences after `after`, of one stream or of all.

    `commands`: also those meant for the state machine.
    """

    after: int = 0
    stream: str | None = None
    commands: bool = False

    def wants(self, tag: Tag) -> bool:
        """Whether transactions with this tag match."""
        kind, stream = tag
        return (self.commands or kind is TransactionKind.OPAQUE) and (
            self.stream is None or self.stream == stream
        )

    def apply(self, entry: Entry) -> pb.TailEntry | None:
        """Return what the subscriber sees of an entry, or None if nothing in it matches."""
        if entry.kind is not EntryKind.TRANSACTIONS or entry.next_sequence <= self.after + 1:
            return None
        if self.stream is None and self.commands and entry.first_sequence > self.after:
            return whole(entry)
        group = groups.parse(entry.payload)
        wanted = [self.wants(tag) for tag in group.tag_table]
        if all(wanted) and entry.first_sequence > self.after:
            return whole(entry)
        if not any(wanted):
            return None
        return self._part(entry, group)

    def _part(self, entry: Entry, group: Group) -> pb.TailEntry | None:
        payloads: list[bytes] = []
        tags: list[Tag] = []
        sequences: list[int] = []
        for transaction in group.transactions():
            sequence = entry.first_sequence + transaction.offset
            tag = (transaction.kind, transaction.stream)
            if sequence > self.after and self.wants(tag):
                payloads.append(transaction.payload)
                tags.append(tag)
                sequences.append(sequence)
        if not payloads:
            return None
        shown = whole(entry)
        shown.group = groups.pack(payloads, tags)
        shown.sequences.extend(sequences)
        return shown


def whole(entry: Entry) -> pb.TailEntry:
    """Return the entry with its group as it is stored."""
    return pb.TailEntry(
        term=entry.term,
        index=entry.index,
        first_sequence=entry.first_sequence,
        timestamp=entry.timestamp,
        group=entry.payload,
    )


def single(entry: Entry, sequence: int) -> pb.TailEntry:
    """Return the entry with one of its transactions alone."""
    group = groups.parse(entry.payload)
    offset = sequence - entry.first_sequence
    transaction = next(t for t in group.transactions() if t.offset == offset)
    shown = whole(entry)
    shown.group = groups.pack([transaction.payload], (transaction.kind, transaction.stream))
    shown.sequences.append(sequence)
    return shown


def replies(
    entries: Iterable[Entry], position: int, wanted: Filter, bytes_max: int
) -> Iterator[tuple[list[pb.TailEntry], int]]:
    """Yield a batch in parts of about `bytes_max`, each with the position it reaches.

    The last part, which may be empty, reaches `position`.
    """
    part: list[pb.TailEntry] = []
    size = 0
    covered = 0
    for entry in entries:
        shown = wanted.apply(entry)
        if shown is not None:
            if part and size + len(shown.group) > bytes_max:
                yield part, covered
                part, size = [], 0
            part.append(shown)
            size += len(shown.group)
        covered = entry.next_sequence - 1
    yield part, position
