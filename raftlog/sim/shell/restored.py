"""A backup is restored beside the cluster that it is of: two clusters with one past, and no touch.

A backup that was taken amid the faults of a world is restored by `raftlog.backup.restore`, into a
real directory, up to its end, a sequence or a time. What lies there is the disk of the first member
of another world, with processes of its own and the same time and network. It grows to three voters
under ids that the old cluster has too. Each side knows the other's addresses, and now and then a
member's address leads to its namesake over there. Whatever is asked astray must be refused.
"""

from __future__ import annotations

import dataclasses
import pathlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from sortedcontainers import SortedDict

from raftlog import groups
from raftlog.backup.restore import Means, Point, Restored, Target, restore
from raftlog.core.entries import Boundary, Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.interfaces import Table
from raftlog.mysql.gtid import server_id_of
from raftlog.sim.faults import Fault
from raftlog.sim.outcome import Outcome
from raftlog.sim.scheduler import Scheduler
from raftlog.sim.shell.backups import BackupHost, wrong_rows
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellKnobs
from raftlog.sim.shell.member import NodeHost
from raftlog.sim.shell.network import Network
from raftlog.sim.shell.operators import OperatorHost
from raftlog.sim.shell.refounding import AMID, Rebuilder, carried_over
from raftlog.sim.shell.workload import ClientHost
from raftlog.sim.shell.world import CLUSTER, PORTS, ShellWorld
from raftlog.storage.backup_file import BackupReader
from raftlog.storage.lmdb import LmdbStorage, StorageSettings
from raftlog.storage.memory_disk import MemoryDisk
from raftlog.types import Index, NodeId

if TYPE_CHECKING:
    from raftlog.sim.shell.record import LogRecord

SAME = "what is restored is what was backed up"
OWN_PORTS = (8001, 8002)
"""Where the members of the restored cluster are reached."""
FIRST_NUMBER = 100
"""Of its processes: no machine of the old cluster has it."""
OWN_DIRECTORIES = 1001
"""Their directories' ids count from there: the restored log names those of the old cluster."""
VOTERS = 3
DUE = (0.1, 0.6)
"""After so much of the time the next backup is restored, if anything was written by then."""
MISLEADS = 3
"""So much likelier an address leads astray than anything else goes wrong there."""
FAULT_SECONDS_MAX = 0.4
SECONDS_MIN = 2.0
"""For so long at least the restored cluster has faults of its own."""
READ_BYTES = 1 << 20
PAGE = 1000


class RestoringWorld(ShellWorld):
    """The world in which a backup is restored; the restored cluster lives beside it."""

    ports = (*PORTS[:1], *OWN_PORTS)
    restored: RestoredWorld | None = None

    def _ports_used(self) -> tuple[int, ...]:
        return self.ports

    def _new_users(self, first: int) -> tuple[list[ClientHost], list[OperatorHost]]:
        clients, operators = super()._new_users(first)
        for client in clients:
            client.cluster_id = CLUSTER
        return clients, operators

    def _new_keepers(self, first: int) -> list[BackupHost]:
        keepers = super()._new_keepers(first)
        for keeper in keepers:
            keeper.cluster_id = CLUSTER
        return keepers

    def machine_of(self, address: str) -> Host:
        """Return the machine that an address leads to, of either cluster."""
        beside = self.restored
        if beside is not None and beside.is_at(address):
            return beside.machine_of(address)
        return super().machine_of(address)

    def backup_taken(self, path: pathlib.Path) -> None:
        """Restore one of the backups, soon or once all is healed."""
        if self.restored is not None or self.failure is not None:
            return
        dice = random.Random(f"{self.knobs.seed}:restored beside")
        is_due = self.scheduler.now >= self.knobs.seconds * dice.uniform(*DUE)
        if self.is_ending or (is_due and self.record.last_sequence):
            self.count("backup_restored")
            self.restored = RestoredWorld(self, path, dice)
            self.restored.start()

    def _is_over(self) -> bool:
        return super()._is_over() and (self.restored is None or self.restored.ending.is_over)

    def _judge(self) -> None:
        super()._judge()
        if self.restored is None:
            self.fail("liveness: no backup was restored")
        elif self.failure is None:
            self.restored.judge()

    def _standing(self) -> list[str]:
        beside = [] if self.restored is None else self.restored.standing()
        return [*super()._standing(), *beside]

    def _hosts(self) -> list[Host]:
        beside = [] if self.restored is None else self.restored.hosts()
        return [*super()._hosts(), *beside]


