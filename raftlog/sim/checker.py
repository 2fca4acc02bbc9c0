"""What must hold after each event, seen by someone who sees all nodes at once.

Every check is incremental: it looks at what the one node that just moved has changed. Checksums are
chained, so one comparison at an index speaks for everything below it. `chosen` is the log of what
any node has ever known committed; nothing in it ever changes.

A failed check raises `CheckFailed`, whose text begins with the property's name.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from raftlog.core import invariants
from raftlog.core.changes import Cause
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendResponse,
    HeartbeatRequest,
    Message,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.ready import Persist
from raftlog.core.state import RaftState
from raftlog.interfaces import SnapshotInfo
from raftlog.types import Index, NodeId, Role, Term

if TYPE_CHECKING:
    from raftlog.sim.core.process import Process

PATIENT = "a banned member leaves leadership to the others"
NOT_HANDED = "a banned member is handed no leadership"
PATIENCE_TIMEOUTS = 4
FILL_BYTES = 1 << 20
FULL_CHECK_EVERY = 8
"""Every so many events the core's own invariants are checked, and whenever role or term changed."""


class CheckFailed(Exception):
    """A property does not hold; the text names it."""


def broken(name: str, text: str) -> CheckFailed:
    """Return what to raise where the property `name` does not hold."""
    return CheckFailed(f"{name}: {text}")


def require(condition: object, name: str, text: str) -> None:
    """Raise `CheckFailed` unless `condition` holds.

    The text is made all the same, so where much goes by, ask first and raise `broken`.
    """
    if not condition:
        raise broken(name, text)


MembershipCheck = Callable[[tuple[int, int], Membership, Membership], None]


class View:
    """What was last seen of one node; `durable_term` and `durable_commit` outlive its processes."""

    __slots__ = (
        "commit",
        "durable_term",
        "last_checksum",
        "last_index",
        "lost_through",
        "membership_index",
        "role",
        "term",
    )

    def __init__(self) -> None:
        self.durable_term = 0
        self.lost_through = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew with a process's new life."""
        self.term = self.commit = self.last_index = self.last_checksum = 0
        self.membership_index = -1
        self.role = Role.FOLLOWER


