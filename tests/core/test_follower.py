"""The follower's side: what is accepted, what is refused, what stops the node, and repair."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from raftlog.checksum import chain
from raftlog.core import invariants
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    TrialReport,
    TrialRequest,
    TrialVerdict,
    TrialVoteRequest,
    TrialVoteResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.terms import TERM_JUMP_MAX
from raftlog.errors import InvariantBroken
from raftlog.types import Index, Position, Role, Term

from .cluster import Cluster, make_entries, voters
from .lone import A, B, C, Lone, at


def sealed(entry: Entry, previous: int, **changes) -> Entry:
    """Return the entry changed, with a checksum that holds again."""
    changed = dataclasses.replace(entry, **changes)
    return dataclasses.replace(
        changed,
        checksum=chain(
            previous, changed.term, changed.index, changed.kind, changed.codec,
            changed.first_sequence, changed.count, changed.timestamp, changed.payload,
        ),
    )  # fmt: skip


def positions(node: Lone) -> list[tuple[int, int]]:
    """Return the log as (term, index)."""
    log = node.raft.log
    if log.last_index == log.boundary.index:
        return []
    found = log.entries(log.first_index, log.last_index, 1 << 30)
    return [(e.term, e.index) for e in found]


# ---------------------------------------------------------------- acceptance and acks


def test_entries_are_acked_only_once_durable() -> None:
    """An ack promises what is on disk, so it waits for the write (decision 14)."""
    node = Lone(term=1)
    node.append(make_entries(node.disk.boundary, [1, 1]), term=1)
    assert node.of(AppendResponse) == []
    node.persist()
    assert node.of(AppendResponse) == [
        AppendResponse(term=Term(1), success=True, match_index=Index(2))
    ]


def test_a_repeated_request_does_not_overtake_the_write_it_acks() -> None:
    """A duplicate that finds the entries in memory waits for the same write; later ones do not."""
    node = Lone(term=1)
    entries = make_entries(node.disk.boundary, [1, 1])
    node.append(entries, term=1)
    node.append(entries, term=1)
    assert node.of(AppendResponse) == []
    assert len(node.rounds) == 1
    node.persist()
    assert len(node.of(AppendResponse)) == 2
    node.append(entries, term=1)
    assert len(node.of(AppendResponse)) == 1
    assert node.rounds == []


def test_s15_commit_is_capped_by_what_this_message_verified() -> None:
    """An unverified suffix is not committed because the leader's commit index reaches it."""
    node = Lone([1, 1, 1])
    first = node.disk.log[0]
    node.append([], term=2, previous=first, commit=3)
    assert node.raft.commit_index == 1


def test_s16_the_ack_names_what_was_verified_not_the_own_end() -> None:
    """A follower with a longer log acks previous plus entries, never its own last index."""
    node = Lone([1, 1, 1])
    log = node.disk.log
    node.append(log[1:2], term=1, previous=log[0])
    assert node.of(AppendResponse)[0].match_index == 2


def test_s17_a_delayed_request_truncates_nothing() -> None:
    """“If an existing entry conflicts … delete it”: without a conflict nothing goes (§3.5)."""
    node = Lone(term=1)
    entries = make_entries(node.disk.boundary, [1, 1, 1])
    node.append(entries, term=1)
    node.append(entries[:1], term=1)
    node.append([], term=1)
    node.persist()
    assert positions(node) == [(1, 1), (1, 2), (1, 3)]
    assert len(node.disk.log) == 3


def test_a_conflict_truncates_from_where_it_is() -> None:
    """Conflicting entries and all that follow go, in the round that brings the new ones."""
    node = Lone([1, 1, 1, 1])
    log = list(node.disk.log)
    fresh = make_entries(node.disk.boundary, [2, 2], after=log[1])
    node.append([log[1], *fresh], term=2, previous=log[0])
    assert positions(node) == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert node.rounds[-1].truncate_from == 3
    assert [e.index for e in node.rounds[-1].entries] == [3, 4]
    node.persist()
    assert [e.position for e in node.disk.log] == [at(1, 1), at(1, 2), at(2, 3), at(2, 4)]


