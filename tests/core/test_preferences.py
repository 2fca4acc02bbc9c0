"""Priorities and bans: who should lead, and who only where nobody else could (decision 39)."""

from __future__ import annotations

import dataclasses
import json

import pytest

from raftlog.checksum import chain
from raftlog.core import transfer
from raftlog.core.changes import Cause
from raftlog.core.entries import Entry, EntryKind
from raftlog.core.membership import Membership
from raftlog.core.messages import (
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
)
from raftlog.core.trial import Wish
from raftlog.errors import InvalidInput, SafetyRefused, Unavailable
from raftlog.types import Index, Position, Role, Term

from .cluster import Cluster, voters
from .lone import A, B, C, D, Lone


def prefer(membership: Membership, banned: str = "", **priorities: int) -> Membership:
    """Return the membership with these bans and priorities."""
    return dataclasses.replace(
        membership,
        members=tuple(
            dataclasses.replace(
                member,
                is_banned=member.node_id in banned,
                priority=priorities.get(member.node_id, member.priority),
            )
            for member in membership.members
        ),
    )


ABC = voters("a", "b", "c")


# ---------------------------------------------------------------- the encoding


def test_what_is_so_by_default_is_not_encoded() -> None:
    """A membership without priorities and bans has the bytes, and the checksum, that it had."""
    assert set(json.loads(ABC.encode())) == {
        "learners", "learners_next", "members", "outgoing", "voters"
    }  # fmt: skip
    assert {"priority", "is_banned"}.isdisjoint(json.loads(ABC.encode())["members"][0])


def test_preferences_survive_the_encoding_beside_the_members() -> None:
    """They are fields of their own: raftlog 0.1.0 reads no member with a field it does not know."""
    preferred = prefer(ABC, banned="b", c=200)
    fields = json.loads(preferred.encode())
    assert (fields["priorities"], fields["banned"]) == ({"c": 200}, ["b"])
    assert fields["members"] == json.loads(ABC.encode())["members"]
    assert Membership.decode(preferred.encode()) == preferred
    assert (preferred.electable, preferred.banned) == ({A, C}, {B})
    assert (preferred.priority(C), preferred.priority(D)) == (200, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"priorities": {"d": 5}}, {"priorities": {"a": 0}}, {"priorities": {"a": 1001}},
        {"priorities": {"a": True}}, {"priorities": {"a": "9"}}, {"priorities": [1]},
        {"banned": ["d"]}, {"banned": "a"}, {"banned": [1]},
    ],
)  # fmt: skip
def test_a_preference_that_is_none_does_not_parse(wrong: dict[str, object]) -> None:
    """Numbers out of range, other types, and strangers are refused with a sentence."""
    fields = json.loads(ABC.encode()) | wrong
    with pytest.raises(InvalidInput, match="membership does not parse"):
        Membership.decode(json.dumps(fields).encode())


# ---------------------------------------------------------------- elections


def test_a_banned_member_waits_for_three_election_timeouts_more() -> None:
    """It stands for election in the end: it may be the only one whose log is whole enough."""
    node = Lone(membership=prefer(ABC, banned="a"))
    timeout = node.settings.election_timeout_seconds
    start = node.now
    assert 4 * timeout <= node.raft.deadline() - start <= 5 * timeout
    node.lead()
    assert node.now - start >= 4 * timeout


def test_a_ban_puts_off_the_campaign_that_was_armed_before_it() -> None:
    """It is in force on append, also where the leader is not heard again after it."""
    node = Lone()
    timeout = node.settings.election_timeout_seconds
    follow_membership(node, prefer(ABC, banned="a"))
    assert node.raft.deadline() - node.now >= 4 * timeout
    node.tick(3.9 * timeout)
    assert node.raft.role is Role.FOLLOWER


def test_a_ban_that_is_truncated_is_none() -> None:
    """The next leader's log decides, as of every membership (S32)."""
    node = Lone()
    follow_membership(node, prefer(ABC, banned="a"))
    assert node.state.is_banned
    node.append(node_entries(node, [2]), term=2, source=C)
    assert not node.state.is_banned
    node.heartbeat(term=2, source=C)
    assert node.raft.deadline() - node.now <= 2 * node.settings.election_timeout_seconds


def test_a_banned_member_votes_and_commits() -> None:
    """It is a voter like any other, but for campaigns."""
    node = Lone([1], membership=prefer(ABC, banned="a"))
    node.step(B, VoteRequest(term=Term(2), last=node.raft.last_position, transfer=False))
    node.persist()
    assert node.state.vote == B


def test_a_banned_member_does_not_hurry_when_the_leader_is_lost() -> None:
    """It gives its vote to whoever does."""
    node = Lone(membership=prefer(ABC, banned="a"))
    node.heartbeat(term=1)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    assert node.raft.deadline() - node.now >= 4 * node.settings.election_timeout_seconds
    node.step(C, PreVoteRequest(term=Term(2), last=Position(Term(0), node.origin.index)))
    assert node.of(PreVoteResponse, C) == [PreVoteResponse(term=Term(2), granted=True)]


def test_of_those_who_lost_the_leader_the_preferred_one_is_first() -> None:
    """The ranks are only dealt anew, so that nobody waits longer than the last one did."""

    def early(membership: Membership) -> float:
        node = Lone(membership=membership)
        node.heartbeat(term=1)
        node.call(lambda raft: raft.peer_lost(B, node.now))
        return round((node.raft.deadline() - node.now) / node.settings.lost_leader_delay_seconds)

    four = voters("a", "b", "c", "d")
    assert early(four) == 1
    assert early(prefer(four, d=200)) == 2
    assert early(prefer(four, c=101, d=200)) == 3
    assert early(prefer(four, banned="d", c=101, d=200)) == 2


