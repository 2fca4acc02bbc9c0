"""The log, its rounds on their way to the disk, and the leader's window, against plain models."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from raftlog.core.entries import Boundary, Entry
from raftlog.core.log import RaftLog
from raftlog.core.membership import Membership
from raftlog.core.messages import AppendResponse, PreVoteResponse, VoteResponse
from raftlog.core.progress import PROGRESS_TRANSITIONS, Progress, ProgressState
from raftlog.core.ready import Install, Persist
from raftlog.core.settings import CoreSettings
from raftlog.errors import Compacted
from raftlog.types import Index, NodeId, Position, Role, Term
from tests.effort import effort

from .cluster import Disk, bootstrap, make_entries, member, voters
from .lone import A, Lone
from .test_quorum import naive_reached, naive_vote

BOUNDARY = bootstrap(voters("a"))


class Log(RuleBasedStateMachine):
    """A list of entries, and what of it is durable; rounds become durable late, in order."""

    @initialize(cache=st.sampled_from([1, 200, 1 << 20]), terms=st.lists(st.integers(1, 3)))
    def begin(self, cache: int, terms: list[int]) -> None:
        """A log of which everything is durable."""
        self.disk = Disk(BOUNDARY)
        self.log = RaftLog(self.disk, cache)
        self.boundary: Boundary = BOUNDARY
        self.entries: list[Entry] = []
        self.term = 1
        self.rounds: list[tuple[Persist, Index]] = []
        self.stable = 0
        for term in sorted(terms):
            self.append(1, term - self.term, 9)
        self.flush()

    @property
    def last(self) -> int:
        return self.boundary.index + len(self.entries)

    @rule(count=st.integers(1, 4), rises=st.integers(0, 2), size=st.sampled_from([0, 9, 150]))
    def appends(self, count: int, rises: int, size: int) -> None:
        self.append(count, rises, size)

    def append(self, count: int, rises: int, size: int) -> None:
        self.term += rises
        after = self.entries[-1] if self.entries else None
        start = self.boundary
        fresh = make_entries(start, [self.term] * count, after=after, payload=b"p" * size)
        self.log.append(fresh)
        self.entries += fresh

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        keep = data.draw(st.integers(0, len(self.entries) - 1), "keep")
        self.log.truncate_from(self.entries[keep].index)
        del self.entries[keep:]
        self.term += 1
        self.stable = min(self.stable, self.last)
        self.rounds = [(done, Index(min(reach, self.last))) for done, reach in self.rounds]

    @rule(all_of_it=st.booleans())
    def write(self, all_of_it: bool) -> None:
        """The next step on the way to the disk, or all of them."""
        if all_of_it:
            self.flush()
        elif self.rounds:
            self.durable()
        else:
            self.hand_out()

    def flush(self) -> None:
        self.hand_out()
        while self.rounds:
            self.durable()

    @rule()
    def hand_out(self) -> None:
        """A round takes all that the disk does not know of, once."""
        assert self.log.has_unpersisted == (self.unwritten() != (None, None, ()))
        truncate_from, install, entries = self.log.take_unpersisted()
        assert not self.log.has_unpersisted
        done = Persist(token=1, truncate_from=truncate_from, install=install, entries=entries)
        self.rounds.append((done, Index(self.last)))

    def unwritten(self):
        """Return what the next round would take, by looking only."""
        log = self.log
        return log._truncate_from, log._install, tuple(log._entries[log._handed + 1 - log._first :])

    def durable(self) -> None:
        """The oldest round is on disk; what a later truncation took away does not count."""
        done, reach = self.rounds.pop(0)
        self.disk.write(done)
        self.log.mark_stable(reach)
        self.stable = max(self.stable, reach)

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        self.flush()
        high = min(self.disk.last_index, self.stable)
        if high <= self.boundary.index:
            return
        self.boundary = self.disk.purge(
            Index(data.draw(st.integers(self.boundary.index + 1, high), "to"))
        )
        self.entries = [e for e in self.entries if e.index > self.boundary.index]
        self.log.compacted(self.boundary)
        self.log.compacted(self.boundary)  # hearing it twice is nothing new

    @rule(ahead=st.integers(0, 5), seldom=st.integers(0, 5))
    def restore(self, ahead: int, seldom: int) -> None:
        if seldom < 5:
            return
        self.term += 1
        self.boundary = dataclasses.replace(
            BOUNDARY, index=Index(self.last + ahead), term=Term(self.term), checksum=ahead
        )
        self.log.reset(Install(boundary=self.boundary, snapshot_id="s"))
        self.entries, self.stable = [], 0
        self.rounds = [(done, Index(0)) for done, _ in self.rounds]

    @rule(data=st.data(), size=st.sampled_from([1, 100, 250, 1 << 20]))
    def slices(self, data: st.DataObject, size: int) -> None:
        """A slice is what the list holds, cut by bytes, at least one."""
        if not self.entries:
            return
        low = data.draw(st.integers(self.boundary.index + 1, self.last), "low")
        high = data.draw(st.integers(low, self.last), "high")
        wanted = [e for e in self.entries if low <= e.index <= high]
        keep, room = 1, size - wanted[0].size
        while keep < len(wanted) and wanted[keep].size <= room:
            room -= wanted[keep].size
            keep += 1
        found = self.log.entries(Index(low), Index(high), size)
        assert found == wanted[: len(found)]
        assert found
        assert len(found) <= keep or sum(e.size for e in found) <= size
        assert len(found) == keep or size < 1 << 20

    @invariant()
    def hints(self) -> None:
        """The hint is the last position at or below an index whose term is not above a term."""
        low = self.boundary.position
        for index in range(max(low.index - 1, 0), self.last + 2, 2):
            for term in {self.term, self.term - 1, low.term, low.term + 1}:
                positions = [e.position for e in self.entries]
                fits = [p for p in positions if p.index <= index and p.term <= term]
                expected = fits[-1] if fits else low
                assert self.log.last_at_most(Index(index), Term(term)) == expected

    @invariant()
    def holds_the_list(self) -> None:
        """Terms, checksums, marks and ends are the list's; what lies below is known to be gone."""
        log, boundary = self.log, self.boundary
        assert (log.boundary, log.last_index) == (boundary, self.last)
        assert log.first_index == boundary.index + 1
        assert log.stable_index == self.stable or self.stable <= boundary.index
        for entry in self.entries:
            assert log.term(entry.index) == entry.term
            assert log.checksum(entry.index) == entry.checksum
            assert log.entry(entry.index) == entry
        assert log.term(boundary.index) == boundary.term
        assert log.checksum(boundary.index) == boundary.checksum
        assert log.term(Index(self.last + 1)) is None
        last = self.entries[-1] if self.entries else boundary
        assert log.last_position == last.position
        assert (log.last_checksum, log.next_sequence) == (last.checksum, last.next_sequence)
        if boundary.index:
            assert log.term(Index(boundary.index - 1)) is None
            with pytest.raises(Compacted):
                log.entries(boundary.index, log.last_index, 1)