def test_a_shorter_conflict_truncates_the_longer_suffix() -> None:
    """One entry of a newer term replaces any number of older ones."""
    node = Lone([1, 1, 1, 1])
    node.append(make_entries(node.disk.boundary, [3]), term=3)
    node.persist()
    assert positions(node) == [(3, 1)]
    assert len(node.disk.log) == 1


def test_the_log_matching_check_refuses_a_gap() -> None:
    """“If the follower does not find an entry … it refuses”, naming where its log ends (§3.5)."""
    node = Lone([1, 1])
    longer = make_entries(node.disk.boundary, [1, 1, 1, 1])
    node.append(longer[3:], term=1, previous=longer[2])
    assert node.of(AppendResponse) == [
        AppendResponse(term=Term(1), success=False, match_index=Index(3), hint=at(1, 2))
    ]


def test_the_hint_skips_whole_terms() -> None:
    """A refusal for another term names the last position not newer than the leader's (§3.5)."""
    node = Lone([1, 1, 4, 4, 4])
    leaders = make_entries(node.disk.boundary, [1, 1, 2, 2, 2, 6])
    node.append(leaders[5:], term=6, previous=leaders[4])
    assert node.of(AppendResponse)[0].hint == at(1, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: [e[0], dataclasses.replace(e[1], payload=b"other")],
        lambda e: [dataclasses.replace(e[0], checksum=e[0].checksum ^ 1), e[1]],
        lambda e: [dataclasses.replace(e[0], first_sequence=5), e[1]],
        lambda e: [e[1], e[0]],
        lambda e: [e[0], e[0]],
        lambda e: [e[1]],
        lambda e: [dataclasses.replace(e[0], term=Term(0)), e[1]],
        lambda e: [dataclasses.replace(e[0], term=Term(9)), e[1]],
        lambda e: [dataclasses.replace(e[0], kind=999), e[1]],
        lambda e: [dataclasses.replace(e[0], count=1 << 40), e[1]],
        lambda e: [dataclasses.replace(e[0], timestamp=-1), e[1]],
        lambda e: [dataclasses.replace(e[0], codec=256), e[1]],
    ],
)
def test_what_was_damaged_on_the_way_is_refused(spoil) -> None:
    """Entries whose chain, order or numbers do not hold change nothing, and stop nobody."""
    node = Lone(term=2)
    entries = make_entries(node.disk.boundary, [1, 2])
    node.append(spoil(entries), term=2)
    assert [m.success for m in node.of(AppendResponse)] == [False]
    assert node.raft.last_index == 0
    node.append(entries, term=2)
    assert node.raft.last_index == 2


def test_indexes_beyond_the_integer_are_refused() -> None:
    """A previous index at the end of the numbers, or below zero, is a refusal, not a crash."""
    node = Lone(term=1)
    entry = make_entries(node.disk.boundary, [1])[0]
    for index in ((1 << 63) - 1, -1):
        node.step(
            B,
            AppendRequest(
                term=Term(1),
                previous=Position(Term(0), Index(index)),
                previous_checksum=0,
                entries=(entry,),
                commit_index=Index(0),
            ),
        )
    assert [m.success for m in node.of(AppendResponse)] == [False, False]


def test_an_unknown_kind_stops_the_node() -> None:
    """An entry this version cannot read is never stored nor skipped (S45)."""
    node = Lone(term=1)
    entry = make_entries(node.disk.boundary, [1])[0]
    unknown = sealed(entry, node.disk.boundary.checksum, kind=77)
    with pytest.raises(InvariantBroken, match="kind 77"):
        node.append([unknown], term=1)
    assert node.raft.last_index == 0


