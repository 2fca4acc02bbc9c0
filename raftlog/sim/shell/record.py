"""The log as it was chosen, entry by entry, and what is compared with it when a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raftlog import groups
from raftlog.client.values import Change, ChangeKind, Transaction
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.state import RaftState
from raftlog.groups import TransactionKind
from raftlog.history import (
    Append,
    LogItem,
    Operation,
    Search,
    check_log,
    check_registers,
)
from raftlog.types import Index
from raftlog.wire.pb import kv_pb2

READ_BYTES = 1 << 20
STEPS_MAX = 200_000


class LogRecord:
    """Everything that any node has known committed."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.changes: list[tuple[int, bytes, bytes | None]] = []
        """What the commands do to keys: revision, key, and the value, or None for a delete."""
        self._revisions: dict[bytes, int] = {}
        self._ends: dict[str, int] = {}

    @property
    def last_index(self) -> Index:
        """Return the last index known committed."""
        return Index(len(self.entries))

    @property
    def last_sequence(self) -> int:
        """Return the last sequence known committed."""
        return self.entries[-1].next_sequence - 1 if self.entries else 0

    def look(self, state: RaftState) -> None:
        """Take what a node knows committed beyond what is recorded."""
        while state.commit_index > len(self.entries):
            low = Index(len(self.entries) + 1)
            self.extend(state.log.entries(low, state.commit_index, READ_BYTES))

    def extend(self, found: Sequence[Entry]) -> None:
        """Take the entries that follow what is recorded."""
        self.entries.extend(found)
        for sequence, each in _transactions(found):
            if each.kind is TransactionKind.OPAQUE:
                self._ends[each.stream] = sequence
            else:
                self._execute(sequence, kv_pb2.KvCommand.FromString(each.payload))

    def last_of(self, stream: str) -> int:
        """Return the last sequence of a stream known committed; of "": of the whole log."""
        return self._ends.get(stream, 0) if stream else self.last_sequence

    @property
    def last_revision(self) -> int:
        """Return the last sequence that changed a key."""
        return self.changes[-1][0] if self.changes else 0

    def transactions(self) -> Iterable[tuple[int, groups.Transaction]]:
        """Yield every transaction with its sequence."""
        return _transactions(self.entries)

    def _execute(self, sequence: int, command: kv_pb2.KvCommand) -> None:
        match command.WhichOneof("body"):
            case "put":
                self._change(sequence, command.put.key, command.put.value)
            case "compare_and_swap":
                swap = command.compare_and_swap
                if self._revisions.get(swap.key, 0) == swap.revision:
                    self._change(sequence, swap.key, swap.value)
            case "delete":
                if command.delete.key in self._revisions:
                    self._change(sequence, command.delete.key, None)

    def _change(self, sequence: int, key: bytes, value: bytes | None) -> None:
        self.changes.append((sequence, key, value))
        if value is None:
            del self._revisions[key]
        else:
            self._revisions[key] = sequence


def _transactions(entries: Iterable[Entry]) -> Iterable[tuple[int, groups.Transaction]]:
    for entry in entries:
        if entry.kind is EntryKind.TRANSACTIONS:
            for each in groups.parse(entry.payload).transactions():
                yield entry.first_sequence + each.offset, each


def wrong_log(record: LogRecord, operations: Sequence[Operation]) -> list[str]:
    """Return where the history and the log disagree."""
    items: list[LogItem] = []
    history = [operation for operation in operations if operation.item]
    for sequence, each in record.transactions():
        is_opaque = each.kind is TransactionKind.OPAQUE
        name = each.payload.decode() if is_opaque else _value_of(each.payload)
        if not name:  # a delete, or the lease keeper's: nothing in it names who asked
            name = f"#{sequence}"
            history.append(Operation(-sequence, "", Append(), 0.0, name))
        items.append(LogItem(sequence, 1, name))
    return check_log(history, items)


def _value_of(payload: bytes) -> str:
    command = kv_pb2.KvCommand.FromString(payload)
    match command.WhichOneof("body"):
        case "put":
            return command.put.value.decode()
        case "compare_and_swap":
            return command.compare_and_swap.value.decode()
        case _:
            return ""


def wrong_keys(operations: Sequence[Operation]) -> tuple[str, bool]:
    """Return what no order of the keys' operations explains, and whether the search gave up."""
    verdict = check_registers(operations, steps_max=STEPS_MAX)
    if verdict.search is Search.INVALID:
        return f"key {verdict.key}: {verdict.explanation}", False
    return "", verdict.search is Search.UNKNOWN


def wrong_tail(record: LogRecord, start: int, seen: Sequence[Transaction], stream: str = "") -> str:
    """Return how what a tail saw differs from the log, or one stream of it, after `start`."""
    chosen = [
        (sequence, each.payload)
        for sequence, each in record.transactions()
        if sequence > start
        and (not stream or (each.kind is TransactionKind.OPAQUE and each.stream == stream))
    ]
    return _difference(chosen, [(each.sequence, each.payload) for each in seen])


def wrong_watch(record: LogRecord, start: int, seen: Sequence[Change]) -> str:
    """Return how what a watch saw differs from what the log does to keys after `start`."""
    chosen = [change for change in record.changes if change[0] > start]
    found = [
        (each.revision, each.key, None if each.kind is ChangeKind.DELETE else each.value)
        for each in seen
    ]
    return _difference(chosen, found)


def _difference(chosen: Sequence[object], found: Sequence[object]) -> str:
    if found == chosen[: len(found)]:
        return ""
    at = next(i for i, pair in enumerate(found) if chosen[i : i + 1] != [pair])
    return f"at {at} of {len(found)} it saw {found[at]}, the log holds {chosen[at : at + 1]}"