class RestoredWorld(ShellWorld):
    """The restored cluster. Its time, its network and its transcript are those of `beside`."""

    ports = OWN_PORTS
    first_number = FIRST_NUMBER

    def __init__(self, beside: RestoringWorld, path: pathlib.Path, dice: random.Random) -> None:
        self.beside = beside
        super().__init__(_knobs_of(beside.knobs))
        self.first, *self.others = self.members
        with path.open("rb") as file:
            reader = BackupReader(file)
            end = reader.contents.end
            point = drawn_point(beside.record, reader, dice)
        target = Target(
            data_dir=path.with_suffix(".restored"),
            node_id=self.first.node_id,
            address=self.first.address,
        )
        means = Means(dice=dice, microseconds=self.first.wall_microseconds)
        made = restore(path, target, point, _quiet, means)
        self.cluster_id = made.identity.cluster_id
        self.founded = made.end.index + 1
        """The index of the entry that makes it a cluster of its own."""
        disk = disk_at(target.data_dir)
        kept, cut = before(beside.record.entries[: end.index], point)
        why = wrong_restore(beside.record, (kept, cut), made, disk)
        if why:
            self.fail(f"{SAME}: up to {point}: {why}")
            return
        if point.sequence is not None:
            self.count("restored_cut" if cut else "restored_to_a_sequence")
        elif point.microseconds is not None:
            self.count("restored_to_a_time")
        self.note("restored", self.first, (point, made.identity.cluster_id, self.founded))
        self._take_over(disk, kept)
        self._is_compared = False

    def _take_over(self, disk: MemoryDisk, kept: list[Entry]) -> None:
        """Go on where the backup ends: what is known so far is known here too."""
        first, identity = self.first, disk.identity
        behind = [disk.entries[Index(i)] for i in range(len(kept) + 1, self.founded + 1)]
        founding = behind[-1]
        self.record.extend([*kept, *behind])
        self.checker.chosen += [entry.checksum for entry in self.record.entries]
        self.checker.next_sequence = founding.next_sequence
        membership = Membership.decode(founding.payload)
        self.checker.chosen_membership = membership
        self.checker.chosen_membership_index = founding.index
        self.desk.memberships[founding.index] = membership
        first.take(disk)
        for host in self.others:
            host.disk.identity = dataclasses.replace(
                host.disk.identity,
                cluster_id=identity.cluster_id,
                instance_id=f"{host.name}-{OWN_DIRECTORIES}",
                joined=True,
            )
        for operator in self.operators:
            cast(Grower, operator).emptied = self.others
        for user in self.users:
            user.cluster_id = identity.cluster_id
        known = founding.first_sequence - 1
        self.operations += carried_over(self.beside.operations, known)

    # ------------------------------------------------------------ what it shares

    def _new_scheduler(self) -> Scheduler:
        return self.beside.scheduler

    def _new_network(self) -> Network:
        return self.beside.network

    def _new_boundary(self, addresses: dict[NodeId, str]) -> Boundary:
        del addresses
        return self.beside.first_boundary

    def _new_endpoints(self) -> str:
        return self.beside.endpoints

    def _new_users(self, first: int) -> tuple[list[ClientHost], list[OperatorHost]]:
        clients = [
            ClientHost(self, first + number, f"d{number + 1}", self.endpoints)
            for number in range(self.knobs.work.clients)
        ]
        return clients, [Grower(self, first + len(clients), "o1", self.endpoints)]

    def count(self, name: str) -> None:
        """Count there."""
        self.beside.count(name)

    def note(self, kind: str, host: Host | None, content: object) -> None:
        """Remember there, as of this cluster."""
        self.beside.note(f"restored: {kind}", host, content)

    def fail(self, failure: str, error: BaseException | None = None) -> None:
        """Fail there."""
        self.beside.fail(f"restored: {failure}", error)

    def _keep_failure(self, failure: str, error: BaseException | None) -> None:
        self.beside._keep_failure(f"restored: {failure}", error)  # noqa: SLF001 - of one kind

    def _add(self, number: int, first: int, second: int, third: int, fourth: int) -> None:
        self.beside._add(number, first, second, third, fourth)  # noqa: SLF001 - of one kind

    def is_at(self, address: str) -> bool:
        """Whether a member is reached there."""
        return address in self._by_address

    def standing(self) -> list[str]:
        """Return where each of its processes stands."""
        return [f"restored: {line}" for line in self._standing()]

    def hosts(self) -> list[Host]:
        """Return every process of it."""
        return self._hosts()

    # ------------------------------------------------------------ its life

    def start(self) -> None:
        """Begin everything; the end is not before that of the world beside."""
        for host in self._hosts():
            cast("NodeHost | ClientHost", host).begin()
        self.nemesis.begin()
        end = max(self.scheduler.now + SECONDS_MIN, self.beside.knobs.seconds)
        self.scheduler.at(end, self.ending.begin)

    def run(self) -> Outcome:
        """It runs with the world beside it."""
        raise TypeError("the world beside it runs both")

    def judge(self) -> None:
        """Compare everything with the log."""
        self._judge()

    def passed(self, host: Host) -> None:
        """Check the process whose loop just ran, and once the state that was restored."""
        super().passed(host)
        if host is not self.first or self._is_compared or not self.first.is_up:
            return
        node = self.first.node
        if node is None or node.applied_index < self.founded:
            return
        self._is_compared = True
        rows = ((key, value) for name, key, value in node.contents() if name == Table.STATE.value)
        sequence = self.record.entries[node.applied_index - 1].next_sequence
        why = wrong_rows(self.record, sequence, rows)
        if why:
            self.fail(f"{SAME}: {self.first.name} serves another state: {why}")

    def mislead(self, host: NodeHost, seconds: float) -> None:
        """Let an address of either cluster lead to the namesake in the other one."""
        namesake = next(m for m in self.beside.members if m.node_id == host.node_id)
        detours = self.network.detours
        detours[host.address], detours[namesake.address] = namesake.address, host.address
        for one in (host, namesake):
            for other in (*one.world.members, *one.world.users):
                self.network.reset_between(one.number, other.number, "Connection reset by peer")
        self.scheduler.after(seconds, detours.clear)