def test_an_unreadable_membership_stops_the_node() -> None:
    """A verified membership entry that does not parse is the leader's error."""
    node = Lone(term=1)
    entry = make_entries(node.disk.boundary, [1])[0]
    broken = sealed(
        entry, node.disk.boundary.checksum, kind=EntryKind.MEMBERSHIP, payload=b"nonsense"
    )
    with pytest.raises(InvariantBroken, match="does not parse"):
        node.append([broken], term=1)
    assert node.raft.last_index == 0


def test_divergence_at_a_committed_index_stops_the_node() -> None:
    """Two verified logs that differ where this one is committed: stop, keep the evidence."""
    node = Lone([1, 1, 1], commit=2)
    other = make_entries(node.disk.boundary, [1, 1, 1], payload=b"other")
    with pytest.raises(InvariantBroken, match="divergence at committed index 1"):
        node.append(other[:1], term=1)
    with pytest.raises(InvariantBroken, match="divergence at committed index 2"):
        node.append(other[2:], term=1, previous=other[1])
    assert positions(node) == [(1, 1), (1, 2), (1, 3)]


def test_a_bare_probe_proves_no_divergence() -> None:
    """A checksum that nothing vouches for may be damage; the refusal asks for the proof."""
    node = Lone([1, 1, 1], commit=2)
    mine = node.disk.log[1]
    node.append([], term=1, previous=dataclasses.replace(mine, checksum=5))
    assert node.of(AppendResponse) == [
        AppendResponse(term=Term(1), success=False, match_index=Index(2), hint=at(1, 1))
    ]


def test_same_position_other_checksum_above_commit_is_a_conflict() -> None:
    """Log matching compares checksums, so an equal term does not hide another entry."""
    node = Lone([1, 1], commit=1)
    log = node.disk.log
    other = make_entries(node.disk.boundary, [1], after=log[0], payload=b"other")
    node.append(other, term=1, previous=log[0])
    node.persist()
    assert node.disk.log == [log[0], other[0]]


def test_what_lies_below_the_boundary_is_taken_as_known() -> None:
    """A request that begins below the compacted part is skipped up to it, and checked at it."""
    node = Lone([1, 1, 1], commit=3)
    log = list(node.disk.log)
    node.call(lambda raft: raft.compacted(node.disk.purge(Index(2))))
    fresh = make_entries(node.disk.boundary, [1], after=log[2])
    node.append([*log, *fresh], term=1)
    node.persist()
    assert node.of(AppendResponse)[0].match_index == 4
    assert positions(node) == [(1, 3), (1, 4)]
    node.append(log[:1], term=1)
    assert node.of(AppendResponse)[0].match_index == 1


def test_a_purge_the_core_has_not_heard_of_is_no_conflict() -> None:
    """What the storage has dropped meanwhile was committed, so it matches."""
    node = Lone([1, 1, 1], commit=3)
    log = list(node.disk.log)
    node.disk.purge(Index(3))
    node.append(log[1:], term=1, previous=log[0])
    assert node.of(AppendResponse)[0].match_index == 3
    assert node.raft.last_index == 3


# ---------------------------------------------------------------- terms and leaders


def test_requests_of_an_older_term_are_refused_and_taught() -> None:
    """“If term < currentTerm, reply false”, with the newer term (§3.3)."""
    node = Lone([1], term=5)
    node.append([], term=4, previous=node.disk.log[0])
    node.heartbeat(term=4)
    boundary = dataclasses.replace(node.origin, index=Index(9))
    node.step(B, InstallSnapshot(term=Term(4), boundary=boundary, snapshot_id="s"))
    assert [m.term for _, m in node.sent] == [5, 5, 5]
    assert node.raft.leader is None