# ---------------------------------------------------------------- handing over


def test_without_a_target_the_preferred_of_the_fit_is_chosen() -> None:
    """A priority decides among those that were heard and are close to the end of the log."""
    node = Lone(membership=prefer(ABC, b=200))
    node.lead_settled()
    propose(node)
    node.ack(C)
    node.call(lambda raft: raft.transfer(None, node.now))
    assert node.raft.transferee == B


def test_health_comes_before_priority() -> None:
    """A preferred member that was not heard, or whose machine is far behind, is not chosen."""
    node = Lone(membership=prefer(ABC, b=1000))
    node.lead_settled()
    node.leadership.progress[B].last_contact -= 2 * node.settings.election_timeout_seconds
    node.call(lambda raft: raft.transfer(None, node.now))
    assert node.raft.transferee == C


def test_room_comes_before_priority() -> None:
    """A member whose disk takes no entries would decline, or lead without writes."""
    node = Lone(membership=prefer(ABC, b=1000))
    node.lead_settled()
    round_ = node.leadership.round
    full = HeartbeatResponse(term=node.raft.term, context=round_, lacks_room=True)
    node.step(B, full)
    node.call(lambda raft: raft.transfer(None, node.now))
    assert node.raft.transferee == C


def test_a_banned_member_is_handed_nothing() -> None:
    """Not by itself, not by name, and not when it is the only other one."""
    node = Lone(membership=prefer(ABC, banned="bc"))
    node.lead_settled()
    with pytest.raises(SafetyRefused, match="b is banned from leading: `raftlog member update b"):
        node.call(lambda raft: raft.transfer(B, node.now))
    with pytest.raises(Unavailable, match="no other promotable voter"):
        node.call(lambda raft: raft.prepare_transfer(Wish(seconds=9.0), node.now))
    assert node.raft.transferee is None


def test_a_witness_hands_over_to_a_banned_member_where_nobody_else_is_fit() -> None:
    """It takes no writes itself: a ban must not cost the cluster its writes."""
    for answering, chosen in (((B, C), B), ((C,), C)):
        node = Lone(membership=prefer(voters("a", "b", "c", witnesses="a"), banned="c"))
        node.lead()
        for peer in answering:
            answer = HeartbeatResponse(term=node.raft.term, context=node.leadership.round)
            node.step(peer, answer)
        node.expire()
        assert node.raft.transferee == chosen


def test_an_unfit_leader_hands_over_to_a_banned_member_where_nobody_else_is() -> None:
    """It takes no writes, as a witness: by itself, and where an operator names the member."""
    for target, chosen in ((None, B), (C, C)):
        node = Lone(membership=prefer(ABC, banned="bc", b=200))
        node.lead_settled()
        node.raft.tell_fitness(lacks_room=True, is_unfit=True)
        node.call(lambda raft, to=target, now=node.now: raft.transfer(to, now))
        assert node.raft.transferee == chosen
    node = Lone(membership=prefer(ABC, banned="b", b=1000))
    node.lead_settled()
    node.raft.tell_fitness(lacks_room=False, is_unfit=True)
    node.call(lambda raft: raft.transfer(None, node.now))
    assert node.raft.transferee == C


def test_a_leader_that_leaves_appoints_the_preferred_of_those_that_hold_its_log() -> None:
    """One with a higher priority that lacks an entry would only cost the appointment."""
    node = Lone(membership=prefer(ABC, b=1000))
    node.lead_settled()
    propose(node)
    node.ack(C)
    node.sent.clear()
    transfer.appoint(node.state, node.now)
    node.take()
    assert [target for target, sent in node.sent if isinstance(sent, TimeoutNow)] == [C]


def test_a_hand_over_by_priority_is_told_as_the_reason() -> None:
    """The old leader's history and the new one's both say so."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.run(1)
    wish = Wish(target=B, seconds=9.0, by_priority=True)
    cluster.call("a", lambda raft: raft.prepare_transfer(wish, cluster.now))
    cluster.settle()
    cluster.run(1)
    assert cluster.leader().leader == B
    assert cluster["a"].changes.fall is Cause.PRIORITY
    rise = cluster["b"].changes.rise
    assert rise is not None
    assert rise.cause is Cause.PRIORITY


def propose(node: Lone) -> None:
    """Propose one entry."""
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))
    node.persist()


def follow_membership(node: Lone, membership: Membership) -> None:
    """Let the leader b of term 1 append a membership."""
    node.append(node_entries(node, [1], EntryKind.MEMBERSHIP, membership.encode()), term=1)


def node_entries(node: Lone, terms, kind=EntryKind.NOOP, payload=b"") -> list[Entry]:
    """Return entries behind the boundary."""
    found: list[Entry] = []
    last = node.origin
    for term in terms:
        index, sequence = last.index + 1, last.next_sequence
        entry = Entry(
            term=Term(term),
            index=Index(index),
            kind=kind,
            first_sequence=sequence,
            count=0,
            timestamp=0,
            payload=payload,
            checksum=chain(last.checksum, term, index, kind, 0, sequence, 0, 0, payload),
        )
        found.append(entry)
        last = entry
    return found
