"""The final phase of the second engine: heal, and then a bound for everything that is owed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from raftlog.core.entries import Entry
from raftlog.history import Append, Operation, Outcome
from raftlog.interfaces import Event
from raftlog.sim.checker import CheckFailed, require
from raftlog.sim.shell.host import Host
from raftlog.sim.shell.knobs import ShellKnobs
from raftlog.sim.shell.member import STOP_SECONDS_MAX, NodeHost
from raftlog.sim.shell.record import wrong_keys, wrong_log, wrong_tail, wrong_watch
from raftlog.storage.memory import MemoryStorage
from raftlog.storage.memory_disk import MemoryDisk
from raftlog.types import Index

if TYPE_CHECKING:
    from raftlog.sim.shell.world import ShellWorld

HAND_OVER_FAILED = f"event_{Event.HAND_OVER_FAILED}"
LOOK_SECONDS = 0.05
ELECTION_TIMEOUTS_MAX = 40
SDK_SECONDS = 12.0
"""What pauses and patience inside client and transport may add: a connect, a backoff, a search."""
OPERATORS_SECONDS = 30.0
"""What operators may take to set right what they did: to switch back, remove, wait for learners."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What a power cut would leave as the faults end: disks, and what is known of the world."""

    knobs: ShellKnobs
    disks: list[MemoryDisk]
    entries: list[Entry]
    operations: list[Operation]


