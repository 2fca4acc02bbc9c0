"""What of a committed entry a subscriber sees, and how it is cut into messages.

An entry that a subscriber wants whole is sent as it is stored. Otherwise its group is packed anew
from the transactions that match, with their sequences beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from raftlog import groups
from raftlog.core.entries import Entry, EntryKind
from raftlog.groups import Group, Tag, TransactionKind
from raftlog.wire.pb import log_pb2 as pb

PART_BYTES_MIN = 64 * 1024


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

    def apply(self, entry: Entry) -> Shown | None:
        """Return what the subscriber sees of an entry, or None if nothing in it matches."""
        if entry.kind is not EntryKind.TRANSACTIONS or entry.next_sequence <= self.after + 1:
            return None
        if self.stream is None and self.commands and entry.first_sequence > self.after:
            return Shown(entry, entry.payload)
        wanted = [self.wants(tag) for tag in groups.tags_of(entry.payload)]
        if all(wanted) and entry.first_sequence > self.after:
            return Shown(entry, entry.payload)
        if not any(wanted):
            return None
        return self._part(entry, groups.parse(entry.payload))

    def _part(self, entry: Entry, group: Group) -> Shown | None:
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
        return Shown(entry, groups.pack(payloads, tags), tuple(sequences))


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What a subscriber sees of an entry: its group as stored, or packed anew with `sequences`."""

    entry: Entry
    group: bytes
    sequences: tuple[int, ...] = ()

    def message(self) -> pb.TailEntry:
        """Return it as it travels."""
        return self._message(self.group)

    def parts(self, bytes_max: int) -> Iterator[pb.TailEntry]:
        """Yield it as it travels, in parts where its group is larger than `bytes_max`.

        A part is copied when it is its turn, so that a large group is in memory once.
        """
        whole = len(self.group)
        if whole <= bytes_max:
            yield self.message()
            return
        for offset in range(0, whole, bytes_max):
            part = self._message(self.group[offset : offset + bytes_max])
            part.group_offset, part.group_bytes = offset, whole
            yield part

    def cut(self, bytes_max: int) -> Iterator[tuple[Shown, int]]:
        """Yield it in pieces of about `bytes_max`, each of whole transactions.

        Each comes with the sequence up to which everything was shown by then.
        """
        entry = self.entry
        if len(self.group) <= bytes_max:
            yield self, entry.next_sequence - 1
            return
        group = groups.parse(self.group)
        sequences = self.sequences or range(entry.first_sequence, entry.next_sequence)
        begin = size = 0
        for at, length in enumerate(group.lengths):
            if at > begin and size + length > bytes_max:
                yield self._piece(group, sequences, begin, at), sequences[at] - 1
                begin, size = at, 0
            size += length
        yield self._piece(group, sequences, begin, group.count), entry.next_sequence - 1

    def _piece(self, group: Group, sequences: Sequence[int], begin: int, end: int) -> Shown:
        if (begin, end) == (0, group.count):
            return self
        first = group.payload_offset + sum(group.lengths[:begin])
        payloads: list[bytes] = []
        for length in group.lengths[begin:end]:
            payloads.append(group.data[first : first + length])
            first += length
        table, tags = group.tag_table, group.tags
        packed = groups.pack(
            payloads, [table[tag] for tag in tags[begin:end]] if tags else table[0]
        )
        return Shown(self.entry, packed, tuple(sequences[begin:end]))

    def _message(self, group: bytes) -> pb.TailEntry:
        entry = self.entry
        return pb.TailEntry(
            term=entry.term,
            index=entry.index,
            first_sequence=entry.first_sequence,
            timestamp=entry.timestamp,
            group=group,
            sequences=self.sequences,
        )


def single(entry: Entry, sequence: int) -> pb.TailEntry:
    """Return the entry with one of its transactions alone."""
    group = groups.parse(entry.payload)
    offset = sequence - entry.first_sequence
    transaction = next(t for t in group.transactions() if t.offset == offset)
    packed = groups.pack([transaction.payload], (transaction.kind, transaction.stream))
    return Shown(entry, packed, (sequence,)).message()


def replies(
    entries: Iterable[Entry], position: int, wanted: Filter, bytes_max: int
) -> Iterator[tuple[list[pb.TailEntry], int]]:
    """Yield a batch in replies of about `bytes_max`, each with the position it reaches.

    The last one, which may be empty, reaches `position`. An entry larger than a reply is cut
    between its transactions, and a transaction larger than one into parts.
    """
    part_bytes_max = max(bytes_max, PART_BYTES_MIN)
    reply: list[pb.TailEntry] = []
    size = 0
    covered = wanted.after
    for entry in entries:
        shown = wanted.apply(entry)
        for piece, reaches in shown.cut(bytes_max) if shown is not None else ():
            for part in piece.parts(part_bytes_max):
                if reply and size + len(part.group) > bytes_max:
                    yield reply, covered
                    reply, size = [], 0
                reply.append(part)
                size += len(part.group)
            covered = reaches
        covered = entry.next_sequence - 1
    yield reply, position
