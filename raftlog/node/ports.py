"""Ports: what a part of the node may use of its surroundings, as one record.

`Ports` is one member's: its storage, its transport, its machine. `Shared` belongs to the process,
which makes it once and may host many members with it. A part takes from them what it needs and
keeps no other way out. Whoever makes a port also closes it: the node closes none of these.
"""

from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from random import Random
from typing import Protocol

from raftlog.core.changes import RoleChanges
from raftlog.core.log import RaftLog
from raftlog.core.membership import Membership
from raftlog.core.progress import PeerProgress
from raftlog.core.ready import Standing
from raftlog.errors import LeaderHint, NotLeader, SafetyRefused
from raftlog.interfaces import Clock, Identity, Observer, StateMachine, Storage, Switches, Transport
from raftlog.node.beat import Beat
from raftlog.node.settings import NodeSettings
from raftlog.node.watchdog import Watchdog
from raftlog.types import Index, NodeId, Role, Term


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """One member's surroundings."""

    storage: Storage
    transport: Transport
    machine: StateMachine
    clock: Clock
    observer: Observer
    random: Random
    settings: NodeSettings
    switches: Switches | None = None
    """Where an operator's switches outlive a restart; None: nowhere."""


THREAD_SECONDS = 2.0
"""How long a stop waits for each thread."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Executors:
    """The process's threads, one each: for commits, for machines that block, for snapshots."""

    writer: Executor
    apply: Executor
    snapshot: Executor

    @classmethod
    def threads(cls) -> Executors:
        """Return executors of one thread each, named for what they do."""
        return cls(
            writer=ThreadPoolExecutor(1, thread_name_prefix="writer"),
            apply=ThreadPoolExecutor(1, thread_name_prefix="apply"),
            snapshot=ThreadPoolExecutor(1, thread_name_prefix="snapshot"),
        )

    def close(self) -> bool:
        """Drop what has not begun, and wait a while for what has; return whether all has ended.

        A machine may be at something that never ends, and so may a disk.
        """
        ending = {"wait": True, "cancel_futures": True}
        enders: list[threading.Thread] = []
        for executor in (self.writer, self.apply, self.snapshot):
            if isinstance(executor, ThreadPoolExecutor):
                enders.append(
                    threading.Thread(target=executor.shutdown, kwargs=ending, daemon=True)
                )
            else:
                executor.shutdown(wait=True, cancel_futures=True)
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join(THREAD_SECONDS)
        return not any(ender.is_alive() for ender in enders)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the members of one process share. Start it on their loop before the first of them."""

    executors: Executors
    beat: Beat
    watchdog: Watchdog

    @classmethod
    def of(
        cls,
        *,
        clock: Clock,
        observer: Observer,
        settings: NodeSettings,
        executors: Executors | None = None,
    ) -> Shared:
        """Return what one process needs, with threads of its own unless it is given some."""
        beat = Beat(clock=clock, observer=observer, stall_seconds=settings.stall_seconds)
        watchdog = Watchdog(
            clock=clock,
            observer=observer,
            beat=beat,
            limit_seconds=settings.core.election_timeout_seconds,
            period_seconds=settings.watchdog_seconds,
        )
        return cls(executors=executors or Executors.threads(), beat=beat, watchdog=watchdog)

    def start(self) -> None:
        """Begin to watch the running loop."""
        self.beat.start()
        self.watchdog.start()

    def close(self) -> bool:
        """Stop watching, and end the threads; call it once every member has stopped.

        Returns False if a thread is still at something: it may still use the storage.
        """
        self.beat.stop()
        self.watchdog.stop()
        return self.executors.close()


class CoreView(Protocol):
    """What a part may see of the core. Whatever it wants of the core goes through `Inputs`."""

    is_outside: bool
    """Whether this node joined, and the membership in force does not name its directory yet.

    What its log says of members may then be of another cluster, which this one was restored from.
    """

    @property
    def log(self) -> RaftLog:
        """Return the log, unstable tail included."""
        ...

    @property
    def membership(self) -> Membership:
        """Return the membership in force: the latest in the log, committed or not."""
        ...

    @property
    def committed_membership(self) -> Membership:
        """Return the latest membership known committed."""
        ...

    @property
    def departing(self) -> frozenset[NodeId]:
        """Return the removed peers that this leader still tells of it."""
        ...

    @property
    def membership_index(self) -> Index:
        """Return the index of the entry (or boundary) the membership came with."""
        ...

    @property
    def term(self) -> Term:
        """Return the current term."""
        ...

    @property
    def role(self) -> Role:
        """Return what this node is doing now."""
        ...

    @property
    def leader(self) -> NodeId | None:
        """Return whom this node follows, itself if it leads, or None."""
        ...

    @property
    def commit_index(self) -> Index:
        """Return the newest index known committed."""
        ...

    @property
    def last_index(self) -> Index:
        """Return the last index of the log, durable or not."""
        ...

    @property
    def next_sequence(self) -> int:
        """Return the sequence the next transaction will get."""
        ...

    @property
    def standing(self) -> Standing:
        """Return role, term and leader."""
        ...

    @property
    def transferee(self) -> NodeId | None:
        """Return to whom leadership is being handed, or None."""
        ...

    @property
    def changes(self) -> RoleChanges:
        """Return why this node's role changed, and how its newest transfer stands."""
        ...

    def progress_of(self, peer: NodeId) -> PeerProgress | None:
        """Return a copy of the leader's view of `peer`, or None where this node has none."""
        ...

    @property
    def purge_floor(self) -> Index:
        """Return up to where all members with a machine are known to hold the log; 0 if unknown."""
        ...

    def quorum_active(self, now: float) -> bool:
        """Whether a quorum was heard within the election timeout (a follower: the leader)."""
        ...


def hint_of(core: CoreView) -> LeaderHint | None:
    """Return who leads, as an error tells it to a client, or None where nobody is known to."""
    leader = None if core.is_outside else core.leader
    member = core.membership.member(leader) if leader else None
    if member is None:
        return None
    return LeaderHint(member.node_id, member.address, int(core.term))


def is_witness(core: CoreView, identity: Identity) -> bool:
    """Whether this member stores the log without a machine, voting or not.

    By its directory, which never changes its kind; a directory of raftlog 0.1.0 keeps state though
    the membership says that it has no machine, and answers nothing of it (decision 40).
    """
    myself = core.membership.member(identity.node_id)
    return not identity.has_machine or (myself is not None and not myself.has_machine)


def require_machine(core: CoreView, identity: Identity) -> None:
    """Raise NotLeader where this member is a witness: clients go on to a member with a machine."""
    if not is_witness(core, identity):
        return
    node_id = identity.node_id
    able = ", ".join(each.node_id for each in core.membership.members if each.has_machine)
    raise NotLeader(
        f"{node_id} is a witness and answers nothing of the state: ask {able}",
        leader=None if core.role is Role.LEADER else hint_of(core),
    )


def require_state(core: CoreView, identity: Identity) -> None:
    """Raise SafetyRefused where this member is a witness, which has no state to give."""
    if is_witness(core, identity):
        raise SafetyRefused(f"{identity.node_id} is a witness and has no state: ask another member")