def test_two_leaders_in_one_term_stop_the_node() -> None:
    """Election safety is checked where it would show (§3.6.3)."""
    node = Lone([1])
    node.heartbeat(term=1, source=B)
    with pytest.raises(InvariantBroken, match="two leaders"):
        node.heartbeat(term=1, source=C)
    leader = Lone()
    leader.lead()
    with pytest.raises(InvariantBroken, match="two leaders"):
        leader.heartbeat(term=1, source=C)


def test_messages_with_no_legal_term_or_from_itself_are_dropped() -> None:
    """Term 0, a term beyond the integer, and one's own echo change nothing."""
    node = Lone([1])
    for term in (0, -1, 1 << 63):
        node.heartbeat(term=term)
    node.heartbeat(term=1, source=A)
    assert (node.raft.term, node.raft.leader, node.sent) == (1, None, [])


def every_message(term: int) -> list[Message]:
    """One message of each kind there is, all of this term."""
    now, last = Term(term), at(1, 1)
    boundary = dataclasses.replace(Lone([1]).raft.log.boundary, index=Index(9), term=now)
    return [
        PreVoteRequest(term=now, last=last),
        PreVoteResponse(term=now, granted=False),
        VoteRequest(term=now, last=last, transfer=True),
        VoteResponse(term=now, granted=False),
        AppendRequest(
            term=now, previous=last, previous_checksum=0, entries=(), commit_index=Index(0)
        ),
        AppendResponse(term=now, success=False, match_index=Index(0)),
        HeartbeatRequest(term=now, commit_index=Index(0), context=1, last_index=Index(0)),
        HeartbeatResponse(term=now, context=1),
        TimeoutNow(term=now),
        TrialRequest(term=now, context=1, last=last),
        TrialVoteRequest(term=now, context=1, last=last),
        TrialVoteResponse(term=now, context=1, verdict=TrialVerdict.GRANTED),
        TrialReport(term=now, context=1, voter=B, verdict=TrialVerdict.GRANTED),
        ReadIndexRequest(term=now, context=1),
        ReadIndexResponse(term=now, context=1, index=None),
        InstallSnapshot(term=now, boundary=boundary, snapshot_id="9-1-x"),
    ]


def test_a_term_far_above_the_own_one_is_refused_from_anybody() -> None:
    """A jump of more than 2^40 changes nothing, whatever the message; one of 2^40 is taken."""
    kinds = {type(message) for message in every_message(1)}
    assert kinds == set(get_args(Message))
    for message in every_message(1 + TERM_JUMP_MAX + 1):
        node = Lone([1])
        before = invariants.observe(node.state)
        node.step(B, message)
        assert (invariants.observe(node.state), node.sent) == (before, []), message
    node = Lone([1])
    node.heartbeat(term=1 + TERM_JUMP_MAX)
    assert node.raft.term == 1 + TERM_JUMP_MAX


def test_a_heartbeat_of_a_new_term_is_answered_once_the_term_is_durable() -> None:
    """The answer speaks for the term, so it waits until the term is on disk."""
    node = Lone([1])
    node.heartbeat(term=3, context=4)
    assert node.of(HeartbeatResponse) == []
    node.persist()
    assert node.of(HeartbeatResponse) == [HeartbeatResponse(term=Term(3), context=4)]
    node.heartbeat(term=3, context=5)
    assert node.of(HeartbeatResponse)[0].context == 5


def test_a_follower_without_room_says_so_until_it_has_some() -> None:
    """Each answer to a heartbeat tells the leader whether this disk takes entries."""
    node = Lone([1])
    node.heartbeat(term=1, context=1)
    node.raft.tell_fitness(lacks_room=True, is_unfit=False)
    node.heartbeat(term=1, context=2)
    node.raft.tell_fitness(lacks_room=False, is_unfit=False)
    node.heartbeat(term=1, context=3)
    assert [answer.lacks_room for answer in node.of(HeartbeatResponse)] == [False, True, False]


