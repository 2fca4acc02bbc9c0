"""Figure 3.1: what each server keeps, how it answers, and what it does, rule by rule."""

from __future__ import annotations

from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatRequest,
    HeartbeatResponse,
    PreVoteResponse,
    VoteRequest,
    VoteResponse,
)
from raftlog.types import Role, Term
from tests.core.cluster import Cluster, make_entries, voters
from tests.core.lone import A, B, C, D, E, Lone, at

from .rule import (
    COMMIT,
    ELECTION,
    FOLLOWER,
    HEARTBEAT,
    QUORUM,
    REPLICATION,
    ROLES,
    TERMS,
    broken_by,
)


def ask(node: Lone, source, *, term: int, last) -> list[VoteResponse]:
    """Let a candidate ask for the vote; return what leaves once the disk has it."""
    node.sent.clear()
    node.step(source, VoteRequest(term=Term(term), last=last))
    node.persist()
    return node.of(VoteResponse, source)


def refusal(term: int) -> list[VoteResponse]:
    return [VoteResponse(term=Term(term), granted=False)]


# ---------------------------------------------------------------- persistent state


@broken_by(
    (
        ELECTION,
        "    send_durable(state, source, VoteResponse",
        "    state.send(source, VoteResponse",
    )
)
def test_a_vote_is_on_stable_storage_before_it_is_told() -> None:
    """§3.1 figure 3.1: currentTerm and votedFor are "updated on stable storage before
    responding"."""
    node = Lone()
    node.step(B, VoteRequest(term=Term(4), last=at(0, 0)))
    assert node.of(VoteResponse) == []
    assert node.disk.hard_state.vote is None
    node.persist()
    assert (node.disk.hard_state.term, node.disk.hard_state.vote) == (4, B)
    assert node.of(VoteResponse, B) == [VoteResponse(term=Term(4), granted=True)]


@broken_by(
    (
        FOLLOWER,
        "        persistence.send_durable(state, leader, answer)",
        "        state.send(leader, answer)",
    )
)
def test_entries_are_on_stable_storage_before_they_are_acked() -> None:
    """§3.1 figure 3.1: log[] is "updated on stable storage before responding" to AppendEntries."""
    node = Lone()
    node.append(make_entries(node.origin, [1, 1]), term=1)
    assert node.of(AppendResponse) == []
    node.persist()
    assert len(node.disk.log) == 2
    assert [m.match_index for m in node.of(AppendResponse, B)] == [2]


# ---------------------------------------------------------------- RequestVote


@broken_by((TERMS, "    if message.term < state.term:", "    if message.term < 0:"))
def test_a_candidate_of_an_older_term_is_refused() -> None:
    """§3.1 figure 3.1, RequestVote 1: "Reply false if term < currentTerm"."""
    node = Lone(term=5)
    assert ask(node, B, term=4, last=at(9, 9)) == refusal(5)


@broken_by(
    (
        ELECTION,
        "        state.vote in {None, source}\n        and state.term_leader",
        "        state.term_leader",
    ),
    (
        ELECTION,
        "    if state.vote is None:\n        roles.become(state, Role.FOLLOWER)",
        "    if state.vote != source:\n        roles.become(state, Role.FOLLOWER)",
    ),
)
def test_a_vote_is_granted_once_in_a_term_and_to_the_same_candidate_again() -> None:
    """§3.1 figure 3.1, RequestVote 2: votedFor must be "null or candidateId"."""
    node = Lone()
    granted = [VoteResponse(term=Term(1), granted=True)]
    assert ask(node, B, term=1, last=at(0, 0)) == granted
    assert ask(node, C, term=1, last=at(1, 9)) == refusal(1)
    assert ask(node, B, term=1, last=at(0, 0)) == granted


# ---------------------------------------------------------------- AppendEntries


