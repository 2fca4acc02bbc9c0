"""The log as it was chosen, entry by entry, and what is compared with it when a run ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from raftlog import groups
from raftlog.client.values import Transaction
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
            self.entries.extend(state.log.entries(low, state.commit_index, READ_BYTES))

    def transactions(self) -> Iterable[tuple[int, TransactionKind, bytes]]:
        """Yield every transaction with its sequence."""
        for entry in self.entries:
            if entry.kind is EntryKind.TRANSACTIONS:
                for each in groups.parse(entry.payload).transactions():
                    yield entry.first_sequence + each.offset, each.kind, each.payload


def wrong_log(record: LogRecord, operations: Sequence[Operation]) -> list[str]:
    """Return where the history and the log disagree."""
    items: list[LogItem] = []
    history = [operation for operation in operations if operation.item]
    for sequence, kind, payload in record.transactions():
        name = payload.decode() if kind is TransactionKind.OPAQUE else _value_of(payload)
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


def wrong_tail(record: LogRecord, start: int, seen: Sequence[Transaction]) -> str:
    """Return how what a tail saw differs from the log after sequence `start`."""
    chosen = [(s, payload) for s, _, payload in record.transactions() if s > start]
    found = [(each.sequence, each.payload) for each in seen]
    if found == chosen[: len(found)]:
        return ""
    at = next(i for i, pair in enumerate(found) if chosen[i : i + 1] != [pair])
    return f"at {at} of {len(found)} it saw {found[at]}, the log holds {chosen[at : at + 1]}"
