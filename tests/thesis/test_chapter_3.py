"""Chapter 3 beyond figure 3.1: the five properties, elections, replication, safety, crashes,
time."""

from __future__ import annotations

import pytest

from raftlog.core.entries import HardState
from raftlog.core.messages import (
    AppendRequest,
    AppendResponse,
    HeartbeatResponse,
    Message,
    VoteRequest,
    VoteResponse,
)
from raftlog.core.settings import CoreSettings
from raftlog.errors import ConfigInvalid
from raftlog.types import Index, NodeId, Role, Term
from tests.core.cluster import Cluster, make_entries
from tests.core.lone import A, B, C, Lone, at

from .rule import (
    COMMIT,
    ELECTION,
    FOLLOWER,
    REPLICATION,
    SETTINGS,
    START,
    TERMS,
    TIMERS,
    broken_by,
)

NO_CHECK = (
    FOLLOWER,
    (
        "    return checksum == message.previous_checksum and log.term(previous.index) == "
        "previous.term"
    ),
    "    return True",
)
VOTE_CHECK = (
    ELECTION,
    "        and message.last >= state.log.last_position\n    )\n    if not granted",
    "    )\n    if not granted",
)
PRE_VOTE_CHECK = (
    ELECTION,
    "        and message.last >= state.log.last_position\n    )\n    term =",
    "    )\n    term =",
)
COUNTING = (
    COMMIT,
    "index <= state.commit_index or index < leadership.first_index",
    "index <= state.commit_index",
)
VOTES_TWICE = (
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
ONE_BY_ONE = CoreSettings(append_bytes_max=1)


def cluster_of(
    logs: dict[str, list[int]], *, term: int = 0, settings: CoreSettings = ONE_BY_ONE
) -> Cluster:
    """Return a cluster whose members begin with logs of these terms; equal prefixes are equal."""
    cluster = Cluster(*logs, settings=settings)
    for name, terms in logs.items():
        disk = cluster.host(name).disk
        disk.log = make_entries(disk.boundary, terms)
        disk.hard_state = HardState(term=Term(max([term, *terms])))
        cluster.restart(name)
    return cluster


def stand(cluster: Cluster, name: str) -> None:
    """Let a node's election timeout pass, when nobody has heard of a leader lately."""
    for host in cluster.hosts.values():
        host.raft.observe().leader_contact = float("-inf")
    cluster.now = max(cluster.now, cluster[name].observe().election_deadline)
    cluster.call(name, lambda raft: raft.tick(cluster.now))


def holdings(cluster: Cluster) -> list[list[tuple[int, int]]]:
    """Return each member's log as (term, index) pairs."""
    return [[(p.term, p.index) for p in cluster.positions(name)] for name in cluster.hosts]


# ---------------------------------------------------------------- figure 3.2


@broken_by(*VOTES_TWICE)
def test_election_safety() -> None:
    """§3.2 figure 3.2, Election Safety: "at most one leader can be elected in a given term"."""
    cluster = Cluster("a", "b", "c")
    for name in "bc":
        stand(cluster, name)
    while len(cluster.sent(VoteRequest, "a")) < 2:
        cluster.deliver(next(i for i, p in enumerate(cluster.network) if not_a_vote(p[2])))
    assert [m.term for m in cluster.sent(VoteRequest, "a")] == [1, 1]
    cluster.settle()
    assert [cluster[name].role for name in "bc"].count(Role.LEADER) == 1
    assert len(cluster.leaders) == 1


def not_a_vote(message: Message) -> bool:
    return not isinstance(message, VoteRequest | VoteResponse)


@broken_by(
    (
        REPLICATION,
        (
            "    progress.become_probe(next_index)\n    state.is_replication_wanted = "
            "True\n\n\ndef check"
        ),
        (
            "    progress.become_probe(next_index)\n    "
            "state.log.truncate_from(Index(next_index + 1))\n\n\ndef check"
        ),
    )
)
def test_leader_append_only() -> None:
    """§3.2 figure 3.2, Leader Append-Only: it never overwrites or deletes entries in its log."""
    node = Lone([1, 1, 2, 2])
    node.lead()
    before = node.raft.log.entries(Index(1), node.raft.last_index, 1 << 30)
    for peer, hint in ((B, at(1, 1)), (C, at(0, 0))):
        refused = AppendResponse(term=node.raft.term, success=False, match_index=4, hint=hint)
        node.step(peer, refused)
    node.ack(B, 3)
    assert node.raft.log.entries(Index(1), node.raft.last_index, 1 << 30) == before


@broken_by(NO_CHECK)
def test_log_matching() -> None:
    """§3.2 figure 3.2, Log Matching: same index and term, same log "through the given index"."""
    cluster = cluster_of({"a": [1, 1, 3], "b": [1, 2, 2, 2], "c": [1, 1, 3, 3]})
    stand(cluster, "c")
    while cluster.network:
        cluster.deliver()
        logs = [
            {p: cluster[name].log.checksum(p.index) for p in cluster.positions(name)}
            for name in "abc"
        ]
        for one in logs:
            for other in logs:
                assert all(one[p] == other[p] for p in one.keys() & other.keys())
    assert cluster.leader() is cluster["c"]
    assert holdings(cluster) == [[(1, 1), (1, 2), (3, 3), (3, 4), (4, 5)]] * 3


@broken_by(VOTE_CHECK, PRE_VOTE_CHECK)
def test_leader_completeness() -> None:
    """§3.2 figure 3.2, Leader Completeness: what is committed is in the logs of all later
    leaders."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.partition("ab", "c")
    committed = cluster.propose("a", b"kept")
    cluster.run(0.2)
    assert cluster["a"].commit_index == committed.index
    cluster.crash("a")
    cluster.heal()
    stand(cluster, "c")
    cluster.settle()
    assert cluster["c"].role is not Role.LEADER
    assert cluster.run(10, until=lambda: cluster["b"].role is Role.LEADER)
    assert cluster["b"].log.checksum(committed.index) == committed.checksum


def replicate_an_old_entry() -> Cluster:
    """Return S1 to S5 as in (c) of figure 3.7: a majority holds index 2 of term 2, S1 leads."""
    cluster = cluster_of({"a": [1, 2], "b": [1], "c": [1], "d": [1], "e": [1, 3]}, term=3)
    cluster.partition("abc", "de")
    stand(cluster, "a")
    while cluster.network:
        cluster.drop(lambda packet: not would_store(cluster, packet[1], packet[2], term=4))
        if cluster.network:
            cluster.deliver()
    assert holdings(cluster)[:3] == [[(1, 1), (2, 2), (4, 3)], [(1, 1), (2, 2)], [(1, 1), (2, 2)]]
    return cluster


def would_store(cluster: Cluster, target: NodeId, message: Message, *, term: int) -> bool:
    """Whether a message brings an entry of that term to one who would take it."""
    return (
        isinstance(message, AppendRequest)
        and any(entry.term == term for entry in message.entries)
        and message.previous.index <= cluster[target].last_index
    )


@broken_by(COUNTING)
def test_state_machine_safety() -> None:
    """§3.2 figure 3.2, State Machine Safety: no two servers apply different entries at an index."""
    cluster = replicate_an_old_entry()
    cluster.crash("a")
    cluster.heal()
    while cluster["e"].role is not Role.LEADER:
        stand(cluster, "e")
        cluster.settle()
    cluster.restart("a")
    cluster.run(2)
    assert holdings(cluster) == [[(1, 1), (3, 2), (5, 3)]] * 5
    assert {cluster[name].commit_index for name in "abcde"} == {3}


# ---------------------------------------------------------------- §3.3, §3.4


@broken_by((TERMS, "        if refusal is not None:", "        if refusal is None:"))
def test_a_server_with_a_stale_term_is_told_the_newer_one() -> None:
    """§3.3: "current terms are exchanged whenever servers communicate"; a stale one is updated."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.call("a", lambda raft: raft.tick(raft.deadline()))
    late, cluster.network = cluster.network, []
    cluster.partition("a", "bc")
    stand(cluster, "b")
    cluster.settle()
    cluster.heal()
    assert (cluster["a"].term, cluster["b"].term) == (1, 2)
    cluster.network = late[:1]
    cluster.deliver()
    assert [(p[1], type(p[2]), p[2].term) for p in cluster.network] == [(A, HeartbeatResponse, 2)]
    cluster.deliver()
    assert (cluster["a"].term, cluster["a"].role) == (2, Role.FOLLOWER)


@broken_by((TIMERS, "state.random.uniform(timeout, 2 * timeout)", "timeout"))
def test_election_timeouts_are_random() -> None:
    """§3.4: each timeout is drawn anew "from a fixed interval", so that servers do not vote
    alike."""
    node = Lone()
    timeout = node.settings.election_timeout_seconds
    drawn = set()
    for _ in range(50):
        node.heartbeat(term=1)
        drawn.add(round(node.raft.deadline() - node.now, 6))
    assert len(drawn) > 40
    assert timeout <= min(drawn) < 1.2 * timeout
    assert 1.8 * timeout < max(drawn) <= 2 * timeout


@broken_by((TIMERS, "state.random.uniform(timeout, 2 * timeout)", "timeout"))
def test_a_split_vote_is_followed_by_a_term_with_a_leader() -> None:
    """§3.4: if votes are split "each candidate will time out and start a new election"."""
    cluster = Cluster("a", "b", "c", "d")
    for name in "ab":
        stand(cluster, name)
    while any(cluster[name].role is not Role.CANDIDATE for name in "ab"):
        cluster.deliver(next(i for i, p in enumerate(cluster.network) if not_a_vote(p[2])))
    near = [("a", "c"), ("c", "a"), ("b", "d"), ("d", "b")]
    cluster.drop(lambda packet: packet[:2] in near)
    cluster.settle()
    assert cluster.leader() is None
    assert {cluster[name].term for name in "abcd"} == {1}
    assert cluster.run(10, until=lambda: cluster.leader() is not None)
    assert cluster.leader().term > 1


# ---------------------------------------------------------------- §3.5


@broken_by(NO_CHECK)
def test_the_followers_of_figure_3_6_end_with_the_leaders_log() -> None:
    """§3.5 figure 3.6: the leader forces the followers' logs "to duplicate its own"."""
    leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    cluster = cluster_of(
        {
            "l": leader,
            "a": leader[:9],
            "b": leader[:4],
            "c": [*leader, 6],
            "d": [*leader, 7, 7],
            "e": [1, 1, 1, 4, 4, 4, 4],
            "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        },
        term=7,
    )
    stand(cluster, "l")
    cluster.settle()
    assert cluster["l"].role is Role.LEADER
    wanted = [(term, index) for index, term in enumerate([*leader, 8], 1)]
    assert holdings(cluster) == [wanted] * 7


@broken_by(
    (FOLLOWER, "match_index=previous.index, hint=hint", "match_index=previous.index, hint=None")
)
def test_a_refusal_skips_the_entries_of_a_term_at_once() -> None:
    """§3.5: a refusal can name "the term of the conflicting entry", to need one RPC for each
    term."""
    cluster = cluster_of({"a": [1] + [2] * 30, "b": [1] * 25, "c": [1]})
    while cluster["a"].role is not Role.LEADER:
        stand(cluster, "a")
        cluster.settle()
    refused = [m for s, _, m in cluster.delivered if s == B and is_refusal(m)]
    assert cluster.positions("b") == cluster.positions("a")
    assert len(refused) <= 2


def is_refusal(message: Message) -> bool:
    return isinstance(message, AppendResponse) and not message.success


@broken_by(
    (
        REPLICATION,
        "        commit_index=state.commit_index,\n    )",
        "        commit_index=Index(0),\n    )",
    )
)
def test_the_commit_index_travels_in_append_entries() -> None:
    """§3.5: the leader includes its commit index in future AppendEntries, so that others learn it.

    Heartbeats carry it too, capped by what the follower matches (docs/divergence.md).
    """
    node = Lone()
    node.lead_settled()
    node.call(lambda raft: raft.propose(1, b"x", 1, node.now, 0))
    assert {m.commit_index for m in node.of(AppendRequest)} == {1}


# ---------------------------------------------------------------- §3.6


@pytest.mark.parametrize(
    ("last", "granted"),
    [((1, 9), False), ((2, 2), False), ((2, 3), True), ((2, 4), True), ((3, 1), True)],
)
@broken_by(
    (
        ELECTION,
        "        and message.last >= state.log.last_position\n    )\n    if not granted",
        (
            "        and message.last.index >= state.log.last_position.index\n    )\n    if "
            "not granted"
        ),
    )
)
def test_votes_go_to_candidates_that_are_as_up_to_date(
    last: tuple[int, int], granted: bool
) -> None:
    """§3.6.1: a later last term is more up to date; with the same one, the longer log is."""
    node = Lone([1, 2, 2])
    node.step(B, VoteRequest(term=Term(4), last=at(*last)))
    node.persist()
    assert [m.granted for m in node.of(VoteResponse, B)] == [granted]


@broken_by(COUNTING)
def test_entries_of_earlier_terms_are_not_committed_by_counting() -> None:
    """§3.6.2 figure 3.7: a majority's copies of an older term's entry do not commit it."""
    cluster = replicate_an_old_entry()
    assert cluster["a"].commit_index == 0
    cluster.heal()
    cluster.run(1)
    assert cluster["a"].commit_index == 3


# ---------------------------------------------------------------- §3.7, §3.8, §3.9


@broken_by((FOLLOWER, "    known = _count_known(state, message)", "    known = 0"))
def test_a_repeated_request_does_no_harm() -> None:
    """§3.7: requests have the same effect if repeated; one answered in vain is just sent again."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    for _ in range(3):
        cluster.propose("a")
    while cluster.network:
        cluster.deliver(keep=True)
        cluster.deliver()
    assert cluster["a"].commit_index == 4
    rounds = [r.persist for h in cluster.hosts.values() for r in h.readies if r.persist]
    assert {done.truncate_from for done in rounds} == {None}
    assert holdings(cluster)[0] == holdings(cluster)[1] == holdings(cluster)[2]


@broken_by(
    (
        REPLICATION,
        "        progress.is_paused = False\n        progress.wait_longer()",
        "        pass",
    ),
    (REPLICATION, "            progress.look_again()\n", "            pass\n"),
)
def test_requests_are_retried_indefinitely() -> None:
    """§3.7: if followers crash or requests are lost, the leader goes on "retrying indefinitely"."""
    cluster = Cluster("a", "b", "c")
    cluster.elect("a")
    cluster.propose("a")
    end = cluster.now + 5
    while cluster.now < end:
        cluster.drop(lambda packet: not (packet[1] == C and isinstance(packet[2], AppendRequest)))
        if cluster.network:
            cluster.deliver()
        else:
            cluster.now = min(h.raft.deadline() for h in cluster.hosts.values())
            cluster.tick_due()
    assert cluster["c"].last_index < cluster["a"].last_index
    cluster.run(2)
    assert cluster["c"].last_index == cluster["a"].last_index


@broken_by(
    (
        START,
        "        vote=hard_state.vote,\n        durable_term",
        "        vote=None,\n        durable_term",
    )
)
def test_a_restarted_server_votes_no_second_time() -> None:
    """§3.8: term and vote persist, or a server could vote twice in a term."""
    node = Lone()
    node.step(B, VoteRequest(term=Term(1), last=at(0, 0)))
    node.persist()
    node.crash()
    node.step(C, VoteRequest(term=Term(1), last=at(0, 0)))
    node.persist()
    assert [(m.term, m.granted) for m in node.of(VoteResponse, C)] == [(1, False)]


@broken_by(
    (
        START,
        "    commit_index = Index(min(known_commit, log.last_index))",
        "    commit_index = log.last_index",
    )
)
def test_the_commit_index_is_learnt_again_after_a_restart() -> None:
    """§3.8: the commit index may restart at zero; what is committed is found out by a leader.

    raftlog keeps a hint of it with the term and the vote, which may lag (docs/divergence.md).
    """
    cluster = cluster_of({"a": [1, 1, 1], "b": [1, 1], "c": [1]})
    assert {cluster[name].commit_index for name in "abc"} == {0}
    cluster.run(5)
    assert {cluster[name].commit_index for name in "abc"} == {cluster["a"].last_index}


@broken_by(
    (
        SETTINGS,
        "        if self.election_timeout_seconds < 2 * self.heartbeat_seconds:",
        "        if not self.election_timeout_seconds:",
    )
)
def test_the_broadcast_time_must_be_well_below_the_election_timeout() -> None:
    """§3.9: broadcastTime << electionTimeout; settings in which heartbeats come too late are
    refused."""
    with pytest.raises(ConfigInvalid):
        CoreSettings(heartbeat_seconds=0.3, election_timeout_seconds=0.5)
    cluster = Cluster("a", "b", "c")
    leader = cluster.elect("a")
    cluster.run(60)
    assert (cluster.leader(), leader.term) == (leader, 1)