class Grower(Rebuilder):
    """The operator who lets the restored cluster grow at once, whatever goes on around it."""

    grew = "restored_grew"

    async def _opened(self) -> None:
        await self.grow()


def drawn_point(record: LogRecord, reader: BackupReader, dice: random.Random) -> Point:
    """Return a point that a backup must be able to stop at: its end, a sequence, or a time."""
    start, end, snapshot = reader.origin.start, reader.contents.end, reader.snapshot()
    first = snapshot.info.boundary if start.index and snapshot is not None else start
    kind = dice.choice(("end", "sequence", "time"))
    if kind == "sequence":
        return Point(sequence=dice.randint(first.next_sequence - 1, end.next_sequence - 1))
    if kind == "time" and end.index:
        index = dice.randint(max(1, first.index), end.index)
        return Point(microseconds=record.entries[index - 1].timestamp)
    return Point()


def before(entries: Sequence[Entry], point: Point) -> tuple[list[Entry], int]:
    """Return what lies before a point, and how many transactions of the entry that follows."""
    kept: list[Entry] = []
    for entry in entries:
        if point.microseconds is not None and entry.timestamp > point.microseconds:
            break
        if point.sequence is not None and entry.next_sequence > point.sequence + 1:
            return kept, max(0, point.sequence + 1 - entry.first_sequence)
        kept.append(entry)
    return kept, 0


