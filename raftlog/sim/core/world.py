"""The world: one seed, some nodes, and what happens to them until the checks are content.

A run has two phases. In the first the nemesis and the clients do as the seed says, for as many
events as it says. In the final phase everything is healed, or exactly one quorum is, and the world
owes progress: a leader within so many election timeouts, a commit, and every living member at the
same state. A seed without faults owes progress all the time.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import random
import struct
import time
import traceback
from collections.abc import Iterator

from raftlog.core.entries import Boundary
from raftlog.core.membership import Membership
from raftlog.core.messages import Message
from raftlog.core.watched import CoreWatch
from raftlog.interfaces import Identity
from raftlog.sim.checker import Checker, CheckFailed
from raftlog.sim.core.atlas import Atlas
from raftlog.sim.core.clients import Clients
from raftlog.sim.core.ending import FinalPhase
from raftlog.sim.core.knobs import Knobs, draw_knobs
from raftlog.sim.core.nemesis import CoreNemesis
from raftlog.sim.core.network import Network
from raftlog.sim.core.operators import Operator, member_of
from raftlog.sim.core.orders import Orders
from raftlog.sim.core.process import Process
from raftlog.sim.core.snapshots import SnapshotStreams
from raftlog.sim.outcome import Outcome
from raftlog.sim.scheduler import Scheduler
from raftlog.sim.transcript import Transcript, describe
from raftlog.storage.memory import MemoryStorage
from raftlog.types import Index, NodeId, Role, Term

TRANSCRIPT_LINES = 60
EVENTS_LIMIT = 200_000
_MOVE = struct.Struct("<dBQQQB")
ROLE_NUMBERS = {role: number for number, role in enumerate(Role)}


class World:
    """Everything there is; built from its knobs."""

    def __init__(
        self, knobs: Knobs, *, kept: frozenset[int] | None = None, full_transcript: bool = False
    ) -> None:
        self.knobs = knobs
        self.scheduler = Scheduler()
        self.counters: collections.Counter[str] = collections.Counter()
        self.transcript = Transcript(None if full_transcript else TRANSCRIPT_LINES)
        self.events = 0
        self.is_ending = False
        self.is_calm = knobs.is_fault_free
        self.operator = Operator(self, knobs)
        self.orders = Orders(self, knobs)
        self.network = Network(self, knobs)
        self.snapshots = SnapshotStreams(self, knobs)
        self._dice = random.Random(f"{knobs.seed}:world")
        self._moves = bytearray()
        """What the digest is of: after each event the node that moved, and where it then stands."""
        boundary = _first_boundary(knobs)
        self.checker = Checker(self.count, boundary.checksum, boundary.membership)
        names = _names(knobs)
        self.members = [
            Process(self, number, name, storage, knobs)
            for number, (name, storage) in enumerate(self._first_storages(names, boundary))
        ]
        self.by_id = {process.node_id: process for process in self.members}
        self.checker.processes = self.members
        self.atlas = Atlas(self.members, self.checker)
        if self.orders.is_needed:
            self.checker.membership_chosen = self.orders.chose
        self._boundary = boundary
        self.clients = Clients(self, knobs)
        self.nemesis = CoreNemesis(self, knobs, kept)
        self._started = time.process_time()

    def _first_storages(
        self, names: list[NodeId], boundary: Boundary
    ) -> Iterator[tuple[NodeId, MemoryStorage]]:
        """Yield each node's first disk; where nodes give orders, spares come to join."""
        for number, name in enumerate(names):
            joined = self.orders.is_needed and number >= self.knobs.voters
            yield name, self._new_storage(name, boundary, 1, joined=joined)

    def _new_storage(
        self, name: NodeId, boundary: Boundary, instance: int, *, joined: bool = False
    ) -> MemoryStorage:
        identity = Identity(
            cluster_id="sim",
            node_id=name,
            instance_id=f"{name}-{instance}",
            joined=joined,
            has_machine=member_of(name, self.knobs).has_machine,
        )
        return MemoryStorage.create(
            identity=identity,
            boundary=boundary,
            microseconds=lambda: int(self.scheduler.now * 1e6),
        )

    # ------------------------------------------------------------ what its parts call

    def count(self, name: str) -> None:
        """Count something that sometimes happens."""
        self.counters[name] += 1

    def note(self, kind: str, process: Process | None, content: object) -> None:
        """Remember for the transcript."""
        name = process.node_id if process is not None else "-"
        self.transcript.add((self.scheduler.now, kind, name, content))

    def send(self, source: Process, peer: NodeId, message: Message) -> None:
        """Put a message on its way, once it was checked that it may leave."""
        self.checker.sent(source, peer, message)
        self.network.send(source, self.by_id[peer], message)

    def checked(self, process: Process) -> None:
        """Check the node that just moved, and add the event to the digest."""
        self.checker.check(process)
        state = process.state
        self._moves += _MOVE.pack(
            self.scheduler.now,
            process.number,
            state.term,
            state.log.last_checksum,
            state.commit_index,
            ROLE_NUMBERS[state.role],
        )

    def leaders(self) -> list[Process]:
        """Return the live nodes that think they lead."""
        return [p for p in self.members if p.is_up and p.state.role is Role.LEADER]

    def restart_later(self, process: Process) -> None:
        """Let a dead process begin again after a while; in a quorum's final phase never."""
        if process in self.left_dead:
            return
        delay = self.knobs.restart_seconds * (0.1 + 1.9 * self._dice.random())
        self.scheduler.after(delay, process.restart)

    def wipe(self, process: Process, *, joined: bool = False) -> None:
        """Empty a dead node's disk: it will come back as somebody new under the old name."""
        self.note("loses its disk", process, None)
        self.count("disk_wiped")
        self.checker.wiped(process)
        process.disk.storage.close()
        instance = int(process.instance_id.rpartition("-")[2]) + 1
        process.disk.storage = self._new_storage(
            process.node_id, self._boundary, instance, joined=joined
        )

    left_dead: tuple[Process, ...] = ()
    watch: CoreWatch | None = None
    """What is to be done after each input of every core, besides the checks."""

    # ------------------------------------------------------------ the run

    def run(self) -> Outcome:
        """Run to the end or to the first failure."""
        failure, detail = None, ""
        try:
            self._run()
        except CheckFailed as broken:
            failure = detail = str(broken)
        except Exception as error:  # noqa: BLE001, whatever it is, the seed that found it is kept
            failure = f"{type(error).__name__}: {error}"
            detail = traceback.format_exc()
        lines: tuple[str, ...] = ()
        if failure is not None or self.transcript.notes.maxlen is None:
            lines = (*self.transcript.lines(), *describe(self.members))
        return Outcome(
            seed=self.knobs.seed,
            digest=hashlib.blake2b(self._moves, digest_size=16).hexdigest(),
            events=self.events,
            virtual_seconds=self.scheduler.now,
            cpu_seconds=time.process_time() - self._started,
            counters=dict(self.counters),
            failure=failure,
            detail=detail,
            faults=tuple(self.nemesis.done),
            transcript=lines,
        )

    def _run(self) -> None:
        for process in self.members:
            process.start()
        self.clients.begin()
        self.nemesis.begin()
        self.operator.begin()
        self.network.begin()
        final = FinalPhase(self, self.knobs)
        self._run_events(self.knobs.events_max)
        if self.knobs.is_fault_free:
            final.check_undisturbed()
            self.count("fault_free")
        self.nemesis.stop()
        self.is_ending = True
        self.is_calm = True
        final.begin()
        while not final.is_over:
            self._run_events(16)
            final.look()
        self.checker.compare_disks()
        self.clients.check_history()

    def _run_events(self, count: int) -> None:
        self.events += self.scheduler.run(count)
        if self.events > EVENTS_LIMIT:
            raise CheckFailed(f"liveness: {self.events} events and no end")


def run_seed(
    seed: int,
    *,
    kept: frozenset[int] | None = None,
    full_transcript: bool = False,
    lying_disks: bool = False,
) -> Outcome:
    """Run one seed; `kept`: only these faults; `lying_disks`: the positive control."""
    knobs = draw_knobs(seed)
    if lying_disks:
        knobs = dataclasses.replace(knobs, has_lying_disks=True)
    return World(knobs, kept=kept, full_transcript=full_transcript).run()


def _names(knobs: Knobs) -> list[NodeId]:
    return [NodeId(f"n{number + 1}") for number in range(knobs.voters + knobs.spares)]


def _first_boundary(knobs: Knobs) -> Boundary:
    members = [member_of(name, knobs) for name in _names(knobs)[: knobs.voters]]
    return Boundary(
        index=Index(0),
        term=Term(0),
        checksum=7,
        next_sequence=1,
        timestamp=0,
        membership=Membership.of_voters(members),
        feature_level=1,
    )