def test_a_heartbeat_commits_only_what_is_here() -> None:
    """The leader caps a heartbeat's commit index; one beyond the log is not believed."""
    node = Lone([1, 1])
    node.heartbeat(term=1, commit=9)
    assert node.raft.commit_index == 0
    node.heartbeat(term=1, commit=2)
    assert node.raft.commit_index == 2


def test_s18_acks_of_an_older_term_do_not_survive_it() -> None:
    """An ack still waiting for the disk when a newer term begins is never sent."""
    node = Lone(term=1)
    node.step(
        B,
        AppendRequest(
            term=Term(1), previous=at(0, 0), previous_checksum=7,
            entries=tuple(make_entries(node.disk.boundary, [1, 1])), commit_index=Index(0),
        ),
        take=False,
    )  # fmt: skip
    node.append(make_entries(node.disk.boundary, [2]), term=2, source=C)
    node.persist()
    assert [(t, m.term, m.match_index) for t, m in node.sent if isinstance(m, AppendResponse)] == [
        (C, 2, 1)
    ]


def test_s22_a_write_completed_late_vouches_for_nothing_truncated_since() -> None:
    """A, B, A again: the first write of an entry says nothing about its third (ABA)."""
    node = Lone(term=2)
    boundary = node.disk.boundary
    first, second = make_entries(boundary, [2, 2]), make_entries(boundary, [3])
    node.append(first, term=2)
    node.append(second, term=3, source=C)
    node.append(first, term=4)
    assert [r.truncate_from for r in node.rounds] == [None, 1, 1]
    node.persist(1)
    assert node.raft.log.stable_index == 0
    node.sent.clear()
    node.append(first, term=4)
    assert node.of(AppendResponse) == []
    node.persist(1)
    assert node.raft.log.stable_index == 0
    node.crash()
    assert positions(node) == [(3, 1)]


def test_s32_a_membership_is_in_force_from_append_until_truncated() -> None:
    """“A server always uses the latest configuration in its log” (§4.1), committed or not."""
    node = Lone(term=1)
    entry = make_entries(node.disk.boundary, [1])[0]
    after = voters("a", "b", "c", "d")
    change = sealed(
        entry,
        node.disk.boundary.checksum,
        kind=EntryKind.MEMBERSHIP,
        payload=after.encode(),
        count=0,
    )
    node.append([change], term=1)
    assert node.raft.membership == after
    assert node.raft.membership_index == 1
    node.append(make_entries(node.disk.boundary, [2]), term=2, source=C)
    assert node.raft.membership == voters("a", "b", "c")
    node.append([change], term=3)
    node.persist()
    node.crash()
    assert node.raft.membership == after


def test_s31_a_joint_membership_survives_a_restart() -> None:
    """A node that restarts in a joint membership needs both majorities to be elected."""
    joint = Membership(
        members=voters("a", "b", "c", "d").members,
        voters=frozenset({A, B, "d"}),
        outgoing=frozenset({A, B, C}),
    )
    node = Lone([1])
    entry = make_entries(node.disk.boundary, [1], after=node.disk.log[0])[0]
    node.disk.log.append(
        sealed(
            entry,
            node.disk.log[0].checksum,
            kind=EntryKind.MEMBERSHIP,
            payload=joint.encode(),
            count=0,
        )
    )
    node.start()
    assert node.raft.membership == joint
    node.pre_campaign()
    node.step(C, PreVoteResponse(term=Term(2), granted=True))
    assert node.raft.role is Role.PRE_CANDIDATE
    node.step(B, PreVoteResponse(term=Term(2), granted=True))
    node.persist()
    node.step(C, VoteResponse(term=Term(2), granted=True))
    assert node.raft.role is Role.CANDIDATE
    node.step("d", VoteResponse(term=Term(2), granted=True))
    assert node.raft.role is Role.LEADER


# ---------------------------------------------------------------- repair (decision 8)


def damaged() -> Lone:
    """Return a damaged member that has lost all but one of its entries, commit hint 3."""
    node = Lone([1, 1, 1], commit=3)
    node.disk.rot(Index(2))
    node.start()
    return node