@broken_by((TERMS, "    if message.term < state.term:", "    if message.term < 0:"))
def test_a_leader_of_an_older_term_is_refused() -> None:
    """§3.1 figure 3.1, AppendEntries 1: "Reply false if term < currentTerm"."""
    node = Lone(term=5)
    node.append(make_entries(node.origin, [4]), term=4)
    answers = node.of(AppendResponse, B)
    assert [(m.term, m.success) for m in answers] == [(5, False)]
    assert (node.raft.last_index, node.raft.leader) == (0, None)


@broken_by(
    (
        FOLLOWER,
        (
            "    return checksum == message.previous_checksum and log.term(previous.index) "
            "== previous.term"
        ),
        "    return True",
    )
)
def test_entries_behind_another_previous_entry_are_refused() -> None:
    """§3.1 figure 3.1, AppendEntries 2: false unless prevLogIndex holds an entry of prevLogTerm."""
    node = Lone([1, 1])
    other = make_entries(node.origin, [1, 2, 3])
    node.append(other[2:], term=3, previous=other[1])
    node.persist()
    assert [m.success for m in node.of(AppendResponse, B)] == [False]
    assert node.raft.last_position == at(1, 2)


@broken_by(
    (FOLLOWER, "        persistence.truncate(state, first)", "        fresh = fresh[:0] or fresh")
)
def test_a_conflicting_entry_and_all_that_follow_it_are_deleted() -> None:
    """§3.1 figure 3.1, AppendEntries 3: delete the conflicting entry "and all that follow it"."""
    node = Lone([1, 1, 1, 1])
    kept = node.disk.log[0]
    node.append(make_entries(node.origin, [2], after=kept), term=2, previous=kept)
    node.persist()
    assert [entry.term for entry in node.disk.log] == [1, 2]


@broken_by((FOLLOWER, "    known = _count_known(state, message)", "    known = 0"))
def test_only_entries_not_yet_in_the_log_are_appended() -> None:
    """§3.1 figure 3.1, AppendEntries 4: "Append any new entries not already in the log"."""
    node = Lone([1, 1, 1])
    node.append(node.disk.log[:2], term=1)
    assert node.rounds == []
    assert [m.match_index for m in node.of(AppendResponse, B)] == [2]
    assert node.raft.last_index == 3


@broken_by(
    (
        FOLLOWER,
        "Index(min(message.commit_index, match_index))",
        "Index(min(message.commit_index, 1 << 40, state.log.last_index))",
    )
)
def test_a_follower_commits_up_to_the_last_new_entry() -> None:
    """§3.1 figure 3.1, AppendEntries 5: commitIndex = min(leaderCommit, last new entry's index)."""
    node = Lone([1, 1, 1])
    node.append(node.disk.log[:2], term=1, commit=3)
    assert node.raft.commit_index == 2
    node.append(node.disk.log, term=1, commit=1)
    assert node.raft.commit_index == 2


# ---------------------------------------------------------------- all servers


@broken_by(
    (
        TERMS,
        "            roles.follow(state, message.term, None, now)\n            return True",
        "            return True",
    )
)
def test_a_newer_term_makes_a_follower_of_anyone() -> None:
    """§3.1 figure 3.1, all servers: a newer term in any RPC is adopted, and one follows."""
    node = Lone()
    node.lead_settled()
    node.step(B, AppendResponse(term=Term(7), success=False, match_index=0))
    assert (node.raft.term, node.raft.role) == (7, Role.FOLLOWER)
    node = Lone()
    node.campaign()
    node.step(B, VoteResponse(term=Term(7), granted=False))
    assert (node.raft.term, node.raft.role) == (7, Role.FOLLOWER)


# ---------------------------------------------------------------- followers