TestLog = Log.TestCase
TestLog.settings = effort(40, 40)


class Window(RuleBasedStateMachine):
    """One peer's progress: what was sent and not acked is in the window, and nothing else is."""

    @initialize(count=st.integers(1, 4), size=st.integers(1, 50), start=st.integers(1, 9))
    def begin(self, count: int, size: int, start: int) -> None:
        self.bounds = (count, size)
        bounds = CoreSettings(inflight_count_max=count, inflight_bytes_max=size)
        self.progress = Progress(Index(start), bounds, 0.0)
        self.unacked: list[tuple[int, int]] = []
        self.acked_to = 0

    @rule(count=st.integers(0, 4), size=st.integers(0, 30))
    def send(self, count: int, size: int) -> None:
        """Probing is one at a time and moves nothing; replicating goes on from what was sent."""
        progress = self.progress
        if progress.state is ProgressState.SNAPSHOT:
            return
        last = progress.next_index - 1 + count
        if progress.state is ProgressState.PROBE:
            progress.sent(Index(last), size, 0.0)
            assert progress.is_paused
        elif not progress.inflights.is_full:
            progress.sent(Index(last), size, 0.0)
            self.unacked.append((last, size))
            assert progress.next_index == last + 1

    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        progress = self.progress
        match = data.draw(st.integers(0, progress.next_index + 1), "match")
        assert progress.acked(Index(match), 0.0) == (match > self.acked_to)
        self.acked_to = max(self.acked_to, match)
        self.unacked = [(last, size) for last, size in self.unacked if last > match]

    @rule(state=st.sampled_from(ProgressState), at=st.integers(1, 20))
    def become(self, state: ProgressState, at: int) -> None:
        progress = self.progress
        if state not in PROGRESS_TRANSITIONS[progress.state]:
            return
        match state:
            case ProgressState.PROBE:
                progress.become_probe(Index(at))
            case ProgressState.REPLICATE:
                progress.become_replicate(0.0)
                assert progress.next_index == self.acked_to + 1
            case ProgressState.SNAPSHOT:
                progress.become_snapshot()
        self.unacked = []
        assert not progress.is_paused

    @rule(forgets=st.booleans())
    def look_again(self, forgets: bool) -> None:
        """A peer with a new stream is probed anew, and what it acked is forgotten."""
        is_snapshot = self.progress.state is ProgressState.SNAPSHOT
        self.progress.forget_match() if forgets else self.progress.look_again()
        self.acked_to = 0 if forgets else self.acked_to
        if not is_snapshot:
            self.unacked = []
            assert self.progress.state is ProgressState.PROBE

    @invariant()
    def counts(self) -> None:
        """The window's bytes and fullness are those of what is unacked; next is above match."""
        progress, (count, size) = self.progress, self.bounds
        held = sum(size for _, size in self.unacked)
        assert (len(progress.inflights), progress.inflights.bytes) == (len(self.unacked), held)
        assert progress.inflights.is_full == (len(self.unacked) >= count or held >= size)
        assert progress.match_index == self.acked_to < progress.next_index


