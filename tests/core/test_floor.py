"""The floor of a witness' log: who is told what, and for how long it is believed."""

from __future__ import annotations

import types

import pytest

from raftlog.core import floor
from raftlog.core.entries import EntryKind
from raftlog.core.membership import Membership
from raftlog.core.membership_change import MemberChange, MemberChangeKind, simple
from raftlog.core.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    PreVoteResponse,
    TimeoutNow,
    VoteResponse,
)
from raftlog.core.trace import render_message
from raftlog.types import Index, NodeId, Role, Term

from .cluster import member, voters
from .lone import B, C, D, Lone

WITH_A_WITNESS = voters("a", "b", "c", witnesses="c")


def propose(node: Lone, kind: EntryKind = EntryKind.TRANSACTIONS, payload: bytes = b"") -> None:
    """Propose one entry, which is durable here."""
    count = int(kind is EntryKind.TRANSACTIONS)
    node.call(lambda raft: raft.propose(kind, payload, count, node.now, 0))
    node.persist()


def told(node: Lone) -> dict[NodeId, int]:
    """Return what the next heartbeat tells each peer."""
    node.sent.clear()
    node.tick(node.settings.heartbeat_seconds)
    return {peer: m.floor for peer, m in node.sent if isinstance(m, HeartbeatRequest)}


def test_a_leader_tells_witnesses_alone_what_all_machines_hold() -> None:
    """The least of what the others acked and this disk has; a member with a machine needs none."""
    node = Lone(membership=WITH_A_WITNESS)
    node.lead_settled()
    assert told(node) == {B: 0, C: 1}
    node.call(lambda raft: raft.propose(EntryKind.TRANSACTIONS, b"", 1, node.now, 0))
    node.ack(B)
    node.ack(C)
    assert told(node) == {B: 0, C: 1}, "this disk has not got it yet"
    node.persist()
    assert told(node) == {B: 0, C: 2}
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert told(node) == {B: 0, C: 0}, "what B has kept is for its answer to say"
    assert node.raft.purge_floor == 0
    node.ack(B)
    assert told(node) == {B: 0, C: 2}
    assert render_message(node.of(HeartbeatRequest, C)[0]).endswith("floor=2")


def test_learners_and_members_not_surely_removed_hold_the_floor() -> None:
    """Who may vote later counts; a removal that is not committed may be undone."""
    everybody = tuple(member(name, has_machine=name != "c") for name in "abcd")
    node = Lone(
        membership=Membership(members=everybody, voters=frozenset("abc"), learners=frozenset({D}))
    )
    node.lead_settled()
    assert told(node)[C] == 0, "nothing is known of the learner"
    node.ack(D)
    assert told(node)[C] == 1
    remove = MemberChange(kind=MemberChangeKind.REMOVE, node_id=D)
    without = simple(node.raft.membership, remove)
    propose(node, EntryKind.MEMBERSHIP, without.encode())
    node.ack(B)
    assert node.raft.membership.member(D) is None
    assert node.raft.commit_index == 2
    assert told(node)[C] == 2, "it is committed"
    node = Lone(membership=node.disk.boundary.membership)
    node.lead_settled()
    propose(node, EntryKind.MEMBERSHIP, without.encode())
    assert node.raft.commit_index == 1
    assert node.raft.membership.member(D) is None
    assert told(node)[C] == 0, "it is not"


def test_a_witness_believes_the_leader_of_its_term_and_nobody_else() -> None:
    """Lower or higher; after a newer term or a restart nothing is known, so all is kept."""
    node = Lone([1, 1, 1], membership=voters("a", "b", "c", witnesses="a"))
    assert node.raft.purge_floor == 0
    for floor_told in (3, 2, 0, 3):
        node.heartbeat(term=1, floor=Index(floor_told))
        assert node.raft.purge_floor == floor_told
    node.heartbeat(term=2, source=C)  # a leader too old to tell
    assert node.raft.purge_floor == 0
    node.heartbeat(term=2, source=C, floor=Index(2))
    node.persist()
    node.pre_campaign()
    assert node.raft.purge_floor == 2, "nobody of that term has lost anything"
    node.campaign()
    assert node.raft.term == 3
    assert node.raft.purge_floor == 0
    node.heartbeat(term=4, source=C, floor=Index(3))
    node.persist()
    assert node.raft.purge_floor == 3
    node.crash()
    assert node.raft.term == 4
    assert node.raft.purge_floor == 0


def test_a_witness_that_leads_knows_the_floor_itself() -> None:
    """What it holds does not count, for it has no machine; no members with one are no floor."""
    node = Lone(membership=voters("a", "b", "c", witnesses="a"))
    node.lead()
    assert node.raft.purge_floor == 0
    node.ack(B)
    assert node.raft.purge_floor == 0
    node.ack(C)
    assert node.raft.purge_floor == 1
    node.state.memberships[:] = [(Index(0), voters("a", witnesses="a"))]
    assert floor.lowest_match(node.state, node.leadership) == 0