@broken_by(
    (
        FOLLOWER,
        "        context=message.context,\n        applied_index=state.applied_index,\n",
        "        context=0,\n        applied_index=state.applied_index,\n",
    )
)
def test_a_follower_answers_candidates_and_leaders() -> None:
    """§3.1 figure 3.1, followers: "Respond to RPCs from candidates and leaders"."""
    node = Lone(term=1)
    assert ask(node, B, term=2, last=at(0, 0)) == [VoteResponse(term=Term(2), granted=True)]
    node.heartbeat(term=2, context=8)
    assert node.of(HeartbeatResponse, B) == [HeartbeatResponse(term=Term(2), context=8)]
    node.append([], term=2)
    assert [m.success for m in node.of(AppendResponse, B)] == [True]


@broken_by(
    (
        ROLES,
        "    state.lost_leader = None\n    timers.arm_election(state, now)",
        "    state.lost_leader = None",
    )
)
def test_only_silence_makes_a_follower_campaign() -> None:
    """§3.1 figure 3.1, followers: without AppendEntries for an election timeout, stand for
    election.

    Standing begins with a pre-vote (docs/divergence.md, §9.6).
    """
    node = Lone(term=1)
    for _ in range(30):
        node.heartbeat(term=1)
        node.tick(0.4)
        assert node.raft.role is Role.FOLLOWER
    node.expire()
    assert node.raft.role is Role.PRE_CANDIDATE


@broken_by(
    (
        ELECTION,
        "    timers.arm_election(state, now)\n    send_durable(state, source, Vote",
        "    send_durable(state, source, Vote",
    )
)
def test_granting_a_vote_puts_the_own_campaign_off() -> None:
    """§3.1 figure 3.1, followers: the timeout runs anew from "granting vote to candidate"."""
    node = Lone()
    node.now = node.raft.deadline() - 0.01
    assert ask(node, B, term=1, last=at(0, 0))
    assert node.raft.deadline() >= node.now + node.settings.election_timeout_seconds


# ---------------------------------------------------------------- candidates


@broken_by((ELECTION, "Term(state.term + 1), state.node_id)", "Term(state.term + 1), None)"))
def test_a_candidate_takes_a_new_term_and_votes_for_itself_and_asks_everyone() -> None:
    """§3.1 figure 3.1, candidates: increment currentTerm, vote for self, reset timer, ask all."""
    node = Lone([1, 1], membership=voters("a", "b", "c", "d", "e"))
    node.expire()
    for voter in (B, C):
        node.step(voter, PreVoteResponse(term=Term(2), granted=True))
    node.persist()
    assert (node.raft.role, node.raft.term) == (Role.CANDIDATE, 2)
    assert node.disk.hard_state.vote == A
    asked = [(target, m) for target, m in node.sent if isinstance(m, VoteRequest)]
    assert asked == [(peer, VoteRequest(term=Term(2), last=at(1, 2))) for peer in (B, C, D, E)]
    timeout = node.settings.election_timeout_seconds
    assert node.now + timeout <= node.raft.deadline() <= node.now + 2 * timeout