def disk_at(path: pathlib.Path) -> MemoryDisk:
    """Return a simulated disk that holds what a data directory does, read as a start reads it."""
    storage = LmdbStorage.open(path, settings=StorageSettings(reserve_bytes=0, cache_bytes_max=0))
    try:
        recovered, low = storage.recovered(), Index(storage.boundary.index + 1)
        disk = MemoryDisk(
            identity=storage.identity,
            hard_state=recovered.hard_state,
            boundary=storage.boundary,
            applied=recovered.applied,
            origin=storage.origin,
            damage=recovered.damage,
        )
        while low <= storage.last_index:
            for entry in storage.entries(low, storage.last_index, READ_BYTES):
                disk.entries[entry.index] = entry
                low = Index(entry.index + 1)
        for table in Table:
            disk.tables[table] = SortedDict(rows_of(storage, table))
    finally:
        storage.close()
    return disk


def rows_of(storage: LmdbStorage, table: Table) -> list[tuple[bytes, bytes]]:
    """Return all that a table holds."""
    rows: list[tuple[bytes, bytes]] = []
    while page := storage.scan(table, rows[-1][0] + b"\0" if rows else b"", None, count_max=PAGE):
        rows += page
    return rows


def wrong_restore(
    record: LogRecord, wanted: tuple[list[Entry], int], made: Restored, disk: MemoryDisk
) -> str:
    """Return how a restored directory differs from what it must be, or "".

    `wanted`: the entries before the point, and how many transactions of the next one.
    """
    kept, cut = wanted
    end = len(kept) + bool(cut)
    if disk.damage or disk.snapshots or max(disk.entries, default=0) != end + 1:
        return f"it ends at {max(disk.entries, default=0)}, not {end + 1}; damage {disk.damage!r}"
    for entry in kept[disk.boundary.index :]:
        if disk.entries.get(entry.index) != entry:
            return f"it holds {disk.entries.get(entry.index)}; backed up was {entry}"
    if cut and _payloads(disk.entries[Index(end)]) != _payloads(record.entries[end - 1])[:cut]:
        return f"entry {end} has not the first {cut} transactions of what was backed up"
    founding = disk.entries[Index(end + 1)]
    voters = Membership.decode(founding.payload).voters
    if founding.kind is not EntryKind.MEMBERSHIP or voters != {disk.identity.node_id}:
        return f"it is founded by {founding}"
    if end and founding.term <= disk.entries.get(Index(end), record.entries[end - 1]).term:
        return f"it is founded in term {founding.term}, which somebody led"
    line = (*disk.identity.predecessors, made.source_cluster_id)
    ids = {each: server_id_of(each) for each in line}
    if disk.identity.cluster_id in ids or server_id_of(disk.identity.cluster_id) in ids.values():
        return f"its identity is {disk.identity}, and that of the old cluster {ids}"
    rows = disk.tables[Table.STATE].items()
    return wrong_rows(record, disk.applied.next_sequence, rows)


def _payloads(entry: Entry) -> list[bytes]:
    return [bytes(each.payload) for each in groups.parse(entry.payload).transactions()]


def _quiet(_done: int, _total: int) -> None:
    """Hear no progress."""


def _knobs_of(knobs: ShellKnobs) -> ShellKnobs:
    """Return what the restored cluster's world is like: as the other, with dice of its own."""
    faults = tuple(fault for fault in knobs.faults if fault in AMID) or (Fault.CRASH,)
    return dataclasses.replace(
        knobs,
        seed=-knobs.seed - 1,
        voters=VOTERS,
        faults=(*faults, *(Fault.MISLEAD,) * MISLEADS),
        fault_seconds=min(knobs.fault_seconds, FAULT_SECONDS_MAX),
        operators=1,
        backups=0,
        refounds=False,
        restores=False,
        work=dataclasses.replace(knobs.work, clients=1, kv_callers=0),
    )
