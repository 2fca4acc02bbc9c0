"""Small parts for unit tests of the node: a log of one's own making, a clock set by hand."""

from __future__ import annotations

import random
import types
from collections.abc import Sequence

from raftlog import groups
from raftlog.checksum import chain
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.membership import Member, Membership
from raftlog.interfaces import Identity, Round
from raftlog.machines.kv import KvMachine
from raftlog.node.inputs import Inputs
from raftlog.node.ports import Ports
from raftlog.node.settings import NodeSettings
from raftlog.storage.memory import MemoryStorage
from raftlog.types import NodeId
from tests.node.harness import Notebook

MEMBERSHIP = Membership.of_voters([Member(node_id=n, address=f"{n}:1") for n in ("n1", "n2", "n3")])


class HandClock:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.now = 100.0
        self.wall = 0
        """What the wall clock is ahead by, in microseconds."""

    def monotonic(self) -> float:
        return self.now

    def wall_microseconds(self) -> int:
        return int(self.now * 1e6) + self.wall


class Turns:
    """Counts the turns asked for, and keeps what would have stopped the node."""

    def __init__(self) -> None:
        self.count = 0
        self.failures: list[BaseException] = []

    def poke(self) -> None:
        self.count += 1

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)


def new_inputs(core, clock=None) -> Inputs:
    """Return the way into `core`, in front of nothing that turns."""
    return Inputs(core, clock or HandClock(), Turns())


def new_ports(**given) -> Ports:
    """Return ports; what is not given is there and does nothing."""
    values = {
        "transport": types.SimpleNamespace(is_connected=lambda _peer: True),
        "machine": KvMachine(),
        "clock": HandClock(),
        "observer": Notebook(),
        "random": random.Random(0),
        "settings": NodeSettings(),
        **given,
    }
    if "storage" not in values:
        values["storage"] = new_storage()
    return Ports(**values)


def boundary(index: int = 0, **changes) -> Boundary:
    """Return the boundary of an empty directory."""
    values = {
        "index": index,
        "term": 0,
        "checksum": 7,
        "next_sequence": 1,
        "timestamp": 0,
        "membership": MEMBERSHIP,
        "feature_level": 1,
        "machine_name": "kv",
        "machine_version": 1,
        **changes,
    }
    return Boundary(**values)


def seal_entry(
    last: Boundary | Entry,
    payload: bytes,
    *,
    term: int,
    kind: EntryKind,
    count: int = 0,
    timestamp: int = 0,
) -> Entry:
    """Return the entry that follows `last`."""
    index, sequence = last.index + 1, last.next_sequence
    checksum = chain(last.checksum, term, index, kind, 0, sequence, count, timestamp, payload)
    return Entry(
        term=term,
        index=index,
        kind=kind,
        first_sequence=sequence,
        count=count,
        timestamp=timestamp,
        payload=payload,
        checksum=checksum,
    )


class Log:
    """A MemoryStorage, filled entry by entry."""

    def __init__(self) -> None:
        self.storage = new_storage()

    def add(
        self,
        kind: EntryKind,
        payload: bytes,
        *,
        term: int = 1,
        count: int = 0,
        timestamp: int = 0,
    ) -> Entry:
        entry = seal_entry(
            self._last(), payload, term=term, kind=kind, count=count, timestamp=timestamp
        )
        self.storage.commit(Round(hard_state=HardState(term=term), entries=(entry,)))
        return entry

    def append(
        self,
        payloads: Sequence[bytes],
        *,
        term: int = 1,
        at: int | None = None,
        stream: str = "",
        timestamp: int = 0,
    ) -> int:
        """Append a group; `at`: truncate from there first."""
        if at is not None:
            self.storage.commit(Round(hard_state=HardState(term=term), truncate_from=at))
        frame = groups.pack(list(payloads), (groups.TransactionKind.OPAQUE, stream))
        return self.add(
            EntryKind.TRANSACTIONS, frame, term=term, count=len(payloads), timestamp=timestamp
        ).index

    def purge(self, index: int) -> None:
        """Apply, snapshot and purge up to `index`."""
        entry = self.storage.entry(index)
        reached = boundary(
            index,
            term=entry.term,
            checksum=entry.checksum,
            next_sequence=entry.next_sequence,
        )
        if self.storage.recovered().applied.index < index:
            self.storage.commit(Round(applied=reached, writes={}))
        self.storage.take_snapshot(None)
        self.storage.commit(Round(purge_to=reached))

    def _last(self) -> Boundary | Entry:
        storage = self.storage
        if storage.last_index == storage.boundary.index:
            return storage.boundary
        return storage.entry(storage.last_index)


def new_storage(membership: Membership = MEMBERSHIP) -> MemoryStorage:
    """Return an empty directory in memory."""
    identity = Identity(cluster_id="c1", node_id=NodeId("n1"), instance_id="i1")
    return MemoryStorage.create(identity=identity, boundary=boundary(membership=membership))