@broken_by(
    (
        QUORUM,
        "        needed = len(self.voters) // 2 + 1",
        "        needed = len(self.voters) // 2 + 2",
    )
)
def test_a_majority_of_votes_makes_a_leader() -> None:
    """§3.1 figure 3.1, candidates: "If votes received from majority of servers: become leader"."""
    node = Lone(membership=voters("a", "b", "c", "d", "e"))
    node.expire()
    for voter in (B, C, D, E):
        node.step(voter, PreVoteResponse(term=Term(1), granted=True))
    node.persist()
    node.step(B, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.CANDIDATE
    node.step(C, VoteResponse(term=Term(1), granted=True))
    assert node.raft.role is Role.LEADER


@broken_by(
    (
        ROLES,
        "    if state.role is not Role.FOLLOWER or state.leader != leader:",
        "    if state.role is Role.FOLLOWER and state.leader != leader:",
    )
)
def test_a_candidate_yields_to_the_leader_of_its_term() -> None:
    """§3.1 figure 3.1, candidates: on AppendEntries from the new leader, convert to follower."""
    node = Lone()
    node.campaign()
    node.append([], term=1)
    assert (node.raft.role, node.raft.leader) == (Role.FOLLOWER, B)


@broken_by(
    (
        ELECTION,
        "    timers.arm_election(state, now)\n    request = VoteRequest",
        "    state.election_deadline = float('inf')\n    request = VoteRequest",
    )
)
def test_a_candidate_that_does_not_win_stands_again() -> None:
    """§3.1 figure 3.1, candidates: "If election timeout elapses: start new election"."""
    node = Lone()
    node.campaign()
    first = node.raft.term
    assert node.raft.deadline() <= node.now + 2 * node.settings.election_timeout_seconds
    node.campaign()
    assert node.raft.term == first + 1


# ---------------------------------------------------------------- leaders


@broken_by(
    (
        HEARTBEAT,
        "now + settings.heartbeat_seconds",
        "now + 20 * settings.heartbeat_seconds",
    )
)
def test_a_leader_speaks_at_once_and_goes_on_speaking() -> None:
    """§3.1 figure 3.1, leaders: heartbeats "upon election" and "during idle periods"."""
    node = Lone()
    node.campaign()
    node.sent.clear()
    node.step(B, VoteResponse(term=Term(1), granted=True))
    for _ in range(3):
        targets = {target for target, m in node.sent if isinstance(m, HeartbeatRequest)}
        assert targets == {B, C}
        node.sent.clear()
        node.tick(node.settings.heartbeat_seconds)


@broken_by((QUORUM, "        return ranked[(len(ranked) - 1) // 2]", "        return ranked[-1]"))
def test_a_command_is_appended_and_answered_for_only_once_it_is_committed() -> None:
    """§3.1 figure 3.1, leaders: append a client's command; respond after it is applied.

    What may be applied is what is committed; the node's own half of it is in test_clients.py.
    """
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"x", 1, node.now, 0))
    assert (node.raft.last_index, node.raft.commit_index) == (2, 1)
    node.persist()
    assert node.raft.commit_index == 1
    node.ack(C)
    assert node.raft.commit_index == 2


@broken_by(
    (
        REPLICATION,
        "    progress.become_probe(next_index)\n",
        "    progress.become_probe(progress.next_index)\n",
    )
)
def test_a_follower_that_refuses_is_tried_further_down_until_it_agrees() -> None:
    """§3.1 figure 3.1, leaders: send from nextIndex; on a refusal decrement it and retry."""
    node = Lone([1, 1, 1, 1])
    node.lead()
    node.step(B, AppendResponse(term=node.raft.term, success=False, match_index=4, hint=at(1, 1)))
    (again,) = node.of(AppendRequest, B)
    assert again.previous == at(1, 1)
    node.ack(B, 5)
    progress = node.raft.progress_of(B)
    assert (progress.match_index, progress.next_index) == (5, 6)


@broken_by(
    (
        COMMIT,
        "index <= state.commit_index or index < leadership.first_index",
        "index <= state.commit_index",
    )
)
def test_a_leader_commits_what_a_majority_holds_of_its_own_term() -> None:
    """§3.1 figure 3.1, leaders: commit N if a majority matches it and log[N].term ==
    currentTerm."""
    node = Lone([1, 1])
    node.lead()
    node.ack(B, 2)
    assert node.raft.commit_index == 0
    node.ack(B, 3)
    assert node.raft.commit_index == 3


@broken_by(
    (
        REPLICATION,
        "        while progress.next_index <= last and not",
        "        while False and not",
    )
)
def test_every_server_ends_with_what_the_leader_took() -> None:
    """§3.1 figure 3.1 as a whole: commands given to the leader are committed on every server."""
    cluster = Cluster("a", "b", "c")
    leader = cluster.elect("a")
    for number in range(20):
        cluster.propose("a", b"%d" % number)
    cluster.run(1)
    assert leader.commit_index == leader.last_index == 21
    assert {cluster[name].commit_index for name in "bc"} == {21}
    assert cluster.positions("a") == cluster.positions("b") == cluster.positions("c")