class Checker:
    """Sees every node, and remembers what was chosen, acknowledged and voted."""

    def __init__(self, count: Callable[[str], None], checksum: int, membership: Membership) -> None:
        self._count = count
        self.processes: list[Process] = []
        self.leaders: dict[Term, tuple[NodeId, int]] = {}
        self.chosen: list[int] = [checksum]
        """The checksum chosen at each index; at 0 that of the directory's beginning."""
        self.chosen_membership = membership
        self.chosen_membership_index = 0
        self.next_sequence = 1
        self.acked_index = 0
        self._positions: dict[int, int] = {}
        self._votes: dict[tuple[NodeId, Term], NodeId] = {}
        self._candidates: dict[Term, int] = {}
        self._folds: dict[int, int] = {}
        self._events = 0
        self._top_term = 0
        self._floors: dict[tuple[NodeId, Term], int] = {}
        """The highest floor that each witness was told in each term."""
        self.membership_chosen: MembershipCheck | None = None
        """What else is to be checked of a membership: its entry, the one before, and itself."""
        self.is_ruined = False
        self._ruined_index = 0

    @property
    def chosen_index(self) -> int:
        """Return the last index that any node has known committed."""
        return len(self.chosen) - 1

    # ------------------------------------------------------------ after each event

    def check(self, process: Process) -> None:
        """Check the node that just moved."""
        state, seen = process.state, process.seen
        self._events += 1
        if state.term != seen.term or state.role is not seen.role:
            self._standing_changed(process, state, seen)
        elif not self._events % FULL_CHECK_EVERY:
            invariants.check(state)
        log = state.log
        if log.last_checksum != seen.last_checksum or log.last_index != seen.last_index:
            if state.role is Role.LEADER:
                self._check_append_only(process, state, seen)
            seen.last_index, seen.last_checksum = log.last_index, log.last_checksum
        if state.commit_index != seen.commit:
            self._commit_moved(process, state, seen)
        if state.membership_index != seen.membership_index:
            seen.membership_index = state.membership_index
            self._check_overlap(state)
        handed = state.leadership.transfer if state.leadership is not None else None
        if handed is not None and handed.target in state.membership.banned:
            # Who can take no writes hands over to whoever is there.
            text = f"{process.node_id} hands over to {handed.target}, who is banned"
            require(state.is_witness or state.is_unfit, NOT_HANDED, text)

    def _standing_changed(self, process: Process, state: RaftState, seen: View) -> None:
        require(
            state.term >= seen.term,
            "term monotone",
            f"{process.node_id} went from term {seen.term} to {state.term}",
        )
        was_leader = seen.role is Role.LEADER and seen.term == state.term
        seen.term, seen.role = state.term, state.role
        invariants.check(state)
        if state.role is Role.LEADER and not was_leader:
            seen.last_index = 0
            self._elected(process, state)

    def _elected(self, process: Process, state: RaftState) -> None:
        who = (process.node_id, process.incarnation)
        known = self.leaders.setdefault(state.term, who)
        require(
            known == who,
            "election safety",
            f"{process.node_id} and {known[0]} both lead term {state.term}",
        )
        require(
            not self.is_ruined,
            "damage beyond repair refuses",
            f"{process.node_id} leads term {state.term} though too many copies of entry "
            f"{self._ruined_index} rotted",
        )
        if state.is_witness:
            self._count("witness_led")
        if state.is_banned:
            self._count("banned_led")
            self._check_patience(process, state)
        self._top_term = max(self._top_term, state.term)
        self._check_overlap(state)
        if len(self.leaders) > 1:
            self._count("leader_change")
        if self._candidates.get(state.term, 0) >= 3:
            self._count("election_three_way")
        if state.term == self._top_term:  # one of an older term, elected late, owes only the past
            self._check_complete(process, state)
        for other in self.processes:
            leadership = other.state.leadership if other.has_state else None
            if other is process or leadership is None or other.state.term >= state.term:
                continue
            holds = other.local() < leadership.lease_until and not leadership.is_lease_void
            require(
                not holds,
                "lease exclusivity",
                f"{process.node_id} leads term {state.term} while {other.node_id} holds a lease "
                f"of term {other.state.term}",
            )

    def _check_patience(self, process: Process, state: RaftState) -> None:
        """Check that a banned member was handed leadership, or had left it to the others for long.

        It bans by its own log, as it learns of a ban on append, and counts by its own clock.
        """
        rise = state.changes.rise
        is_told = rise is not None and rise.cause in {Cause.TRANSFER, Cause.PRIORITY}
        silent = process.local() - max(state.changes.heard_at, process.began_at)
        patience = PATIENCE_TIMEOUTS * state.settings.election_timeout_seconds
        require(
            is_told or state.quorum.voters == {process.node_id} or silent >= patience,
            PATIENT,
            f"{process.node_id} is banned, and leads term {state.term} {silent:.3f} s after it "
            f"heard a leader: {patience:.3f} s are asked for",
        )

    def ruined(self, index: int) -> None:
        """Note that too many copies of a chosen entry rotted: nobody may be elected any more."""
        self.is_ruined = True
        self._ruined_index = index

    def _check_complete(self, process: Process, state: RaftState) -> None:
        last = self.chosen_index
        found = state.log.checksum(Index(last))
        require(
            found == self.chosen[last] or state.log.boundary.index > last,
            "leader completeness",
            f"{process.node_id} leads term {state.term} without the entry chosen at {last}",
        )

    def _check_append_only(self, process: Process, state: RaftState, seen: View) -> None:
        if seen.last_index == 0:
            return
        kept = state.log.checksum(Index(seen.last_index))
        is_kept = kept == seen.last_checksum or seen.last_index < state.log.boundary.index
        require(
            state.log.last_index >= seen.last_index and is_kept,
            "leader append-only",
            f"{process.node_id} changed its own log at {seen.last_index} in term {state.term}",
        )

    # ------------------------------------------------------------ commit

    def _commit_moved(self, process: Process, state: RaftState, seen: View) -> None:
        commit = state.commit_index
        require(
            commit > seen.commit,
            "commit monotone",
            f"{process.node_id} went from commit {seen.commit} to {commit}",
        )
        seen.commit = commit
        if commit > self.chosen_index:
            self._choose(process, state)
        else:
            self._compare(process, state, commit)
        if state.role is Role.LEADER:
            self._check_durable(process, commit, "committed")

    def _compare(self, process: Process, state: RaftState, index: int) -> None:
        found = state.log.checksum(Index(index))
        require(
            found in {None, self.chosen[index]},
            "state machine safety",
            f"{process.node_id} has another entry than the one chosen at {index}",
        )

    def _choose(self, process: Process, state: RaftState) -> None:
        last, log = self.chosen_index, state.log
        require(
            log.boundary.index <= last,
            "state machine safety",
            f"{process.node_id} has a boundary at {log.boundary.index}; chosen is only {last}",
        )
        self._compare(process, state, last)
        while last < state.commit_index:
            for entry in log.entries(Index(last + 1), state.commit_index, FILL_BYTES):
                if entry.first_sequence != self.next_sequence:
                    raise broken(
                        "dense sequences",
                        f"entry {entry.index} begins at {entry.first_sequence}, not "
                        f"{self.next_sequence}",
                    )
                self.next_sequence = entry.next_sequence
                self.chosen.append(entry.checksum)
                if entry.kind is EntryKind.MEMBERSHIP:
                    self._membership_chosen(entry)
                last = entry.index

    def _membership_chosen(self, entry: Entry) -> None:
        after, before = Membership.decode(entry.payload), self.chosen_membership
        self.chosen_membership, self.chosen_membership_index = after, entry.index
        self._count("membership_changed")
        if after.is_joint:
            self._count("membership_joint")
        if self.membership_chosen is not None:
            self.membership_chosen((entry.index, entry.checksum), before, after)

    def _check_durable(self, process: Process, index: int, what: str) -> None:
        # One pass of engine 2's loop may commit under a membership and then append the next: each
        # that was in force since the last look may have been the one that counted.
        since = process.seen.membership_index
        *earlier, (_, latest) = process.state.memberships
        in_force = [each for at, each in earlier if 0 <= since <= at]
        found = [self._shortage(each, index) for each in (latest, *in_force)]
        require("" in found, "durable on a quorum", f"{process.node_id} {what} {index}, {found[0]}")

    def _shortage(self, membership: Membership, index: int) -> str:
        """Say how many voters hold a chosen entry, where a majority of either half does not."""
        checksum = self.chosen[index]
        for half in filter(None, (membership.voters, membership.outgoing)):
            holders = sum(
                self.holds(other, index, checksum) or other.seen.lost_through >= index
                for other in self.processes
                if other.node_id in half
            )
            if holders * 2 <= len(half):
                return f"which {holders} of {len(half)} voters hold"
        return ""

    @staticmethod
    def holds(process: Process, index: int, checksum: int) -> bool:
        """Whether a node's disk holds that entry, or what follows a snapshot of it."""
        disk = process.storage.disk
        entry = disk.entries.get(Index(index))
        if entry is None:
            return disk.boundary.index >= index
        return entry.checksum == checksum

    def acked(self, process: Process, entry: Entry) -> None:
        """Check that what is acknowledged is chosen and durable on a quorum."""
        require(
            not process.state.is_witness,
            "a witness takes no writes",
            f"{process.node_id} has no state machine and acknowledged entry {entry.index}",
        )
        require(
            entry.index <= self.chosen_index and self.chosen[entry.index] == entry.checksum,
            "acknowledged is committed",
            f"{process.node_id} acknowledged entry {entry.index}, which is not chosen",
        )
        if process.state.membership_index <= process.state.commit_index:
            self._check_durable(process, entry.index, "acknowledged")
        self.acked_index = max(self.acked_index, entry.index)

    # ------------------------------------------------------------ membership

    def _check_overlap(self, state: RaftState) -> None:
        """Check that a leader's quorums and those of the last chosen membership always meet."""
        if state.role is not Role.LEADER or state.term != self._top_term:
            return  # a deposed leader's membership may be of a past that others have left
        ours, chosen = state.membership, self.chosen_membership
        require(
            overlaps(ours.voters, ours.outgoing, chosen.voters, chosen.outgoing),
            "membership overlap",
            f"{state.node_id} leads with voters {sorted(ours.voters)} "
            f"(outgoing {sorted(ours.outgoing)}); chosen are {sorted(chosen.voters)} "
            f"(outgoing {sorted(chosen.outgoing)})",
        )

    # ------------------------------------------------------------ disk, life, messages

    def started(self, process: Process) -> None:
        """Check what a process begins with against what its disk has promised."""
        state, seen = process.state, process.seen
        seen.forget()
        require(
            state.term >= seen.durable_term,
            "term monotone",
            f"{process.node_id} was durably in term {seen.durable_term} and begins in {state.term}",
        )
        require(
            state.is_damaged or state.commit_index >= process.machine.index,
            "commit monotone",
            f"{process.node_id} has applied {process.machine.index} and begins with commit "
            f"{state.commit_index}",
        )

    def wiped(self, process: Process) -> None:
        """Forget what a disk had promised that was emptied, but not that it had held it."""
        seen = process.seen
        seen.durable_term = 0
        seen.lost_through = max(seen.lost_through, process.storage.last_index)
        name = process.node_id
        for voter, term in [vote for vote in self._votes if vote[0] == name]:
            del self._votes[voter, term]

    def persisting(self, process: Process, persist: Persist) -> None:
        """Check log matching for entries on their way to a disk."""
        positions = self._positions
        for entry in persist.entries:
            known = positions.setdefault(entry.term << 40 | entry.index, entry.checksum)
            if known != entry.checksum:
                text = f"{process.node_id} has another entry {entry.index} of term {entry.term}"
                raise broken("log matching", text)

    def will_write(self, process: Process, persist: Persist) -> None:
        """Look at what a round is about to change on disk."""
        if process.state.is_damaged:
            # What was sound above the rot goes too, until the leader sends it again.
            held = max(process.storage.disk.entries, default=Index(0))
            process.seen.lost_through = max(process.seen.lost_through, held)
        start = persist.truncate_from
        if start is None:
            return
        disk = process.storage.disk
        last = process.storage.last_index
        if last - start >= 1:
            self._count("truncation_of_two")
        gone = disk.entries.get(Index(last))
        if gone is not None and start <= last:
            holders = sum(self.holds(p, last, gone.checksum) for p in self.processes)
            if holders * 2 > len(self.processes):
                self._count("figure_8")

    def written(self, process: Process) -> None:
        """Remember what a disk has promised to its caller."""
        term = process.storage.disk.hard_state.term
        process.seen.durable_term = max(process.seen.durable_term, term)

    def sent(self, process: Process, target: NodeId, message: Message) -> None:
        """Check that what a message promises is durable, and that votes are cast once."""
        kind = type(message)
        disk = process.storage.disk
        hard = disk.hard_state
        if kind is VoteRequest:
            self._voted(process.node_id, message.term, process.node_id)
            is_durable = (hard.term, hard.vote) == (message.term, process.node_id)
            require(
                is_durable or hard.term > message.term,
                "own vote durable",
                f"{process.node_id} campaigns in term {message.term}; its disk holds {hard}",
            )
        elif isinstance(message, VoteResponse) and message.granted:
            self._voted(process.node_id, message.term, target)
            is_durable = (hard.term, hard.vote) == (message.term, target)
            require(
                is_durable or hard.term > message.term,
                "vote durable before it is told",
                f"{process.node_id} votes for {target} in term {message.term}; its disk holds "
                f"{hard}",
            )
        elif isinstance(message, AppendResponse) and message.success:
            self._check_ack(process, message)
        elif isinstance(message, HeartbeatRequest) and message.floor:
            self._check_floor(process, target, message)

    def _check_ack(self, process: Process, message: AppendResponse) -> None:
        """Check that what is acked is on disk; an ack of an older term may name what is gone."""
        disk = process.storage.disk
        if message.term != process.state.term:
            return
        index = message.match_index
        is_held = index in disk.entries or disk.boundary.index >= index
        if not is_held or disk.hard_state.term < message.term:
            raise broken(
                "ack after sync",
                f"{process.node_id} acks {index} in term {message.term}; its disk holds term "
                f"{disk.hard_state.term} and ends at {process.storage.last_index}",
            )

    def _check_floor(self, process: Process, target: NodeId, message: HeartbeatRequest) -> None:
        """Check that what a witness is told to be everywhere is on each disk that has a machine."""
        key = (target, message.term)
        self._floors[key] = max(self._floors.get(key, 0), message.floor)
        index = min(message.floor, self.chosen_index)
        self._check_held(process, index, "lets a witness purge up to")

    def _check_held(self, process: Process, index: int, what: str) -> None:
        """Check that all members with a machine that `process` knows of hold a chosen entry."""
        memberships = [membership for _, membership in process.state.memberships]
        able = {m.node_id for each in memberships for m in each.members if m.has_machine}
        for other in self.processes:
            if other.node_id not in able or other.seen.lost_through >= index:
                continue
            if not self.holds(other, index, self.chosen[index]):
                text = f"{process.node_id} {what} {index}, which {other.node_id} does not hold"
                raise broken("a witness keeps what others lack", text)

    def will_purge(self, process: Process, index: int) -> None:
        """Check that a witness drops nothing that it was not told is on all other machines."""
        state = process.state
        if not state.is_witness:
            return
        if state.role is Role.LEADER:
            self._check_held(process, index, "leads, and purges up to")
        else:
            told = self._floors.get((process.node_id, state.term), 0)
            require(
                index <= told,
                "a witness keeps what others lack",
                f"{process.node_id} purges up to {index}; in term {state.term} it was told {told}",
            )
        self._count("witness_purged")

    def _voted(self, voter: NodeId, term: Term, candidate: NodeId) -> None:
        if voter == candidate and (voter, term) not in self._votes:
            self._candidates[term] = self._candidates.get(term, 0) + 1
        known = self._votes.setdefault((voter, term), candidate)
        require(
            known == candidate,
            "one vote per term",
            f"{voter} votes for {known} and for {candidate} in term {term}",
        )

    # ------------------------------------------------------------ state

    def applied(self, process: Process, entry: Entry) -> None:
        """Check that every member's state is the fold of the chosen log."""
        index, machine = entry.index, process.machine
        if index > self.chosen_index or self.chosen[index] != entry.checksum:
            text = f"{process.node_id} applies another entry than the one chosen at {index}"
            raise broken("state machine safety", text)
        if machine.applies != index:
            text = f"{process.node_id} has applied {machine.applies} entries at index {index}"
            raise broken("apply once, in order", text)
        if machine.keeps_state and self._folds.setdefault(index, machine.fold) != machine.fold:
            text = f"{process.node_id} has another state at {index}"
            raise broken("state is the fold of the log", text)

    def installed(self, process: Process) -> None:
        """Check that a snapshot carries the fold of the log below it."""
        machine, disk = process.machine, process.storage.disk
        self._count("snapshot_installed")
        if not machine.keeps_state:
            self._same(process, disk.boundary.index, disk.boundary.checksum)
            is_empty = not any(disk.tables.values())
            text = f"the witness {process.node_id} was given state at {machine.index}"
            require(is_empty, "a witness keeps no state", text)
            return
        fold = self._folds.get(machine.index)
        require(
            fold == machine.fold and machine.applies == machine.index,
            "snapshot is the fold of the log",
            f"{process.node_id} installed a snapshot of another state at {machine.index}",
        )

    def snapshot_taken(self, process: Process, info: SnapshotInfo) -> None:
        """Check that a snapshot stands where the log that it replaces stands."""
        boundary = info.boundary
        require(
            boundary.index <= self.chosen_index
            and self.chosen[boundary.index] == boundary.checksum,
            "snapshot is the fold of the log",
            f"{process.node_id} took a snapshot at {boundary.index} that is not of the chosen log",
        )

    def read(self, process: Process, asked: int, index: int) -> None:
        """Check that a read index covers all that was known committed when the read was asked."""
        require(
            index >= asked,
            "reads are never stale",
            f"{process.node_id} reads at {index}; {asked} was committed before the read was asked",
        )

    def compare_disks(self) -> None:
        """Compare every node's disk with the chosen log, entry by entry (the end of a run)."""
        for process in self.processes:
            disk = process.storage.disk
            if disk.boundary.index:
                self._same(process, disk.boundary.index, disk.boundary.checksum)
            if not process.is_up:
                continue
            for index in range(disk.boundary.index + 1, process.state.commit_index + 1):
                entry = disk.entries.get(Index(index))
                if entry is not None and Index(index) not in disk.rotten:
                    self._same(process, index, entry.checksum)

    def _same(self, process: Process, index: int, checksum: int) -> None:
        require(
            index <= self.chosen_index and self.chosen[index] == checksum,
            "converge byte-equal",
            f"{process.node_id}'s disk differs from the chosen log at {index}",
        )


@functools.lru_cache(maxsize=4096)
def overlaps(
    voters: frozenset[NodeId],
    outgoing: frozenset[NodeId],
    other_voters: frozenset[NodeId],
    other_outgoing: frozenset[NodeId],
) -> bool:
    """Whether each quorum of one membership meets each of the other; by trying all of them."""
    everyone = sorted(voters | outgoing | other_voters | other_outgoing)

    def decides(group: set[NodeId], *halves: frozenset[NodeId]) -> bool:
        return all(len(group & half) * 2 > len(half) for half in halves if half)

    for size in range(len(everyone) + 1):
        for chosen in itertools.combinations(everyone, size):
            group = set(chosen)
            rest = set(everyone) - group
            if decides(group, voters, outgoing) and decides(rest, other_voters, other_outgoing):
                return False
    return True
