"""One node as a value: the core with its disk, copied before each input, and its fingerprint.

Time stands still at 0. A deadline that is to pass is put at 0, contacts are forgotten at once, so
that no state differs from another by a clock alone, and voters never withhold a vote because they
lately heard a leader.
"""

from __future__ import annotations

import collections
import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from raftlog.checksum import chain
from raftlog.core import invariants
from raftlog.core.changes import LONG_AGO
from raftlog.core.entries import Boundary, Entry, EntryKind, HardState
from raftlog.core.log import RaftLog
from raftlog.core.membership import Member, Membership
from raftlog.core.messages import (
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    VoteResponse,
)
from raftlog.core.progress import Progress
from raftlog.core.raft import Raft
from raftlog.core.ready import Outgoing, Persist
from raftlog.core.settings import CoreSettings
from raftlog.core.state import NEVER, CandidateState, LeaderState, RaftState
from raftlog.errors import Compacted, invariant
from raftlog.types import Index, NodeId, Role, Term

SETTINGS = CoreSettings(append_bytes_max=1)
"""One entry for each message, so that every split of a log among messages is seen."""
READY_MAX = 16

Fingerprint = tuple[object, ...]
Names = Mapping[NodeId | None, NodeId]
Rename = Callable[[NodeId | None], NodeId | None]


class Dice:
    """Always the least number."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return the lower bound."""
        del b
        return a


class TinyDisk:
    """A durable log that is cheap to copy: entries never change, only the tuple does."""

    __slots__ = ("boundary", "entries_held", "hard_state")

    def __init__(
        self, boundary: Boundary, entries: tuple[Entry, ...], hard_state: HardState
    ) -> None:
        self.boundary = boundary
        self.entries_held = entries
        self.hard_state = hard_state

    def copy(self) -> TinyDisk:
        """Return a disk of its own."""
        return TinyDisk(self.boundary, self.entries_held, self.hard_state)

    @property
    def last_index(self) -> Index:
        """See `LogReader`."""
        return Index(len(self.entries_held))

    def entry(self, index: Index) -> Entry:
        """See `LogReader`."""
        if index == 0:
            raise Compacted("the log begins after index 0")
        return self.entries_held[index - 1]

    def entries(self, low: Index, high: Index, bytes_max: int) -> list[Entry]:
        """See `LogReader`."""
        del bytes_max
        return list(self.entries_held[low - 1 : high])

    def term(self, index: Index) -> int:
        """See `LogReader`."""
        return self.entry(index).term if index else self.boundary.term

    def checksum(self, index: Index) -> int:
        """See `LogReader`."""
        return self.entry(index).checksum if index else self.boundary.checksum

    def write(self, persist: Persist) -> None:
        """Make one round durable."""
        if persist.hard_state is not None:
            self.hard_state = persist.hard_state
        if persist.truncate_from is not None:
            self.entries_held = self.entries_held[: persist.truncate_from - 1]
        for entry in persist.entries:
            invariant(entry.index == self.last_index + 1, "a round leaves a gap on disk")
            self.entries_held = (*self.entries_held, entry)