def test_s40_a_damaged_member_caps_its_commit_and_keeps_its_log() -> None:
    """A commit hint above the verified log is no reason to crash, nor to truncate."""
    node = damaged()
    assert (node.raft.commit_index, node.raft.last_index, node.raft.is_damaged) == (1, 1, True)


def test_s40_a_log_shorter_than_its_own_commit_counts_as_damaged() -> None:
    """A node whose disk vouches for more than the log holds has lost something."""
    node = Lone([1, 1, 1], commit=3)
    del node.disk.log[2]
    node.start()
    assert node.raft.is_damaged


def test_s40_repair_ends_at_the_leaders_end_on_first_contact() -> None:
    """It is repaired only once it holds, verified and durable, what the leader had then."""
    node = damaged()
    entries = make_entries(node.disk.boundary, [1, 1, 1, 1, 1])
    node.heartbeat(term=1, last_index=Index(4))
    node.heartbeat(term=1, last_index=Index(5))
    node.append(entries[1:3], term=1, previous=entries[0])
    node.persist()
    assert node.raft.is_damaged
    node.append(entries[3:4], term=1, previous=entries[2])
    assert node.raft.is_damaged
    node.persist(1)
    assert [r.repaired for r in node.rounds] == [True]
    assert node.raft.is_damaged
    node.persist()
    assert not node.raft.is_damaged
    assert not node.disk.is_damaged
    node.now += 2
    node.tick()
    assert node.raft.role is Role.PRE_CANDIDATE


def test_s40_appends_before_the_first_heartbeat_count_towards_the_repair() -> None:
    """Bulk and control channels are not ordered with one another."""
    node = damaged()
    entries = make_entries(node.disk.boundary, [1, 1, 1])
    node.append(entries, term=1)
    node.persist()
    assert node.raft.is_damaged
    node.heartbeat(term=1, last_index=Index(3))
    node.persist()
    assert not node.raft.is_damaged


def test_s40_an_unmatched_own_suffix_repairs_nothing() -> None:
    """Holding enough entries is not it; the leader must have matched them."""
    node = Lone([1, 1, 1], damaged=True)
    node.heartbeat(term=2, last_index=Index(3))
    node.append([], term=2, previous=node.disk.log[0])
    node.persist()
    assert node.raft.is_damaged


def test_s40_a_newer_leader_sets_the_measure_anew() -> None:
    """A leader of a later term holds everything committed, so its own end is what counts."""
    node = damaged()
    entries = make_entries(node.disk.boundary, [1, 1, 2])
    node.heartbeat(term=1, last_index=Index(50))
    node.heartbeat(term=2, last_index=Index(3), source=C)
    node.append(entries, term=2, source=C)
    node.persist()
    assert not node.raft.is_damaged


def test_s40_a_damaged_minority_neither_leads_nor_loses_data() -> None:
    """A rotten node among three is repaired by the leader and nothing committed is lost."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for _ in range(5):
        cluster.propose("a")
    cluster.settle()
    cluster.crash("c")
    cluster.host("c").disk.rot(Index(2))
    cluster.restart("c")
    assert cluster["c"].is_damaged
    cluster.settle()
    assert cluster.run(3, until=lambda: not cluster["c"].is_damaged)
    assert cluster["c"].last_index == cluster["a"].last_index


def test_a_damaged_member_answers_pre_votes_with_a_refusal() -> None:
    """It is asked like any voter, and says no."""
    node = damaged()
    node.step(C, PreVoteRequest(term=Term(9), last=at(9, 9)))
    assert not node.of(PreVoteResponse)[0].granted


def test_heartbeat_request_is_what_carries_the_measure() -> None:
    """The leader's heartbeat names its last index."""
    node = Lone()
    node.lead()
    node.expire()
    assert {m.last_index for m in node.of(HeartbeatRequest)} == {node.raft.last_index}