TestWindow = Window.TestCase
TestWindow.settings = effort(60, 30)


# ---------------------------------------------------------------- the rules, through a core

NAMES = [NodeId(name) for name in "abcdef"]
KINDS = ("voter", "outgoing", "both", "learner", "nobody")


@st.composite
def seats(draw: st.DrawFn) -> Membership:
    """A membership in which a votes: simple or joint, with learners and witnesses."""
    seat = {name: draw(st.sampled_from(KINDS)) for name in NAMES[1:]}
    seat[A] = draw(st.sampled_from(["voter", "both"]))
    witnesses = {name for name in NAMES[1:] if draw(st.booleans())}
    return Membership(
        members=tuple(
            member(n, has_machine=n not in witnesses) for n in NAMES if seat[n] != KINDS[4]
        ),
        voters=frozenset(n for n in NAMES if seat[n] in {"voter", "both"}),
        outgoing=frozenset(n for n in NAMES if seat[n] in {"outgoing", "both"}),
        learners=frozenset(n for n in NAMES if seat[n] == "learner"),
    )


def halves(membership: Membership) -> list[frozenset[NodeId]]:
    return [membership.voters, *([membership.outgoing] if membership.outgoing else [])]


def stand(node: Lone, membership: Membership) -> None:
    """Bring a to a candidacy in which only its own vote is cast."""
    node.expire()
    for voter in sorted(membership.all_voters - {A}):
        node.step(voter, PreVoteResponse(term=Term(node.raft.term + 1), granted=True))
    node.persist()


@settings(max_examples=80)
@given(seats(), st.lists(st.tuples(st.sampled_from(NAMES[1:]), st.booleans()), max_size=9))
def test_an_election_is_won_exactly_when_no_missing_vote_could_lose_it(membership, answers) -> None:
    """A core leads, or gives up, at the very answer at which every half is won, or one is lost."""
    node = Lone([1], membership=membership)
    stand(node, membership)
    cast = {A: True}
    for voter, granted in [*answers]:
        found = {naive_vote(half, cast).value for half in halves(membership)}
        if "lost" in found or found == {"won"}:
            break
        assert node.raft.role is Role.CANDIDATE
        node.step(voter, VoteResponse(term=node.raft.term, granted=granted))
        cast.setdefault(voter, granted)
    found = {naive_vote(half, cast).value for half in halves(membership)}
    expected = Role.CANDIDATE
    if "lost" in found:
        expected = Role.FOLLOWER
    elif found == {"won"}:
        expected = Role.LEADER
    assert node.raft.role is expected


@settings(max_examples=80)
@given(
    seats(),
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 6)), max_size=12),
)
def test_the_commit_index_is_what_every_half_holds_durably(membership, acks) -> None:
    """After any acks and own writes, commit is the naive twin's, and nothing before this term's."""
    node = Lone([1, 1], membership=membership)
    stand(node, membership)
    for voter in sorted(membership.all_voters - {A}):
        node.step(voter, VoteResponse(term=node.raft.term, granted=True))
    assert node.raft.role is Role.LEADER
    first = node.raft.last_index
    for _ in range(3):
        node.call(lambda raft: raft.propose(1, b"x", 1, node.now, 0))
    held = {A: node.state.log.stable_index}
    commit = 0
    for who, index in acks:
        if who == A:
            node.persist(1)
            held[A] = node.state.log.stable_index
        elif who in membership.node_ids:
            match = Index(min(index, node.raft.last_index))
            node.step(who, AppendResponse(term=node.raft.term, success=True, match_index=match))
            held[who] = max(held.get(who, 0), match)
        reached = min(naive_reached(half, held) for half in halves(membership))
        commit = max(commit, reached) if reached >= first else commit
        assert node.raft.commit_index == commit
        if node.raft.membership != membership:
            return  # a joint membership was committed, and left
        assert node.raft.has_committed_in_term == (commit >= first)


def test_position_orders_by_term_first() -> None:
    """What elections compare puts any entry of a later term behind every one before (§3.6.1)."""
    assert Position(Term(2), Index(1)) > Position(Term(1), Index(9))