class TinyNode:
    """A core, its disk and the rounds on their way there."""

    __slots__ = ("disk", "node_id", "raft", "rounds")

    def __init__(self, node_id: NodeId, disk: TinyDisk) -> None:
        self.node_id = node_id
        self.disk = disk
        self.rounds: tuple[Persist, ...] = ()
        self.raft = Raft(
            node_id=node_id,
            settings=SETTINGS,
            log=disk,
            hard_state=disk.hard_state,
            seal=chain,
            random=Dice(),
            now=0.0,
        )
        self.turn()

    @classmethod
    def cluster(cls, count: int) -> list[TinyNode]:
        """Return the members of a new cluster."""
        names = [NodeId(f"n{number + 1}") for number in range(count)]
        members = [Member(node_id=name, address="") for name in names]
        boundary = Boundary(
            index=Index(0),
            term=Term(0),
            checksum=7,
            next_sequence=1,
            timestamp=0,
            membership=Membership.of_voters(members),
            feature_level=1,
        )
        return [cls(name, TinyDisk(boundary, (), HardState())) for name in names]

    @property
    def state(self) -> RaftState:
        """Return the core's state."""
        return self.raft.observe()

    def copy(self) -> TinyNode:
        """Return a node that shares nothing that changes."""
        made = TinyNode.__new__(TinyNode)
        made.node_id, made.rounds, made.disk = self.node_id, self.rounds, self.disk.copy()
        made.raft = copy.copy(self.raft)
        made.raft._state = _copy_state(self.state, made.disk)  # noqa: SLF001, the core has no copy
        return made

    # ------------------------------------------------------------ inputs

    def deliver(self, source: NodeId, message: Message) -> list[Outgoing]:
        """Take a message."""
        self.raft.step(source, message, 0.0)
        return self.turn()

    def time_out(self) -> list[Outgoing]:
        """Stand for election: silence, then a pre-vote that everybody grants."""
        state = self.state
        state.election_deadline = 0.0
        self.raft.tick(0.0)
        for peer in sorted(state.quorum.voters - {self.node_id}):
            if state.role is Role.PRE_CANDIDATE:
                granted = PreVoteResponse(term=Term(state.term + 1), granted=True)
                self.raft.step(peer, granted, 0.0)
        return self.turn()

    def propose(self) -> list[Outgoing]:
        """Append a user's entry."""
        self.raft.propose(EntryKind.TRANSACTIONS, b"", 1, 0.0, 0)
        return self.turn()

    def notify(self) -> list[Outgoing]:
        """Tell followers of a commit that no AppendRequest has told them of."""
        if self.state.leadership is not None:
            self.state.leadership.notice_deadline = 0.0
        self.raft.tick(0.0)
        return self.turn()

    def complete(self) -> list[Outgoing]:
        """Finish the oldest write, and let go of what waited for it."""
        persist, *rest = self.rounds
        self.rounds = tuple(rest)
        self.disk.write(persist)
        self.raft.persisted(persist.token, 0.0)
        return [*persist.messages, *self.turn()]

    def restart(self) -> TinyNode:
        """Crash, and begin anew from what is durable."""
        return TinyNode(self.node_id, self.disk.copy())

    def turn(self) -> list[Outgoing]:
        """Do what `raftlog.node.drive` does in one turn; return what is sent at once."""
        sent: list[Outgoing] = []
        for _ in range(READY_MAX):
            if not self.raft.has_ready():
                break
            ready = self.raft.take_ready(0.0)
            sent += ready.messages
            if ready.persist is not None:
                self.rounds = (*self.rounds, _without_hint(ready.persist))
        self.state.leader_contact = LONG_AGO
        self.state.commit_handed = self.state.commit_index
        return sent

    # ------------------------------------------------------------ looking

    def fingerprint(self, names: Names | None = None) -> Fingerprint:
        """Return all that tells this node from another, hashable; tokens and times left out.

        `names`: under these names instead.
        """
        state = self.state
        hard = self.disk.hard_state
        name = names.get if names is not None else _same_name
        return (
            name(self.node_id),
            (state.term, name(state.vote), state.durable_term, name(state.durable_vote)),
            (state.role, name(state.leader), name(state.term_leader), state.commit_index),
            log_of(state),
            state.log.stable_index,
            tuple(entry.checksum for entry in self.disk.entries_held),
            (hard.term, name(hard.vote)),
            tuple(_round_fingerprint(persist, name) for persist in self.rounds),
            tuple((d.last_index, _outgoing(d.messages, name)) for d in state.outstanding),
            _candidacy_fingerprint(state.candidacy, name),
            _leadership_fingerprint(state.leadership, name),
        )

    def is_followed_by(self, following: TinyNode) -> None:
        """Check the core's own invariants of a step from this state to that."""
        invariants.check(following.state)
        invariants.check_step(invariants.observe(self.state), following.state)


