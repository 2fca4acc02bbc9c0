"""The small-scope search: no order of events breaks the core, and each planted bug is found."""

from __future__ import annotations

import pytest

from raftlog.core import commit, election, follower, persistence, raft
from raftlog.core.messages import AppendRequest, AppendResponse, PreVoteRequest, VoteResponse
from raftlog.sim.exhaustive import cli, nodes, search, symmetry
from raftlog.sim.exhaustive.nodes import TinyNode
from raftlog.sim.exhaustive.search import Bounds, Search
from raftlog.types import Index, Role

REAL_BEGIN = raft.begin_state
REAL_SEND_DURABLE = election.send_durable


@pytest.mark.parametrize(
    "bounds",
    [
        Bounds(nodes=3, terms=1, entries=1, crashes=0),
        Bounds(nodes=2, terms=2, entries=1, crashes=1),
        Bounds(nodes=1, terms=3, entries=2, crashes=2),
    ],
    ids=["three nodes", "two nodes, two terms", "one node"],
)
def test_no_order_of_events_breaks_the_core(bounds):
    """All states within the bounds are reached, and each keeps the properties."""
    found = Search(bounds).run()
    assert found.violation is None, "\n".join(found.path)
    assert found.is_complete
    assert found.chosen >= 2, "nothing was committed, so nothing was searched"


def test_a_search_repeats_itself():
    """The same bounds give the same states, events and depth."""
    bounds = Bounds(nodes=3, terms=1, entries=0, crashes=1)
    one, two = (Search(bounds).run() for _ in range(2))
    assert one.states > 300
    one.seconds = two.seconds = one.cpu_seconds = two.cpu_seconds = 0.0
    assert one == two


def forget_vote(found, now):
    """A restart that forgets the vote."""
    state = REAL_BEGIN(found, now)
    state.vote = state.durable_vote = None
    return state


def ack_at_once(state, leader, match_index):
    """An ack before the entries are durable."""
    state.send(leader, AppendResponse(term=state.term, success=True, match_index=match_index))


def vote_at_once(state, peer, message):
    """A vote told before it is durable."""
    if isinstance(message, VoteResponse):
        state.send(peer, message)
    else:
        REAL_SEND_DURABLE(state, peer, message)


def count_what_is_not_durable(state, now):
    """A leader that counts its own log before its disk has it."""
    leadership = state.leadership
    if leadership is None:
        return
    reached = {peer: known.match_index for peer, known in leadership.progress.items()}
    reached[state.node_id] = state.log.last_index
    index = Index(state.quorum.reached(reached))
    if index > state.commit_index and index >= leadership.first_index:
        commit.learn_commit(state, index, now)


def vouch_for_all(state, index):
    """S22: a write completed late counts what was truncated meanwhile."""


@pytest.mark.parametrize(
    ("module", "name", "broken", "bounds", "why"),
    [
        (raft, "begin_state", forget_vote, (3, 1, 0, 1), "one vote per term"),
        (election, "send_durable", vote_at_once, (3, 1, 0, 1), "one vote per term"),
        (follower, "acknowledge", ack_at_once, (3, 1, 1, 0), "durable on a quorum"),
        (commit, "advance_commit", count_what_is_not_durable, (3, 1, 0, 0), "durable on a quorum"),
        (persistence, "_clip_outstanding", vouch_for_all, (3, 2, 1, 0), "core: "),
    ],
    ids=[
        "vote forgotten on restart",
        "vote told before durable",
        "ack before durable",
        "leader counts what is not durable",
        "late completion vouches for truncated entries",
    ],
)
def test_a_planted_bug_is_found(monkeypatch, module, name, broken, bounds, why):
    """Within small bounds the search finds the bug, and tells the shortest way to it."""
    monkeypatch.setattr(module, name, broken)
    count, terms, entries, crashes = bounds
    found = Search(
        Bounds(nodes=count, terms=terms, entries=entries, crashes=crashes, states=40_000)
    ).run()
    assert found.violation is not None
    assert why in found.violation
    assert found.path[0] == "n1 times out"
    assert len(found.path) > 4


def test_a_search_stops_at_its_bounds():
    """With too little room the search says that it did not see everything."""
    found = Search(Bounds(states=500)).run()
    assert not found.is_complete
    assert 500 <= found.states < 50_000


def test_a_copied_node_shares_nothing_that_changes():
    """An input to a copy leaves the node it was copied from as it was."""
    node, peer, _ = TinyNode.cluster(3)
    before = node.fingerprint()
    candidate = node.copy()
    kinds = {type(message) for _, message in candidate.time_out()}
    assert kinds == {PreVoteRequest}, "requests wait for the disk"
    assert node.fingerprint() == before
    requests = [message for _, message in candidate.complete()]
    assert candidate.state.role is Role.CANDIDATE
    voter = peer.copy()
    assert voter.deliver("n1", requests[0]) == []
    (answer,) = [message for _, message in voter.complete()]
    leader = candidate.copy()
    sent = [message for _, message in leader.deliver("n2", answer)]
    assert leader.state.role is Role.LEADER
    assert candidate.state.role is Role.CANDIDATE
    assert sum(isinstance(message, AppendRequest) for message in sent) == 2
    assert leader.restart().state.role is Role.FOLLOWER
    assert nodes.texts(leader.copy().rounds[0].entries) == "1/1"


def test_states_that_differ_by_names_are_one():
    """Whoever stands first, and whichever way the names are dealt, it is the same state."""
    names = [node.node_id for node in TinyNode.cluster(3)]
    values = search.Values(Bounds())
    start = [values.number(node) for node in TinyNode.cluster(3)]
    keys = set()
    known = symmetry.Symmetry(names, values.nodes, values.messages)
    for position in range(3):
        value, sent = values.own(start[position], "times out")
        asked, requests = values.own(value, "completes")
        stood = [*start[:position], asked, *start[position + 1 :]]
        keys.add(known.key(tuple(stood), sent | requests))
        assert requests.bit_count() == 2
    assert len(keys) == 1
    two_stand = (values.own(start[0], "times out")[0], values.own(start[1], "times out")[0])
    assert known.key((*two_stand, start[2]), 0) not in keys


def test_messages_stay_and_contradictions_show():
    """Two votes of one voter in one term contradict one another; other messages do not."""
    values = search.Values(Bounds())
    yes = VoteResponse(term=1, granted=True)
    values.bits("n1", [("n2", yes), ("n3", yes), ("n2", VoteResponse(term=2, granted=True))])
    assert values.conflicts == [0b010, 0b001, 0]


def test_the_command_line_tells_the_way_to_a_bug(monkeypatch, capsys):
    """The exit code says whether a property broke, and the path to it is printed."""
    arguments = ["--nodes", "3", "--terms", "1", "--entries", "0", "--crashes", "1"]
    assert cli.main(arguments) == 0
    assert "all states within the bounds" in capsys.readouterr().out
    monkeypatch.setattr(raft, "begin_state", forget_vote)
    assert cli.main(arguments) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "n1 times out"
    assert said[-1].startswith("BROKEN: one vote per term: ")
