"""Edges of the rules: small changes of the core that no other test would notice."""

from __future__ import annotations

import contextlib
import dataclasses
import struct

import pytest

from raftlog.checksum import chain
from raftlog.core.entries import Entry
from raftlog.core.follower import INDEX_MAX
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatResponse,
    PreVoteResponse,
)
from raftlog.core.progress import ProgressState
from raftlog.core.state import NEVER
from raftlog.errors import InvariantBroken
from raftlog.types import Index, Role, Term

from .cluster import Cluster, make_entries
from .lone import B, C, Lone


def test_s13_a_leader_without_a_quorum_frees_its_bridge() -> None:
    """Two of four are no quorum: the leader steps down, or the bridge would never vote (§6.2)."""
    cluster = Cluster("a", "b", "c", "d")
    cluster.elect("a")
    cluster.cut = {(x, y) for x in "a" for y in "cd"} | {(y, x) for x in "a" for y in "cd"}
    assert cluster.run(2, until=lambda: cluster["a"].role is not Role.LEADER)
    assert cluster.run(5, until=lambda: cluster.leader() is not None)
    assert cluster["b"].leader == cluster.leader().leader


def test_a_campaign_uses_up_the_hint_of_a_lost_leader() -> None:
    """A campaign that fails is followed by the normal timeout, not by more early pre-votes."""
    node = Lone([1])
    node.heartbeat(term=1, source=B)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.pre_campaign()
    node.step(C, PreVoteResponse(term=Term(2), granted=True))
    node.persist()
    assert node.raft.role is Role.CANDIDATE
    node.pre_campaign()
    assert node.raft.deadline() - node.now >= node.settings.election_timeout_seconds


def test_a_read_keeps_the_round_it_waits_for() -> None:
    """A later heartbeat does not put it off: the answer to its own round is enough (§6.4)."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.read_index(1, node.now))
    first = node.leadership.round
    node.tick(node.settings.heartbeat_seconds)
    assert node.leadership.round > first
    node.step(B, HeartbeatResponse(term=Term(1), context=first))
    assert [(read.context, read.index) for read in node.reads] == [(1, 1)]


def test_a_lost_peer_is_left_in_peace_for_a_while() -> None:
    """The first heartbeat it answers may be an old one: patience counts from the loss."""
    node = Lone()
    node.lead_settled()
    node.now += 0.3
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    assert node.of(AppendRequest, B) == []
    node.now += 0.3
    node.step(B, HeartbeatResponse(term=Term(1), context=0))
    assert len(node.of(AppendRequest, B)) == 1


def test_an_ack_that_commits_nothing_sets_nothing_off() -> None:
    """The last of three to ack finds everything committed: no notice is due for that."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"", 1, node.now, 0))
    node.persist()
    node.ack(B)
    node.expire()
    assert node.leadership.notice_deadline == NEVER
    node.ack(C)
    assert node.leadership.notice_deadline == NEVER


