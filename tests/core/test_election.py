"""Elections on both sides, the hint that a leader was lost, and who may not stand."""

from __future__ import annotations

import dataclasses

import pytest

from raftlog.core.membership import Membership
from raftlog.core.messages import (
    AppendRequest,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.settings import CoreSettings
from raftlog.types import Index, Role, Term

from .cluster import Cluster, member, voters
from .lone import A, B, C, D, Lone, at


def ask(term: int, last, *, transfer: bool = False) -> VoteRequest:
    """Return a vote request."""
    return VoteRequest(term=Term(term), last=last, transfer=transfer)


# ---------------------------------------------------------------- the voter


def test_s1_a_vote_leaves_only_once_it_is_durable() -> None:
    """A crash before the write forgets the vote, so nobody may have been told of it."""
    node = Lone([1])
    node.step(B, ask(2, at(1, 1)))
    assert node.of(VoteResponse) == []
    assert node.rounds[0].hard_state.vote == B
    assert node.rounds[0].needs_sync
    node.persist()
    assert node.of(VoteResponse, B) == [VoteResponse(term=Term(2), granted=True)]
    node.crash()
    node.step(C, ask(2, at(9, 9)))
    node.persist()
    assert node.of(VoteResponse, C) == [VoteResponse(term=Term(2), granted=False)]


def test_s1_a_vote_in_the_term_already_entered_is_durable_too() -> None:
    """A vote that does not come with a new term is written just the same."""
    node = Lone([1], term=2)
    node.step(B, ask(2, at(1, 1)))
    assert node.of(VoteResponse) == []
    node.persist()
    assert node.disk.hard_state.vote == B
    assert node.of(VoteResponse, B)[0].granted


def test_s2_rounds_with_term_or_vote_ask_for_a_sync() -> None:
    """A round with a term or a vote must be synced; only a bare commit hint need not be."""
    node = Lone([1])
    node.step(B, ask(2, at(1, 1)))
    node.persist()
    node.append([], term=2, previous=node.disk.log[0], commit=1)
    node.sent.clear()
    node.now = node.state.commit_hint_deadline
    node.tick()
    hint = [r for r in node.rounds if r.hard_state and r.hard_state.commit == 1]
    assert [r.needs_sync for r in hint] == [False]


def test_s3_a_new_term_clears_the_vote() -> None:
    """A follower that voted in one term is free to vote in the next."""
    node = Lone([1], term=3, vote=C)
    node.step(B, ask(4, at(1, 1)))
    node.persist()
    assert node.of(VoteResponse, B) == [VoteResponse(term=Term(4), granted=True)]


def test_one_vote_for_each_term_first_come_first_served() -> None:
    """At most one candidate gets a vote in a given term (§3.4); a repeat is granted."""
    node = Lone([1])
    node.step(B, ask(2, at(1, 1)))
    node.step(C, ask(2, at(1, 1)))
    node.step(B, ask(2, at(1, 1)))
    node.persist()
    assert [(t, m.granted) for t, m in node.sent] == [(C, False), (B, True), (B, True)]


@pytest.mark.parametrize(
    ("last", "granted"),
    [
        (at(2, 3), True), (at(2, 4), True), (at(3, 1), True),
        (at(2, 2), False), (at(1, 9), False),
    ],
)  # fmt: skip
def test_s6_up_to_date_compares_the_term_before_the_index(last, granted) -> None:
    """The log with the later last term is more up-to-date, whatever its length (§3.6.1)."""
    node = Lone([1, 1, 2])
    node.step(B, ask(5, last))
    node.persist()
    assert node.of(VoteResponse)[0].granted is granted
    pre = Lone([1, 1, 2])
    pre.step(B, PreVoteRequest(term=Term(5), last=last))
    assert pre.of(PreVoteResponse)[0].granted is granted


def test_a_candidate_outside_the_membership_is_answered() -> None:
    """A server votes for a candidate that its own membership does not list (§4.1)."""
    node = Lone([1])
    node.step(D, ask(2, at(1, 1)))
    node.persist()
    assert node.of(VoteResponse, D)[0].granted


def test_s7_a_pre_vote_changes_nothing() -> None:
    """Granting a pre-vote touches no term, vote, timer or disk, and is not a vote."""
    node = Lone([1])
    deadline, state = node.raft.deadline(), dataclasses.replace(node.state)
    node.now += 0.4
    node.step(B, PreVoteRequest(term=Term(2), last=at(1, 1)))
    node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
    assert [m.granted for m in node.of(PreVoteResponse)] == [True, True]
    assert (node.raft.term, node.state.vote) == (state.term, None)
    assert node.raft.deadline() == deadline
    assert node.rounds == []


def test_s7_a_pre_vote_answer_is_no_vote() -> None:
    """A candidate counts votes only; grants of pre-votes that come late elect nobody."""
    node = Lone([1])
    node.campaign()
    node.step(B, PreVoteResponse(term=node.raft.term, granted=True))
    node.step(C, PreVoteResponse(term=Term(node.raft.term + 1), granted=True))
    assert node.raft.role is Role.CANDIDATE


def test_s8_a_refused_pre_vote_teaches_the_newer_term() -> None:
    """A node left behind learns the term from the refusal, so its next pre-vote can win."""
    node = Lone([1], term=7)
    node.step(B, PreVoteRequest(term=Term(2), last=at(1, 1)))
    assert node.of(PreVoteResponse) == [PreVoteResponse(term=Term(7), granted=False)]
    behind = Lone([1])
    behind.pre_campaign()
    behind.step(B, PreVoteResponse(term=Term(7), granted=False))
    assert (behind.raft.term, behind.raft.role) == (7, Role.FOLLOWER)
    assert behind.rounds[-1].hard_state.term == 7


def test_s8_two_live_nodes_of_three_converge() -> None:
    """A longer log of an old term and a shorter one of a new term elect (complaint 29)."""
    for seed in range(30):
        cluster = Cluster("a", "b", "c", seed=seed)
        cluster.crash("c")
        cluster.elect("a")
        cluster.partition("a", "b")
        cluster.propose("a")
        b = cluster.host("b")
        cluster.crash("b")
        b.disk.hard_state = dataclasses.replace(b.disk.hard_state, term=Term(9))
        cluster.crash("a")
        cluster.heal()
        cluster.restart("a")
        cluster.restart("b")
        assert cluster.run(5, until=lambda c=cluster: c.leader() is not None)
        assert cluster.leader().leader == A


def test_s9_a_pre_candidate_follows_nobody() -> None:
    """Once it looks for a leader it names none, so it may grant others' pre-votes at once."""
    node = Lone([1])
    node.heartbeat(term=1)
    assert node.raft.leader == B
    node.pre_campaign()
    assert node.raft.leader is None
    node.sent.clear()
    node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
    assert node.of(PreVoteResponse)[0].granted


def test_s10_a_pre_vote_does_not_pass_for_leader_contact() -> None:
    """Being asked neither postpones an own election nor makes a node withhold its vote."""
    node = Lone([1])
    deadline = node.raft.deadline()
    for _ in range(5):
        node.now += 0.1
        node.step(B, PreVoteRequest(term=Term(2), last=at(0, 0)))
    assert node.raft.deadline() == deadline
    assert node.state.leader is None


def test_s10_a_pre_vote_does_not_cancel_a_transfer() -> None:
    """A leader that is asked for a pre-vote refuses, and its transfer goes on."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"", 1, node.now, 0))
    node.call(lambda raft: raft.transfer(B, node.now))
    node.sent.clear()
    node.step(C, PreVoteRequest(term=Term(9), last=at(9, 9)))
    assert not node.of(PreVoteResponse)[0].granted
    assert node.raft.transferee == B


def test_s11_late_pre_votes_start_nothing_after_winning() -> None:
    """A leader, and a candidate, ignore pre-vote answers that come late."""
    node = Lone([1])
    node.campaign()
    term = node.raft.term
    node.step(C, PreVoteResponse(term=term, granted=True))
    assert (node.raft.term, node.raft.role) == (term, Role.CANDIDATE)
    node.step(B, VoteResponse(term=term, granted=True))
    node.step(C, PreVoteResponse(term=Term(term + 1), granted=True))
    assert (node.raft.term, node.raft.role) == (term, Role.LEADER)


# ---------------------------------------------------------------- the candidate


def test_s4_votes_are_counted_by_voter() -> None:
    """A response delivered many times is one vote, for pre-votes and for votes."""
    node = Lone(membership=voters("a", "b", "c", "d", "e"))
    node.pre_campaign()
    for _ in range(3):
        node.step(B, PreVoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.PRE_CANDIDATE
    node.step(C, PreVoteResponse(term=Term(1), granted=True))
    node.persist()
    for _ in range(3):
        node.step(B, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE
    node.step(C, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.LEADER


def test_s4_the_first_word_of_a_voter_counts() -> None:
    """A voter cannot take back a grant, nor turn a refusal into one."""
    node = Lone()
    node.campaign()
    node.step(B, VoteResponse(term=Term(1), granted=False))
    node.step(B, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE


def test_s5_a_newer_term_is_no_grant() -> None:
    """A response of a newer term ends the candidacy, whatever else it says."""
    node = Lone()
    node.campaign()
    node.step(B, VoteResponse(term=Term(5), granted=True))
    assert (node.raft.role, node.raft.term) == (Role.FOLLOWER, 5)


def test_votes_of_an_older_term_do_not_count() -> None:
    """A vote for an earlier campaign elects nobody in this one."""
    node = Lone()
    node.campaign()
    node.expire()
    node.step(C, PreVoteResponse(term=Term(2), granted=True))
    node.persist()
    assert (node.raft.role, node.raft.term) == (Role.CANDIDATE, 2)
    node.step(B, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE


def test_votes_of_strangers_do_not_count() -> None:
    """A vote of a node outside the membership elects nobody (S20)."""
    node = Lone()
    node.campaign()
    node.step(D, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE


def test_own_vote_counts_only_once_it_is_durable() -> None:
    """Requests leave, and the own vote counts, after the write (§10.2.1 exempts entries only)."""
    node = Lone()
    node.pre_campaign()
    node.step(B, PreVoteResponse(term=Term(1), granted=True))
    assert node.of(VoteRequest) == []
    node.step(B, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE
    node.persist()
    assert node.raft.role is Role.LEADER


def test_lost_election_returns_to_following() -> None:
    """Refused by a majority, a candidate waits for its deadline as a follower of nobody."""
    node = Lone()
    node.campaign()
    deadline = node.raft.deadline()
    node.step(B, VoteResponse(term=Term(1), granted=False))
    node.step(C, VoteResponse(term=Term(1), granted=False))
    assert (node.raft.role, node.raft.leader) == (Role.FOLLOWER, None)
    assert node.raft.deadline() == deadline


def test_a_new_leader_begins_with_a_no_op() -> None:
    """A leader's first act is an entry of its own term, sent with its first heartbeat (§3.6.2)."""
    node = Lone([1])
    node.campaign()
    node.sent.clear()
    node.step(B, VoteResponse(term=Term(2), granted=True))
    appends = node.of(AppendRequest, B)
    assert [e.kind.name for e in appends[0].entries] == ["NOOP"]
    assert node.raft.last_position == at(2, 2)


def test_a_sole_voter_leads_at_once_but_not_before_its_disk() -> None:
    """A cluster of one waits for nobody, only for its own vote to be durable."""
    node = Lone(membership=voters("a"))
    assert node.raft.deadline() <= node.now
    node.tick()
    assert node.raft.role is Role.CANDIDATE
    node.persist()
    assert node.raft.role is Role.LEADER
    node.persist()
    assert node.raft.commit_index == 1


def test_a_candidate_yields_to_the_leader_of_its_term() -> None:
    """A candidate that hears the elected leader of its term follows it (§3.4)."""
    node = Lone()
    node.campaign()
    node.heartbeat(term=1, source=C)
    assert (node.raft.role, node.raft.leader) == (Role.FOLLOWER, C)


# ---------------------------------------------------------------- stickiness, removal, damage


def test_s12_a_removed_node_disturbs_nobody() -> None:
    """A node outside its membership never campaigns; one that does not know it raises no term."""
    outside = Lone([1], membership=voters("b", "c"))
    outside.expire()
    assert (outside.raft.role, outside.raft.term) == (Role.FOLLOWER, 1)
    follower = Lone([1])
    follower.heartbeat(term=1, source=B)
    follower.sent.clear()
    follower.step(C, ask(8, at(9, 9)))
    follower.step(C, PreVoteRequest(term=Term(8), last=at(9, 9)))
    assert follower.raft.term == 1
    assert follower.of(VoteResponse) == []
    assert follower.rounds == []


def test_s12_a_learner_never_campaigns_even_when_told_to() -> None:
    """Neither its own timer nor TimeoutNow makes a learner or a witness stand."""
    members = tuple(member(name) for name in "abc")
    learner = Lone(
        membership=Membership(members=members, voters=frozenset({B, C}), learners=frozenset({A}))
    )
    witness = Lone(membership=voters("a", "b", "c", witnesses="a"))
    for node in (learner, witness):
        node.heartbeat(term=1)
        node.step(B, TimeoutNow(term=Term(1)))
        assert node.raft.role is Role.FOLLOWER
    learner.expire()
    assert learner.raft.role is Role.FOLLOWER
    assert learner.raft.leader is None


def test_s13_a_bridge_to_a_cut_off_leader_does_not_block_the_majority() -> None:
    """A leader that reaches only a bridge steps down, and the others elect (complaint 31)."""
    for seed in range(10):
        cluster = Cluster("a", "b", "c", "d", "e", seed=seed)
        cluster.elect("a")
        cluster.cut = {(x, y) for x in "a" for y in "cde"} | {(y, x) for x in "a" for y in "cde"}
        assert cluster.run(
            5, until=lambda c=cluster: c.leader() is not None and c.leader().leader != A
        )


def test_stickiness_ends_with_the_shortest_timeout() -> None:
    """A voter withholds within the election timeout of hearing a leader, not after (§4.2.3)."""
    node = Lone([1])
    node.heartbeat(term=1)
    node.sent.clear()
    node.now += 0.49
    node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
    assert not node.of(PreVoteResponse)[0].granted
    node.now += 0.02
    node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
    assert node.of(PreVoteResponse)[0].granted


def test_a_transfer_overrides_stickiness() -> None:
    """A candidate that the leader itself asked to stand is heard at once (§4.2.3)."""
    node = Lone([1])
    node.heartbeat(term=1)
    node.sent.clear()
    node.step(C, ask(2, at(1, 1), transfer=True))
    node.persist()
    assert node.of(VoteResponse, C)[0].granted


def test_s40_a_damaged_member_neither_votes_nor_campaigns() -> None:
    """It cannot know what it had acknowledged, so it has no say in who leads."""
    node = Lone([1, 1], damaged=True)
    node.expire()
    assert node.raft.role is Role.FOLLOWER
    node.step(B, PreVoteRequest(term=Term(9), last=at(9, 9)))
    node.step(B, ask(9, at(9, 9)))
    node.persist()
    assert [m.granted for m in node.of(PreVoteResponse)] == [False]
    node.step(B, ask(9, at(9, 9)))
    assert not node.of(VoteResponse)[0].granted
    node.step(B, TimeoutNow(term=Term(9)))
    assert node.raft.role is Role.FOLLOWER


def test_s37_a_node_that_may_not_campaign_still_votes() -> None:
    """A member with an emptied directory votes, but never stands."""
    node = Lone()
    node.raft.may_campaign = False
    assert not node.raft.may_campaign
    node.expire()
    node.step(B, TimeoutNow(term=Term(1)))
    assert node.raft.role is Role.FOLLOWER
    node.step(B, ask(2, at(0, 0)))
    node.persist()
    assert node.of(VoteResponse)[0].granted


# ---------------------------------------------------------------- the lost leader (decision 16)


def lose(node: Lone) -> None:
    """Let the channels to the leader b break."""
    node.heartbeat(term=1, source=B)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    node.sent.clear()


def test_a_lost_leader_is_pre_voted_soon_and_boundedly() -> None:
    """Three early pre-votes, each later than the one before, then the normal timeout."""
    node = Lone([1])
    lose(node)
    waits = []
    for _ in range(4):
        start = node.now
        node.expire()
        waits.append(node.now - start)
        assert node.raft.role is Role.PRE_CANDIDATE
    assert waits[:3] == pytest.approx([0.01, 0.02, 0.04])
    assert 0.5 <= waits[3] <= 1.0
    assert node.raft.term == 1


def test_the_lost_leader_hint_is_staggered_by_rank() -> None:
    """The voters' first early pre-votes are a delay apart."""
    cluster = Cluster("a", "b", "c", "d", "e")
    cluster.elect("c")
    for name in "abde":
        cluster.call(name, lambda raft: raft.peer_lost("c", cluster.now))
    waits = [cluster[name].deadline() - cluster.now for name in "abde"]
    assert waits == pytest.approx([0.01, 0.02, 0.03, 0.04])


def test_failover_after_a_seen_crash_takes_tens_of_milliseconds() -> None:
    """When the survivors see the leader's streams break, one of them leads within 50 ms."""
    for seed in range(20):
        cluster = Cluster("a", "b", "c", seed=seed)
        cluster.elect("b")
        cluster.run(1)
        cluster.crash("b")
        start = cluster.now
        for name in "ac":
            cluster.call(name, lambda raft, now=start: raft.peer_lost("b", now))
        assert cluster.run(1, until=lambda c=cluster: c.leader() is not None)
        assert cluster.now - start < 0.05


def test_voters_that_lost_the_leader_grant_at_once_and_others_do_not() -> None:
    """A voter answers by its own observation only."""
    lost, hears = Lone([1]), Lone([1])
    lose(lost)
    hears.heartbeat(term=1, source=B)
    hears.sent.clear()
    for node, granted in ((lost, True), (hears, False)):
        node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
        assert node.of(PreVoteResponse)[0].granted is granted


@pytest.mark.parametrize("sign", ["heartbeat", "append", "connected"])
def test_a_sign_of_the_leader_clears_the_hint(sign) -> None:
    """Any message of the leader, or a new stream from it, ends the early pre-votes."""
    node = Lone([1])
    lose(node)
    match sign:
        case "heartbeat":
            node.heartbeat(term=1, source=B)
        case "append":
            node.append([], term=1, previous=node.disk.log[0])
        case _:
            node.call(lambda raft: raft.peer_connected(B, node.now))
    assert node.raft.deadline() - node.now >= 0.5
    assert node.state.lost_leader is None


def test_losing_another_peer_is_no_hint() -> None:
    """Only the current leader's loss arms anything."""
    node = Lone([1])
    node.heartbeat(term=1, source=B)
    deadline = node.raft.deadline()
    node.call(lambda raft: raft.peer_lost(C, node.now))
    assert node.raft.deadline() == deadline


def test_with_leases_the_hint_waits_for_the_lease() -> None:
    """Neither an early pre-vote nor a granted one comes before the promised lease ends."""
    node = Lone([1], settings=CoreSettings(lease_seconds=0.4))
    node.now += 1
    node.heartbeat(term=1, source=B, lease_seconds=0.4)
    node.call(lambda raft: raft.peer_lost(B, node.now))
    assert node.raft.deadline() - node.now == pytest.approx(0.41)
    node.sent.clear()
    node.step(C, PreVoteRequest(term=Term(2), last=at(1, 1)))
    node.step(C, ask(2, at(1, 1)))
    assert [m.granted for m in node.of(PreVoteResponse)] == [False]
    assert node.raft.term == 1


def test_a_lease_outlives_a_term_learnt_otherwise() -> None:
    """A voter whose term was raised by a refusal still keeps the promise it gave before."""
    node = Lone([1], settings=CoreSettings(lease_seconds=0.4))
    node.now += 1
    node.heartbeat(term=1, source=B, lease_seconds=0.4)
    node.step(C, VoteResponse(term=Term(2), granted=False))
    assert node.raft.term == 2
    node.persist()
    node.sent.clear()
    node.step(C, ask(2, at(1, 1)))
    assert not node.of(VoteResponse)[0].granted
    node.now += 0.41
    node.step(C, ask(2, at(1, 1)))
    node.persist()
    assert node.of(VoteResponse)[0].granted


def test_a_restarted_voter_withholds_for_the_longest_lease() -> None:
    """What it promised before is not on its disk, so it assumes the most (decision 17)."""
    node = Lone([1], settings=CoreSettings(lease_seconds=0.4))
    node.step(C, ask(2, at(1, 1)))
    assert node.raft.term == 1
    node.now += 0.4
    node.step(C, ask(2, at(1, 1)))
    node.persist()
    assert node.of(VoteResponse)[0].granted


def test_a_lease_binds_the_voters_own_campaign() -> None:
    """A node does not stand itself while it withholds its vote from others."""
    node = Lone([1], settings=CoreSettings(lease_seconds=0.5))
    node.now += 1
    node.heartbeat(term=1, source=B, lease_seconds=0.5)
    node.state.election_deadline = node.now
    node.tick()
    assert node.raft.role is Role.FOLLOWER
    assert node.raft.deadline() == pytest.approx(node.now + 0.5)
    node.expire()
    assert node.raft.role is Role.PRE_CANDIDATE


# ---------------------------------------------------------------- stalls


def test_a_stalled_follower_waits_a_fresh_timeout() -> None:
    """Silence while the own loop stood still is no reason to campaign."""
    node = Lone([1])
    node.now += 5
    node.call(lambda raft: raft.stalled(node.now))
    node.tick()
    assert node.raft.role is Role.FOLLOWER
    assert 0.5 <= node.raft.deadline() - node.now <= 1.0


def test_a_stall_does_not_forget_that_the_leader_was_lost() -> None:
    """A broken stream stays a hint, however long this node slept."""
    node = Lone([1])
    lose(node)
    deadline = node.raft.deadline()
    node.call(lambda raft: raft.stalled(node.now))
    assert node.raft.deadline() == deadline


def test_steps_down_when_told() -> None:
    """A leader told to step down follows nobody in the same term; a follower does nothing."""
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.step_down(node.now))
    assert (node.raft.role, node.raft.term, node.raft.leader) == (Role.FOLLOWER, 1, None)
    deadline = node.raft.deadline()
    node.call(lambda raft: raft.step_down(node.now))
    assert node.raft.deadline() == deadline >= node.now + 0.5
    assert node.raft.last_index == Index(1)