def matters(message: Message) -> bool:
    """Whether a message is delivered at all; the others are always lost.

    Those are pre-votes, contact without news, and refusals that only teach a newer term.
    """
    match message:
        case HeartbeatRequest():
            return message.commit_index > 0
        case VoteResponse():
            return message.granted
        case AppendResponse():
            return message.success or message.hint is not None
        case _:
            pass
    return not isinstance(message, PreVoteRequest | PreVoteResponse | HeartbeatResponse)


def log_of(state: RaftState) -> tuple[int, ...]:
    """Return the log by its chained checksums."""
    log = state.log
    if not log.last_index:
        return ()
    return tuple(entry.checksum for entry in log.entries(Index(1), log.last_index, 1 << 30))


def _without_hint(persist: Persist) -> Persist:
    """Leave the commit hint out: as in the published specification a restart knows no commit."""
    hard = persist.hard_state
    if hard is None:
        return persist
    return dataclasses.replace(persist, hard_state=dataclasses.replace(hard, commit=Index(0)))


def _same_name(name: NodeId | None) -> NodeId | None:
    return name


def _outgoing(messages: Iterable[Outgoing], name: Rename) -> frozenset[object]:
    return frozenset((name(peer), message) for peer, message in messages)


def _round_fingerprint(persist: Persist, name: Rename) -> Fingerprint:
    hard = persist.hard_state
    return (
        (hard.term, name(hard.vote)) if hard is not None else None,
        persist.truncate_from,
        tuple(entry.checksum for entry in persist.entries),
        _outgoing(persist.messages, name),
    )


def _candidacy_fingerprint(candidacy: CandidateState | None, name: Rename) -> object:
    if candidacy is None:
        return None
    return frozenset((name(voter), granted) for voter, granted in candidacy.votes.items())


def _leadership_fingerprint(leadership: LeaderState | None, name: Rename) -> object:
    if leadership is None:
        return None
    peers = [
        (
            str(name(peer)),
            progress.state.value,
            progress.match_index,
            progress.next_index,
            progress.is_paused,
            progress.commit_sent,
        )
        for peer, progress in leadership.progress.items()
    ]
    return leadership.first_index, leadership.notice_deadline == NEVER, tuple(sorted(peers))


# ---------------------------------------------------------------- copying


def _copy_state(state: RaftState, disk: TinyDisk) -> RaftState:
    made = copy.copy(state)
    made.log = _copy_log(state.log, disk)
    made.memberships = list(state.memberships)
    made.outbox = copy.deepcopy(state.outbox)
    made.outstanding = collections.deque(
        dataclasses.replace(done, messages=list(done.messages)) for done in state.outstanding
    )
    if state.candidacy is not None:
        made.candidacy = dataclasses.replace(state.candidacy, votes=dict(state.candidacy.votes))
    if state.leadership is not None:
        made.leadership = _copy_leadership(state.leadership)
    return made


def _copy_log(log: RaftLog, disk: TinyDisk) -> RaftLog:
    made = copy.copy(log)
    made._entries = list(log._entries)  # noqa: SLF001
    made._reader = disk  # noqa: SLF001
    return made


def _copy_leadership(leadership: LeaderState) -> LeaderState:
    return dataclasses.replace(
        leadership,
        progress={peer: _copy_progress(known) for peer, known in leadership.progress.items()},
        uncommitted=collections.deque(leadership.uncommitted),
        round_sent_at=collections.deque(leadership.round_sent_at),
        reads=collections.deque(leadership.reads),
        parked_reads=list(leadership.parked_reads),
        departing={peer: copy.copy(told) for peer, told in leadership.departing.items()},
    )


def _copy_progress(progress: Progress) -> Progress:
    made = copy.copy(progress)
    made.inflights = copy.copy(progress.inflights)
    made.inflights._window = collections.deque(progress.inflights._window)  # noqa: SLF001
    return made


def texts(entries: Sequence[Entry]) -> str:
    """Return entries as term/index, for people."""
    return " ".join(f"{entry.term}/{entry.index}" for entry in entries) or "nothing"
