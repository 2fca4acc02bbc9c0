"""A node's front desk: who proposed what, which readers wait, and whether writes are open.

Proposals and the session gate are the node's own (`raftlog.node.writes`). What `node/leadership.py`
and `node/reads.py` do with tasks and futures is done here in one step: writes open once the no-op
of the own term is applied, and a reader is answered once its read index is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, cast

from raftlog.core.entries import Entry, EntryKind
from raftlog.core.messages import Message
from raftlog.core.ready import Standing
from raftlog.errors import Indeterminate, LeadershipLost
from raftlog.interfaces import Event, Identity, Measure, PeerEvents, SnapshotInfo
from raftlog.node.application import AppliedEntry
from raftlog.node.levels import FeatureLevels
from raftlog.node.members import Members
from raftlog.node.ports import Ports
from raftlog.node.preference import Preference
from raftlog.node.reads import ReadQueue
from raftlog.node.settings import NodeSettings
from raftlog.node.transfers import Transfers
from raftlog.node.writes import Writes
from raftlog.sim.core.machine import KV
from raftlog.types import Index, NodeId, Role

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

Reader = Callable[["Process"], None]


class Silence:
    """An observer that nobody listens to."""

    def event(self, event: Event, **fields: str | float | bool | None) -> None:
        """Ignore it."""

    def count(self, measure: Measure, amount: int = 1) -> None:
        """Ignore it."""

    def measure(self, measure: Measure, value: float) -> None:
        """Ignore it."""

    def gauge(self, measure: Measure, value: float) -> None:
        """Ignore it."""


SILENCE = Silence()


class Links:
    """`interfaces.Transport` for parts that send nothing: engine 1's network carries all."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def start(self, events: PeerEvents, identity: Identity) -> None:
        """Deliver nothing."""

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Connect to nobody."""

    def reconnect(self, peer: NodeId) -> None:
        """Connect to nobody."""

    def send(self, peer: NodeId, message: Message) -> None:
        """Drop it."""

    def set_voters(self, voters: Collection[NodeId]) -> None:
        """Nobody is made to wait here."""

    def send_snapshot(self, peer: NodeId, term: int, info: SnapshotInfo) -> None:
        """Drop it."""

    def is_connected(self, peer: NodeId) -> bool:
        """Whether streams to `peer` are up."""
        world = self._process.world
        return world.network.is_connected(self._process, world.by_id[peer])

    async def announce_close(self) -> None:
        """Tell nobody."""

    async def close(self) -> None:
        """End nothing."""


class Desk:
    """One life's proposals and readers."""

    __slots__ = (
        "_leads", "_process", "_readers", "_term", "is_open", "is_promoting", "members",
        "preference", "writes",
    )  # fmt: skip

    def __init__(self, process: Process, settings: NodeSettings) -> None:
        self._process = process
        self._leads = False
        self._term = 0
        self._readers: list[tuple[Index, Reader]] = []
        self.is_open = False
        self.is_promoting = False
        ports = Ports(
            storage=process.storage,
            transport=Links(process),
            machine=KV,
            clock=process,
            observer=SILENCE,
            random=process.dice,
            settings=settings,
        )
        self.writes = Writes(ports, process.inputs, process.machine, self)
        self.members: Members | None = None
        self.preference: Preference | None = None
        if process.world.orders.is_needed:
            transfers, reads = cast(Transfers, None), cast(ReadQueue, None)  # what waits is not run
            levels = cast(FeatureLevels, None)  # all of a world's members know all levels
            self.members = Members(ports, process.inputs, self.writes, transfers, reads, levels)
            own = dataclasses.replace(settings, core=process.state.settings)
            timed = dataclasses.replace(ports, settings=own)
            self.preference = Preference(timed, process.inputs, lambda: False)

    # ------------------------------------------------------------ writes

    def standing_changed(self, standing: Standing) -> None:
        """Close writes where the role changed, as the node does."""
        leads = standing.role is Role.LEADER and self._process.machine.keeps_state
        if leads != self._leads or (leads and standing.term != self._term):
            self._leads, self._term = leads, standing.term
            self.is_open = self.is_promoting = False
        if not leads:
            self.writes.fail_all(LeadershipLost("leadership ended before the outcome was known"))

    def applied(self, entry: Entry, applied: AppliedEntry | None) -> None:
        """Answer for an entry that was just applied."""
        waiting = len(self.writes)
        if applied is not None or waiting:
            self.writes.applied([applied or AppliedEntry(entry)])
            if len(self.writes) < waiting:
                self._process.world.checker.acked(self._process, entry)
        if entry.kind is EntryKind.NOOP and self._leads and entry.term == self._term:
            self.is_open = self.is_promoting = True
            self.writes.open()

    def passed_over(self, index: Index) -> None:
        """Answer for what a snapshot covers."""
        self.writes.passed_over(index, Indeterminate("a snapshot from the leader covers the entry"))

    # ------------------------------------------------------------ reads

    def wait(self, index: Index, reader: Reader) -> None:
        """Let a reader look once `index` is applied."""
        if index <= self._process.machine.index:
            reader(self._process)
        else:
            self._readers.append((index, reader))

    def look(self) -> None:
        """Let those readers look whose index is applied by now."""
        if not self._readers:
            return
        applied = self._process.machine.index
        ready = [reader for index, reader in self._readers if index <= applied]
        self._readers = [pair for pair in self._readers if pair[0] > applied]
        for reader in ready:
            reader(self._process)