class Ending:
    """Heals the world, waits for what it owes, and judges."""

    def __init__(self, world: ShellWorld, knobs: ShellKnobs) -> None:
        self._world = world
        self._knobs = knobs
        self._deadline = 0.0
        self._what = ""
        self.may_close = False
        self.is_stopping = False
        self._failed_before = 0
        self.is_over = False
        self.remains: Remains | None = None
        """In worlds after which a survivor founds another one."""

    @property
    def _patience(self) -> float:
        timeout = self._knobs.node.core.election_timeout_seconds
        longest = self._knobs.work.timeout_seconds
        if self._knobs.operators:
            longest += OPERATORS_SECONDS
        return ELECTION_TIMEOUTS_MAX * timeout + longest + SDK_SECONDS

    def begin(self) -> None:
        """Heal everything."""
        world = self._world
        if self._knobs.is_fault_free:
            self._check_undisturbed()
        if self._knobs.refounds:
            self.remains = Remains(
                knobs=self._knobs,
                disks=[_left_on(member.disk) for member in world.members],
                entries=list(world.record.entries),
                operations=[dataclasses.replace(each) for each in world.operations],
            )
        world.is_ending = True
        world.nemesis.stop()
        world.note("heals", None, None)
        self._heal()
        self._await("callers end, and members converge")
        self._look()

    def _heal(self) -> None:
        world = self._world
        world.network.heal()
        for member in world.members:
            member.is_calm = True
            member.fuse = 0
            member.disk.commit_fault = None
            member.disk.free_bytes = None
        for host in (*world.members, *world.users):
            if not host.is_up and not _is_refused(host):
                world.note("restarts", host, None)
                host.begin()

    def _check_undisturbed(self) -> None:
        world = self._world
        led = len(world.checker.leaders)
        answered = sum(each.outcome is Outcome.OK for each in world.operations)
        if led != 1:
            world.fail(f"liveness: {led} leaders were elected though nothing went wrong")
        if not answered:
            world.fail("liveness: nothing was answered, nothing went wrong")
        world.count("fault_free")

    # ------------------------------------------------------------ what is owed

    def _await(self, what: str, seconds: float | None = None) -> None:
        self._what = what
        self._deadline = self._world.scheduler.now + (seconds or self._patience)

    def _look(self) -> None:
        world = self._world
        if self.is_stopping:
            if not any(host.is_up for host in (*world.members, *world.users)):
                self.is_over = True
                return
        elif self.may_close:
            if not any(user.is_up for user in world.users):
                self._stop_members()
        elif self._is_converged():
            self._compare_members()
            self.may_close = True
            world.note("converged", None, None)
            self._await("clients close")
        if world.scheduler.now > self._deadline:
            world.fail(f"liveness: not in time: {self._what}; {self._lacking()}")
        world.scheduler.after(LOOK_SECONDS, self._look)

    def _stop_members(self) -> None:
        world = self._world
        self.is_stopping = True
        self._failed_before = world.counters.get(HAND_OVER_FAILED, 0)
        self._await("members stop", STOP_SECONDS_MAX + 1.0)
        for number, member in enumerate(world.members):
            if self._knobs.seed % 2:
                world.scheduler.after(0.3 * number, self._stop, member)
            else:
                self._stop(member)

    @staticmethod
    def _stop(member: NodeHost) -> None:
        member.post(lambda: member.stop(hand_over=True))

    def _lacking(self) -> str:
        return " | ".join(self.describe())

    def _is_converged(self) -> bool:
        world = self._world
        if not all(user.is_up and user.is_done for user in world.users):
            return False
        if not world.desk.is_settled or not any(m.is_ready for m in world.members):
            return False
        last = world.record.last_index
        for member in world.desk.members:
            node = member.node
            if not member.is_up or node is None or member.is_stopping:
                return False
            state = member.state
            if state.is_damaged or member.disk.rotten:
                return False
            if node.applied_index != last or state.log.last_index != last:
                return False
        record = world.record
        return all(
            (seen[-1].sequence if seen else client.starts[at]) >= record.last_of(client.streams[at])
            for client in world.clients
            for at, seen in enumerate(client.seen)
        ) and all(
            (seen[-1].revision if seen else client.watch_starts[at]) >= record.last_revision
            for client in world.clients
            for at, seen in enumerate(client.watched)
        )

    def _compare_members(self) -> None:
        # A witness has no state that anybody is owed.
        desk = self._world.desk
        first, *others = [each for each in desk.members if desk.has_machine(each.node_id)]
        for member in others:
            if _contents(member) != _contents(first):
                self._world.fail(
                    f"converge equal: {member.name} and {first.name} have applied the same "
                    "entries and hold different state"
                )
        self._world.count("converged")

    # ------------------------------------------------------------ judging

    def verdict(self) -> None:
        """Compare everything with the log."""
        world = self._world
        try:
            self.judge()
        except CheckFailed as error:
            world.fail(str(error))

    def judge(self) -> None:
        """Raise `CheckFailed` for the first thing that the log does not explain."""
        world = self._world
        wrong = wrong_log(world.record, world.operations)
        require(not wrong, "client history", "\n".join(wrong[:5]))
        why, is_unknown = wrong_keys(world.operations)
        require(not why, "linearizability", why)
        if is_unknown:
            world.count("keys_undecided")
        for client in world.clients:
            for at, seen in enumerate(client.seen):
                why = wrong_tail(world.record, client.starts[at], seen, client.streams[at])
                require(not why, "tail", f"{client.name}'s tail {at}: {why}")
                if client.streams[at] and len(seen) > self._knobs.node.stream_page:
                    world.count("stream_over_a_page")
            for at, watched in enumerate(client.watched):
                why = wrong_watch(world.record, client.watch_starts[at], watched)
                require(not why, "watch", f"{client.name}'s watch {at}: {why}")
                if len(watched) > self._knobs.node.change_page:
                    world.count("changes_over_a_page")
        self._judge_disks()
        world.desk.judge()
        appended = [each for each in world.operations if isinstance(each.call, Append)]
        for each in appended:
            world.count(f"append_{each.outcome.value}")

    def _judge_disks(self) -> None:
        """Open every disk again: nothing that a clean stop left may be missing."""
        world = self._world
        last = world.record.last_index
        members = world.desk.members
        for member in members:
            # Who stops last was handed leadership, and so the whole log, or it was said that a
            # hand-over failed; a witness never is.
            has_failed = world.counters.get(HAND_OVER_FAILED, 0) > self._failed_before
            is_last = member is world.members[-1] and world.desk.has_machine(member.node_id)
            is_heir = is_last and not has_failed
            storage = MemoryStorage(member.disk)
            end = min(storage.last_index, last)
            require(
                end >= last or not is_heir or self._knobs.seed % 2 == 0,
                "clean stop",
                f"{member.name} ends at {end}, chosen is {last}",
            )
            found = storage.checksum(Index(end))
            require(
                found == world.checker.chosen[end],
                "converge byte-equal",
                f"{member.name}'s disk differs from the chosen log at {end}",
            )

    def describe(self) -> list[str]:
        """Return one line for each process: where it stands."""
        rows = []
        for member in self._world.members:
            node = member.node
            if node is None:
                rows.append(f"{member.name}: has not started")
                continue
            state = member.state
            life = "" if member.is_up else " (down)"
            damage = " damaged" if state.is_damaged else ""
            alarms = [str(each.alarm) for each in node.alarms.raised]
            rows.append(
                f"{member.name}{life}: {state.role.value} term {state.term} leader {state.leader} "
                f"last {state.log.last_index} commit {state.commit_index} "
                f"applied {node.applied_index} ready {node.is_ready} "
                f"pending {node.pending_writes}{damage} alarms {alarms}"
            )
        for client in self._world.clients:
            life = "" if client.is_up else " (down)"
            tails = [seen[-1].sequence if seen else 0 for seen in client.seen]
            watches = [seen[-1].revision if seen else 0 for seen in client.watched]
            rows.append(
                f"{client.name}{life}: done {client.is_done} tails {tails} watches {watches}"
            )
        desk = self._world.desk
        rows += [
            f"{operator.name}: done {operator.is_done}; settled {desk.is_settled}"
            for operator in self._world.operators
        ]
        if self._world.operators:
            rows.append(f"chosen: {desk.chosen}")
        return rows


def _left_on(disk: MemoryDisk) -> MemoryDisk:
    """Return a disk that holds the same, with none of its faults but rot."""
    return dataclasses.replace(disk.copied(), leftovers={}, commit_fault=None, free_bytes=None)


def _is_refused(host: Host) -> bool:
    return isinstance(host, NodeHost) and host.is_refused


def _contents(member: NodeHost) -> list[tuple[str, bytes, bytes]]:
    return member.node.contents() if member.node is not None else []