class Told:
    """What the leader "a" of five, two of them witnesses, knows of the others."""

    membership = voters("a", "b", "c", "d", "e", witnesses="de")

    def __init__(self, **matches: int) -> None:
        self.matches = matches

    @property
    def purge_floor(self) -> Index:
        """Return what all members with a machine hold."""
        return Index(min(self.matches["b"], self.matches["c"]))

    def progress_of(self, peer: NodeId) -> types.SimpleNamespace | None:
        """Return what is known; each was heard last when it acked what it holds."""
        match = self.matches.get(peer)
        if match is None:
            return None
        return types.SimpleNamespace(match_index=Index(match), last_contact=float(match))


def test_a_witness_passes_over_what_a_machine_lacks_only_for_the_quorum() -> None:
    """Below the floor at once; above it, if who was heard and holds it is too few without it."""

    def may(index: int, since: float = 0.0, **matches: int) -> bool:
        return floor.may_pass_over(Told(**matches, e=1), NodeId("e"), Index(index), since)

    assert may(5, b=9, c=5, d=0)
    assert not may(6, b=9, c=5, d=9), "three of five hold it without this one"
    assert may(6, b=9, c=5, d=5), "two do"
    assert not may(6, since=9, b=9, c=5, d=9)
    assert may(6, since=9, b=9, c=5, d=8), "one of those three is not heard any more"


def answer(node: Lone, peer: NodeId, applied: int | None, *, lacks_room: bool = False) -> None:
    """Let a peer answer the newest heartbeat."""
    message = HeartbeatResponse(
        term=node.raft.term,
        context=node.leadership.round,
        applied_index=None if applied is None else Index(applied),
        lacks_room=lacks_room,
    )
    node.step(peer, message)


def led_by_a_witness() -> Lone:
    """Return a witness that has just won, of three with a machine."""
    node = Lone(membership=voters("a", "b", "c", "d", witnesses="a"))
    node.pre_campaign()
    for peer in (B, C):
        node.step(peer, PreVoteResponse(term=Term(1), granted=True))
    node.persist()
    for peer in (B, C):
        node.step(peer, VoteResponse(term=Term(1), granted=True))
    node.persist()
    assert node.raft.role is Role.LEADER
    for peer in (B, C, D):
        node.ack(peer)
    return node


def test_a_witness_hands_over_by_what_is_applied() -> None:
    """Once all have answered: logs are equal, and the member whose machine is ahead is chosen."""
    for applied, chosen in (((0, 1, 0), C), ((1, 0, 0), B), ((0, None, 1), D)):
        node = led_by_a_witness()
        answer(node, B, applied[0])
        answer(node, C, applied[1])
        assert node.raft.transferee is None, "another may be ahead"
        answer(node, D, applied[2])
        assert node.raft.transferee == chosen
        assert [peer for peer, m in node.sent if isinstance(m, TimeoutNow)] == [chosen]


def test_a_witness_waits_for_a_silent_member_no_longer_than_a_heartbeat() -> None:
    """Then the best of those that answered is taken; while nobody has, nobody is."""
    node = led_by_a_witness()
    node.expire()
    assert node.raft.transferee is None
    answer(node, B, 0)
    answer(node, C, 1)
    assert node.raft.transferee is None
    node.expire()
    assert node.raft.transferee == C


def test_a_witness_prefers_a_member_with_room() -> None:
    """One whose disk is full would hand leadership on at once; where all are full one is taken."""
    for full, chosen in (((C,), B), ((B, C, D), C)):
        node = led_by_a_witness()
        for peer in (B, C, D):
            answer(node, peer, int(peer == C), lacks_room=peer in full)
        assert node.raft.transferee == (chosen if chosen is C else node.raft.transferee)
        assert (node.raft.transferee in full) == (chosen is C)


@pytest.mark.parametrize("lacks_room", [False, True])
def test_a_witness_does_not_try_one_that_may_not_campaign_for_ever(lacks_room) -> None:
    """Whoever did not take over in time is passed over the next time, if another is left."""
    node = led_by_a_witness()
    for peer in (B, C, D):
        answer(node, peer, int(peer == C), lacks_room=lacks_room)
    assert node.raft.transferee == C
    tried = [node.raft.transferee]
    for _ in range(400):
        before = node.raft.transferee
        for peer in (B, C, D):
            answer(node, peer, int(peer == C), lacks_room=lacks_room)
        node.expire()
        if before is None and node.raft.transferee is not None:
            tried.append(node.raft.transferee)
        if len(tried) == 3:
            break
    assert tried[1] in {B, D}
    assert tried[2] == C


def test_an_old_leader_tells_nothing() -> None:
    """A heartbeat without the field says 0."""
    assert (
        HeartbeatRequest(term=Term(1), commit_index=Index(0), context=1, last_index=Index(0)).floor
        == floor.NOT_KNOWN
    )


def test_a_witness_hands_over_to_nobody_who_fell_silent() -> None:
    """One that died since it was heard neither attracts leadership nor is waited for."""
    node = Lone(membership=voters("a", "b", "c", witnesses="a"))
    node.lead()
    answer(node, B, None)
    answer(node, C, None)
    alive = node.raft.transferee
    assert alive in {B, C}
    handed: list[object] = [alive]
    until = node.now + 3 * node.settings.transfer_timeout_seconds
    while node.now < until:
        node.tick(0.2)
        answer(node, alive, None)
        if node.raft.transferee != handed[-1]:
            handed.append(node.raft.transferee)
    assert node.raft.role is Role.LEADER
    assert set(handed) <= {alive, None}