def test_an_own_write_that_commits_nothing_sets_nothing_off() -> None:
    """A leader whose disk is the last finds everything committed: no notice is due for that."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"", 1, node.now, 0))
    node.ack(B, node.state.log.last_index)
    node.ack(C, node.state.log.last_index)
    assert node.state.commit_index == node.state.log.last_index
    node.expire()
    assert node.leadership.notice_deadline == NEVER
    node.persist()
    assert node.leadership.notice_deadline == NEVER


def test_an_idle_peer_is_not_stuck() -> None:
    """Patience with a window counts from its first message, not from the last ack before it."""
    node = Lone()
    node.lead_settled()
    for _ in range(8):
        node.tick(node.settings.heartbeat_seconds)
        for peer in (B, C):
            node.step(peer, HeartbeatResponse(term=Term(1), context=node.leadership.round))
    node.call(lambda raft: raft.propose(1, b"", 1, node.now, 0))
    node.tick(node.settings.heartbeat_seconds)
    assert node.leadership.progress[B].state is ProgressState.REPLICATE


def test_a_forgotten_match_is_no_match_at_all() -> None:
    """Neither a commit nor a heartbeat counts on anything the peer acked before."""
    node = Lone([1, 1, 1], commit=3)
    node.lead_settled()
    node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.leadership.progress[B].match_index == 0
    assert node.leadership.progress[B].read_round == 0


def test_an_ack_waits_until_its_term_is_durable() -> None:
    """Entries that are durable are not enough: after a crash the node would know no newer term.

    It would then take an older leader's word, and drop what the newer one was told it holds (S18).
    """
    node = Lone([1])
    node.append([], term=2, previous=node.disk.log[0])
    assert node.state.durable_term == 1
    assert node.of(AppendResponse) == []
    node.persist()
    assert node.of(AppendResponse, B)[0].success
    node.append([], term=2, previous=node.disk.log[0])
    assert node.of(AppendResponse, B)[0].success


# ---------------------------------------------------------------- headers at their widths


def with_header(entry: Entry, previous: int, **fields: int) -> Entry:
    """Return the entry with other header fields, sealed anew if they can be sealed at all."""
    entry = dataclasses.replace(entry, **fields)
    with contextlib.suppress(struct.error):
        checksum = chain(
            previous, entry.term, entry.index, entry.kind, entry.codec, entry.first_sequence,
            entry.count, entry.timestamp, entry.payload,
        )  # fmt: skip
        return dataclasses.replace(entry, checksum=checksum)
    return entry


def offered(**fields: int) -> Lone:
    """Return a node that was offered an entry with this header in place of its first one."""
    node = Lone([1])
    (entry,) = make_entries(node.origin, [2])
    node.append([with_header(entry, node.origin.checksum, **fields)], term=2)
    node.persist()
    return node


LIMITS = {
    "kind": (0, 255),
    "codec": (0, 255),
    "count": (0, (1 << 32) - 1),
    "first_sequence": (0, INDEX_MAX),
    "timestamp": (0, INDEX_MAX),
}


@pytest.mark.parametrize("field", list(LIMITS))
def test_a_header_past_its_width_is_refused(field: str) -> None:
    """One below and one above what the header holds is damage, and no reason to stop."""
    low, high = LIMITS[field]
    for value in (low - 1, high + 1):
        node = offered(**{field: value})
        assert node.state.log.last_term == 1
        assert not node.of(AppendResponse)[-1].success


@pytest.mark.parametrize("field", [name for name in LIMITS if name != "kind"])
def test_a_header_that_fills_its_width_is_taken(field: str) -> None:
    """The least and the greatest value are as good as any."""
    for value in LIMITS[field]:
        node = offered(**{field: value})
        assert node.state.log.last_term == 2
        assert node.of(AppendResponse)[-1].success


@pytest.mark.parametrize("kind", LIMITS["kind"])
def test_an_unknown_kind_that_fits_is_no_damage(kind: int) -> None:
    """It comes from a newer version, so the node stops and says so (S45)."""
    with pytest.raises(InvariantBroken, match="does not know"):
        offered(kind=kind)


def test_no_entry_lies_beyond_the_last_index() -> None:
    """Entries that follow one another past the greatest index are refused together."""
    node = Lone()
    node.disk.boundary = dataclasses.replace(
        node.origin, index=Index(INDEX_MAX - 1), term=Term(1), checksum=5
    )
    node.disk.hard_state = dataclasses.replace(node.disk.hard_state, term=Term(1))
    node.start()
    node.origin = node.disk.boundary
    entries = make_entries(node.disk.boundary, [1, 1])
    node.append(entries, term=1)
    assert node.raft.last_index == INDEX_MAX - 1
    assert not node.of(AppendResponse)[-1].success
    node.append(entries[:1], term=1)
    assert node.raft.last_index == INDEX_MAX


def test_who_may_not_stand_any_more_asked_in_vain() -> None:
    """Elections are paused between a pre-vote and its answers: nobody stands, no term begins."""
    node = Lone()
    node.expire()
    assert node.raft.role is Role.PRE_CANDIDATE
    term = node.raft.term
    node.raft.may_campaign = False
    node.step(B, PreVoteResponse(term=Term(term + 1), granted=True))
    assert (node.raft.role, node.raft.term) == (Role.FOLLOWER, term)
    node.raft.may_campaign = True
    node.expire()
    node.step(B, PreVoteResponse(term=Term(term + 1), granted=True))
    assert node.raft.role is Role.CANDIDATE
